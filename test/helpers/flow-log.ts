import { readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

/** What tests read of an end of a flow in the log. */
export interface LoggedEndpoint {
  readonly namespace?: string
  readonly pod_name?: string
  readonly labels?: readonly string[]
  readonly workloads?: readonly { readonly name: string; readonly kind: string }[]
}

/** What tests read of a flow in the log; docs/log-format.md has all of it. */
export interface LoggedFlow {
  readonly time: string
  readonly uuid: string
  readonly verdict: string
  readonly Type: string
  readonly Summary?: string
  readonly is_reply?: boolean
  readonly traffic_direction?: string
  readonly drop_reason_desc?: string
  readonly IP?: { readonly source: string; readonly destination: string; readonly ipVersion: string }
  readonly l4?: Readonly<Record<string, { readonly source_port?: number; readonly destination_port?: number }>>
  readonly l7?: { readonly type: string; readonly dns?: object; readonly http?: object }
  readonly source?: LoggedEndpoint
  readonly destination?: LoggedEndpoint
  readonly interface?: { readonly index: number; readonly name: string }
  readonly extensions?: { readonly value: Readonly<Record<string, string | number | boolean>> }
}

/** Everything in the files of a log. */
export interface FlowLog {
  /** Oldest first, as they were written: a flow may be there twice after a kill. */
  readonly flows: readonly LoggedFlow[]
  /** Lines that are no JSON: there must be none. */
  readonly torn: readonly string[]
  /** Sum over the lines that say how many flows are missing. */
  readonly lostEvents: number
  /** Flows by uuid, each once. */
  readonly byUuid: ReadonlyMap<string, LoggedFlow>
}

interface LogLine {
  readonly flow?: LoggedFlow
  readonly lost_events?: { readonly num_events_lost: string }
}

/** Reads the live file and the rotated ones beside it, which must not be compressed. */
export function readFlowLog(path: string): FlowLog {
  const stem = basename(path, '.log')
  const names = readdirSync(dirname(path)).filter((name) => name.startsWith(stem) && name.endsWith('.log'))
  const flows: LoggedFlow[] = []
  const torn: string[] = []
  let lostEvents = 0
  // Rotated names sort by age, and `-` before `.`: the live file is last.
  for (const name of names.sort()) {
    const lines = readFileSync(join(dirname(path), name), 'utf8').split('\n')
    const rest = lines.pop()
    if (rest) torn.push(rest)
    for (const line of lines) {
      try {
        const { flow, lost_events: lost } = JSON.parse(line) as LogLine
        if (flow) flows.push(flow)
        lostEvents += Number(lost?.num_events_lost ?? 0)
      } catch {
        torn.push(line)
      }
    }
  }
  return { flows, torn, lostEvents, byUuid: new Map(flows.map((flow) => [flow.uuid, flow])) }
}

/** A number of the extensions, 0 when the flow has none of this name. */
export function extra(flow: LoggedFlow, name: string): number {
  return Number(flow.extensions?.value[name] ?? 0)
}

/** Packets of both directions that flows carry. */
export function packetsOf(flows: Iterable<LoggedFlow>): number {
  let sum = 0
  for (const flow of flows) sum += extra(flow, 'packets') + extra(flow, 'reply_packets')
  return sum
}

/** Bytes of both directions that flows carry. */
export function bytesOf(flows: Iterable<LoggedFlow>): number {
  let sum = 0
  for (const flow of flows) sum += extra(flow, 'bytes') + extra(flow, 'reply_bytes')
  return sum
}

/** Ports of a flow, [source, destination]; zeros where it has none. */
export function portsOf(flow: LoggedFlow): [number, number] {
  const l4 = Object.values(flow.l4 ?? {})[0]
  return [l4?.source_port ?? 0, l4?.destination_port ?? 0]
}
