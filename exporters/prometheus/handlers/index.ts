import { dnsHandler } from './dns.ts'
import { dropHandler } from './drop.ts'
import { flowHandler } from './flow.ts'
import { flowsToWorldHandler } from './flows-to-world.ts'
import type { HandlerDefinition } from './handler.ts'
import { httpHandler, httpV2Handler } from './http.ts'
import { icmpHandler } from './icmp.ts'
import { policyHandler } from './policy.ts'
import { portDistributionHandler } from './port-distribution.ts'
import { sctpHandler } from './sctp.ts'
import { tcpHandler } from './tcp.ts'

/** Every handler that can be switched on, by name. */
export const HANDLERS: readonly HandlerDefinition[] = [
  dnsHandler,
  dropHandler,
  flowHandler,
  flowsToWorldHandler,
  httpHandler,
  httpV2Handler,
  icmpHandler,
  policyHandler,
  portDistributionHandler,
  sctpHandler,
  tcpHandler,
]
