import { flowExtensions } from '../../api/client.ts'
import type { Flow } from '../../api/gen/flow/flow.ts'
import type { Any } from '../../api/gen/google/protobuf/any.ts'

/** What Sluice says of a flow beyond flow.Flow, as far as it is shown. */
export interface FlowNumbers {
  readonly packets: number
  readonly bytes: number
  readonly reply_packets: number
  readonly reply_bytes: number
  readonly rtt_us: number
  readonly srtt_us: number
  readonly retransmits: number
  readonly drops: number
  readonly kernel_drop_reason: string
  readonly drop_location: string
}

/** Extensions that came as JSON, whatever their type: they are printed as they came. */
const jsonOf = new WeakMap<Any, Readonly<Record<string, unknown>>>()

/** An Any that stands for JSON text. */
export function jsonExtensions(json: Readonly<Record<string, unknown>>): Any {
  const any: Any = { type_url: String(json['@type'] ?? ''), value: Buffer.alloc(0) }
  jsonOf.set(any, json)
  return any
}

/** The JSON that an Any was read from, undefined when it came over the wire. */
export function extensionsJson(any: Any): Readonly<Record<string, unknown>> | undefined {
  return jsonOf.get(any)
}

/** The numbers of a flow: from an agent's answer, or from a line of its log. Undefined from other servers. */
export function flowNumbers(flow: Flow): FlowNumbers | undefined {
  const json = flow.extensions && jsonOf.get(flow.extensions)
  if (!json) return flowExtensions(flow)
  const value = json['value']
  if (typeof value !== 'object' || value === null) return undefined
  const fields = value as Readonly<Record<string, unknown>>
  const number = (name: string) => (typeof fields[name] === 'number' ? fields[name] : 0)
  const text = (name: string) => (typeof fields[name] === 'string' ? fields[name] : '')
  return {
    packets: number('packets'),
    bytes: number('bytes'),
    reply_packets: number('reply_packets'),
    reply_bytes: number('reply_bytes'),
    rtt_us: number('rtt_us'),
    srtt_us: number('srtt_us'),
    retransmits: number('retransmits'),
    drops: number('drops'),
    kernel_drop_reason: text('kernel_drop_reason'),
    drop_location: text('drop_location'),
  }
}
