import { status, type UntypedServiceImplementation } from '@grpc/grpc-js'
import type { Calls } from './calls.ts'
import type { GetLedgerRequest, GetLedgerResponse, GetStatusRequest, GetStatusResponse } from './gen/sluice/v1/agent.ts'
import { rpcError } from './rpc-error.ts'

/** What the agent tells of itself; filled by the wiring, which knows every part. */
export interface AgentInfo {
  status(): GetStatusResponse | Promise<GetStatusResponse>
  /** May take a while: open flows are counted by a sweep of the kernel's table. */
  ledger(): GetLedgerResponse | Promise<GetLedgerResponse>
}

/** sluice.v1.Agent */
export function agentService(calls: Calls, info: AgentInfo | undefined): UntypedServiceImplementation {
  const known = (): AgentInfo => {
    if (info === undefined)
      throw rpcError(status.UNIMPLEMENTED, 'this server serves flows only, there is no agent behind it')
    return info
  }
  return {
    getStatus: calls.unary<GetStatusRequest, GetStatusResponse>('sluice.v1.Agent', 'GetStatus', () => known().status()),
    getLedger: calls.unary<GetLedgerRequest, GetLedgerResponse>('sluice.v1.Agent', 'GetLedger', () => known().ledger()),
  }
}
