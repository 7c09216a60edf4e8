import type { FlowFilter } from '../../api/gen/flow/flow.ts'
import * as flow from '../../api/gen/flow/flow.ts'
import type { Any } from '../../api/gen/google/protobuf/any.ts'
import type { Timestamp } from '../../api/gen/google/protobuf/timestamp.ts'
import type {
  GetAgentEventsResponse,
  GetDebugEventsResponse,
  GetFlowsResponse,
} from '../../api/gen/observer/observer.ts'
import { NodeState } from '../../api/gen/relay/relay.ts'
import { FlowCause, FlowExtensions } from '../../api/gen/sluice/v1/agent.ts'
import { jsonTime } from '../observe/time.ts'
import { extensionsJson } from './flow-extensions.ts'

/*
 * Messages as JSON text, as Go's protojson with UseProtoNames writes them: proto names in order of declaration, zero
 * values left out, 64-bit integers as strings, enums by name, `<`, `>` and `&` escaped. The objects of api/gen have
 * their keys in order of declaration, so that only what is special about a field stands in the shapes here.
 */

/** What is special about the fields of a message; a field that is not named here prints by its JavaScript type. */
interface Shape {
  readonly [field: string]: Shape | EnumNames | 'timestamp' | 'wrapper' | 'extensions' | undefined
}

class EnumNames {
  readonly #names: ReadonlyMap<number, string>

  constructor(values: Readonly<Record<string, number>>) {
    this.#names = new Map(Object.entries(values).map(([name, number]) => [number, name]))
  }

  /** The name, or the number where it has none. */
  text(value: number): string {
    const name = this.#names.get(value)
    return name === undefined ? String(value) : `"${name}"`
  }
}

const IP: Shape = { ipVersion: new EnumNames(flow.IPVersion) }
const L4: Shape = { SCTP: { chunk_type: new EnumNames(flow.SCTPChunkType) } }

const FLOW: Shape = {
  time: 'timestamp',
  verdict: new EnumNames(flow.Verdict),
  auth_type: new EnumNames(flow.AuthType),
  IP,
  l4: L4,
  tunnel: { protocol: new EnumNames(flow.Tunnel_Protocol), IP, l4: L4 },
  Type: new EnumNames(flow.FlowType),
  l7: { type: new EnumNames(flow.L7FlowType) },
  traffic_direction: new EnumNames(flow.TrafficDirection),
  trace_observation_point: new EnumNames(flow.TraceObservationPoint),
  trace_reason: new EnumNames(flow.TraceReason),
  drop_reason_desc: new EnumNames(flow.DropReason),
  is_reply: 'wrapper',
  debug_capture_point: new EnumNames(flow.DebugCapturePoint),
  sock_xlate_point: new EnumNames(flow.SocketTranslationPoint),
  extensions: 'extensions',
}

const RESPONSE: Shape = {
  flow: FLOW,
  node_status: { state_change: new EnumNames(NodeState) },
  lost_events: {
    source: new EnumNames(flow.LostEventSource),
    cpu: 'wrapper',
    first: 'timestamp',
    last: 'timestamp',
  },
  time: 'timestamp',
}

const AGENT_EVENT_RESPONSE: Shape = {
  agent_event: {
    type: new EnumNames(flow.AgentEventType),
    agent_start: { time: 'timestamp' },
    ipcache_update: { old_identity: 'wrapper' },
  },
  time: 'timestamp',
}

const DEBUG_EVENT_RESPONSE: Shape = {
  debug_event: {
    type: new EnumNames(flow.DebugEventType),
    hash: 'wrapper',
    arg1: 'wrapper',
    arg2: 'wrapper',
    arg3: 'wrapper',
    cpu: 'wrapper',
  },
  time: 'timestamp',
}

const FILTER: Shape = {
  traffic_direction: new EnumNames(flow.TrafficDirection),
  verdict: new EnumNames(flow.Verdict),
  drop_reason_desc: new EnumNames(flow.DropReason),
  ip_version: new EnumNames(flow.IPVersion),
}

const EXTENSIONS: Shape = { cause: new EnumNames(FlowCause) }
const EXTENSIONS_TYPE = 'sluice.v1.FlowExtensions'

const NODES: Shape = { state: new EnumNames(NodeState) }

/** One line of `observe -o json`, without the newline. */
export function responseJson(response: GetFlowsResponse): string {
  return escapeHtml(message(response, RESPONSE))
}

/** One line of `observe agent-events -o json`. */
export function agentEventJson(response: GetAgentEventsResponse): string {
  return escapeHtml(message(response, AGENT_EVENT_RESPONSE))
}

/** One line of `observe debug-events -o json`. */
export function debugEventJson(response: GetDebugEventsResponse): string {
  return escapeHtml(message(response, DEBUG_EVENT_RESPONSE))
}

/** A filter as --allowlist and --denylist take it. */
export function filterJson(filter: FlowFilter): string {
  return message(filter, FILTER)
}

/** Any message without enums and wrappers of its own, or with those that are named. */
export function messageJson(value: object, wrappers: readonly string[] = []): string {
  return message(value, Object.fromEntries(wrappers.map((name) => [name, 'wrapper' as const])))
}

/** An entry of `list nodes -o json`. */
export function nodeJson(node: object): string {
  return message(node, NODES)
}

function message(value: object, shape: Shape): string {
  let text = ''
  for (const [key, field] of Object.entries(value)) {
    const printed = fieldText(field, shape[key])
    if (printed !== undefined) text += `${text === '' ? '' : ','}"${key}":${printed}`
  }
  return `{${text}}`
}

/** @returns undefined for what is left out */
function fieldText(value: unknown, special: Shape[string]): string | undefined {
  if (value === undefined || value === null) return undefined
  if (special === 'wrapper') return typeof value === 'bigint' ? `"${value}"` : JSON.stringify(value)
  if (Array.isArray(value)) {
    return value.length === 0 ? undefined : `[${value.map((item) => valueText(item, special)).join(',')}]`
  }
  if (value === 0 || value === '' || value === false || value === 0n) return undefined
  return valueText(value, special)
}

function valueText(value: unknown, special: Shape[string]): string {
  if (special instanceof EnumNames) return special.text(value as number)
  if (special === 'timestamp') return `"${jsonTime(value as Timestamp)}"`
  if (special === 'extensions') return anyText(value as Any)
  if (typeof value === 'bigint') return `"${value}"`
  if (value instanceof Uint8Array) return JSON.stringify(Buffer.from(value).toString('base64'))
  if (typeof value === 'object' && value !== null) return message(value, (special as Shape | undefined) ?? {})
  return JSON.stringify(value)
}

/** google.protobuf.Any: our own message by its fields; of another type only its name is known. */
function anyText(any: Any): string {
  const json = extensionsJson(any)
  if (json) return JSON.stringify(json)
  const type = JSON.stringify(any.type_url)
  if (!any.type_url.endsWith(`/${EXTENSIONS_TYPE}`)) {
    return `{"@type":${type},"value":${JSON.stringify(Buffer.from(any.value).toString('base64'))}}`
  }
  const fields = message(FlowExtensions.decode(any.value), EXTENSIONS).slice(1)
  return `{"@type":${type}${fields === '}' ? '' : ','}${fields}`
}

const HTML = /[<>&\u2028\u2029]/g

/** Go's encoder writes these so that JSON can stand in HTML. In JSON text they only occur inside strings. */
function escapeHtml(text: string): string {
  return text.replace(HTML, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
