import { type AgentEvent, AgentEventType, type DebugEvent, DebugEventType } from '../../api/gen/flow/flow.ts'
import type { GetAgentEventsResponse, GetDebugEventsResponse } from '../../api/gen/observer/observer.ts'
import { formatTime } from '../observe/time.ts'
import { nameOf } from './flow-text.ts'

export interface EventTextOptions {
  readonly timeFormat: string
  readonly printNodeName: boolean
}

/** `<time>[ [node]]: <type> (<details>)` */
export function agentEventText(response: GetAgentEventsResponse, options: EventTextOptions): string {
  const event = response.agent_event
  if (!event) return ''
  return `${head(response, options)}: ${nameOf(AgentEventType, event.type)} (${agentEventDetails(event)})\n`
}

function agentEventDetails(event: AgentEvent): string {
  const { agent_start, policy_update, endpoint_regenerate, endpoint_update, ipcache_update } = event
  if (agent_start) return `start time: ${formatTime(agent_start.time, 'StampMilli')}`
  if (policy_update) {
    const { labels, revision, rule_count } = policy_update
    return `labels: [${labels.join(',')}], revision: ${revision}, count: ${rule_count}`
  }
  if (endpoint_regenerate) {
    const { id, labels, error } = endpoint_regenerate
    return `id: ${id}, labels: [${labels.join(',')}]${error === '' ? '' : `, error: ${error}`}`
  }
  if (endpoint_update) {
    const { id, namespace, pod_name } = endpoint_update
    const names = [
      namespace === '' ? '' : `, namespace: ${namespace}`,
      pod_name === '' ? '' : `, pod name: ${pod_name}`,
    ]
    return `id: ${id}${names.join('')}`
  }
  if (ipcache_update) {
    const { cidr, identity, old_identity, host_ip, old_host_ip, encrypt_key } = ipcache_update
    const parts = [`cidr: ${cidr}`, `identity: ${identity}`]
    if (old_identity !== undefined) parts.push(`old identity: ${old_identity}`)
    if (host_ip !== '') parts.push(`host ip: ${host_ip}`)
    if (old_host_ip !== '') parts.push(`old host ip: ${old_host_ip}`)
    return [...parts, `encrypt key: ${encrypt_key}`].join(', ')
  }
  return 'UNKNOWN'
}

/** `<time>[ [node]]: <endpoint> <type> MARK: 0x.. CPU: nn (<message>)` */
export function debugEventText(response: GetDebugEventsResponse, options: EventTextOptions): string {
  const event = response.debug_event
  if (!event) return ''
  const mark = event.hash === undefined ? 'N/A' : `0x${event.hash.toString(16)}`
  const cpu = event.cpu === undefined ? 'N/A' : event.cpu.toString().padStart(2, '0')
  const type = nameOf(DebugEventType, event.type)
  return `${head(response, options)}: ${endpointText(event)} ${type} MARK: ${mark} CPU: ${cpu} (${event.message})\n`
}

function endpointText({ source }: DebugEvent): string {
  if (!source) return 'N/A'
  const { ID, identity, namespace, pod_name, labels } = source
  if (pod_name !== '') return `${namespace === '' ? '' : `${namespace}/`}${pod_name} (ID: ${ID})`
  const reserved = identity > 0 && identity < 256 ? labels.find((label) => label.startsWith('reserved:')) : undefined
  return reserved ?? `ID: ${ID}`
}

function head(
  response: { readonly time: GetAgentEventsResponse['time']; readonly node_name: string },
  { timeFormat, printNodeName }: EventTextOptions,
): string {
  return `${formatTime(response.time, timeFormat)}${printNodeName ? ` [${response.node_name}]` : ''}`
}
