import { release } from 'node:os'
import { timestamp } from '../api/agent-events.ts'
import type { AgentInfo } from '../api/agent-service.ts'
import {
  type Component,
  ComponentState,
  type GetLedgerResponse,
  type GetStatusResponse,
} from '../api/gen/sluice/v1/agent.ts'
import type { LedgerReport } from './ledger.ts'

/** How one part of the agent is. */
export interface PartStatus {
  readonly name: string
  readonly state: 'ok' | 'degraded' | 'failed' | 'off'
  readonly message: string
  readonly details: Readonly<Record<string, string | number | boolean>>
}

const STATES = {
  ok: ComponentState.COMPONENT_STATE_OK,
  degraded: ComponentState.COMPONENT_STATE_DEGRADED,
  failed: ComponentState.COMPONENT_STATE_FAILED,
  off: ComponentState.COMPONENT_STATE_OFF,
} as const

export interface AgentInfoParts {
  readonly nodeName: string
  readonly version: string
  readonly startedMs: number
  readonly uptimeMs: () => number
  readonly parts: () => PartStatus[]
  readonly ledger: () => Promise<LedgerReport>
}

/** What sluice.v1.Agent answers, from the parts. */
export function agentInfo(source: AgentInfoParts): AgentInfo {
  return {
    status: (): GetStatusResponse => ({
      node_name: source.nodeName,
      version: source.version,
      kernel_release: release(),
      started: timestamp(source.startedMs),
      uptime_ns: BigInt(Math.round(source.uptimeMs() * 1e6)),
      components: source.parts().map(component),
    }),
    ledger: async (): Promise<GetLedgerResponse> => ledgerMessage(source.nodeName, await source.ledger()),
  }
}

function component(part: PartStatus): Component {
  return { name: part.name, state: STATES[part.state], message: part.message, details: { ...part.details } }
}

function ledgerMessage(nodeName: string, report: LedgerReport): GetLedgerResponse {
  return {
    node_name: nodeName,
    time: timestamp(Date.now()),
    kernel: report.kernel.map(({ name, value }) => ({ name, value: BigInt(value) })),
    equations: report.equations.map((e) => ({
      text: e.text,
      left: BigInt(e.left),
      right: BigInt(e.right),
      difference: BigInt(e.difference),
    })),
    stages: report.stages.map((stage) => ({
      stage: stage.stage,
      accepted: BigInt(stage.accepted),
      delivered: BigInt(stage.delivered),
      filtered: BigInt(stage.filtered),
      waiting: BigInt(stage.waiting),
      lost: Object.fromEntries(Object.entries(stage.lost).map(([reason, count]) => [reason, BigInt(count)])),
      difference: BigInt(stage.difference),
    })),
    closes: report.closes,
  }
}
