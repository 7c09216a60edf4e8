import { type Flow, type LostEvent, LostEventSource } from '../../api/gen/flow/flow.ts'
import type { GetFlowsResponse } from '../../api/gen/observer/observer.ts'
import { NodeState, type NodeStatusEvent } from '../../api/gen/relay/relay.ts'
import { formatTime } from '../observe/time.ts'
import { Paint } from '../paint.ts'
import { formatTable } from '../table.ts'
import { extensionsText } from './extensions-text.ts'
import {
  destinationEnd,
  hostText,
  identityText,
  type NameOptions,
  nameOf,
  sourceEnd,
  summaryText,
  typeText,
  verdictText,
} from './flow-text.ts'
import { responseJson } from './proto-json.ts'

export const OUTPUT_FORMATS = ['compact', 'dict', 'table', 'tab', 'json', 'jsonpb', 'wide'] as const
export type OutputFormat = (typeof OUTPUT_FORMATS)[number]

export interface PrintOptions extends NameOptions {
  readonly timeFormat: string
  readonly printNodeName: boolean
  readonly printPolicyNames: boolean
  /** Also tells of nodes that are well. */
  readonly debug: boolean
}

/** Text of one response, with its newline; empty when there is nothing to print now. */
export interface Printer {
  /** For standard output. */
  print(response: GetFlowsResponse): string
  /** For standard error: what is told of nodes. */
  nodeStatus(response: GetFlowsResponse, status: NodeStatusEvent): string
  /** What was held back to the end. */
  finish(): string
}

/** A printer with `hubble`'s format. */
export function createPrinter(format: OutputFormat, options: PrintOptions): Printer {
  switch (format) {
    case 'json':
    case 'jsonpb':
      return new JsonPrinter(options.debug)
    case 'dict':
      return new DictPrinter(options)
    case 'table':
    case 'tab':
      return new TablePrinter(options)
    case 'compact':
    case 'wide':
      return new CompactPrinter(options, format === 'wide')
  }
}

class JsonPrinter implements Printer {
  readonly #debug: boolean

  constructor(debug: boolean) {
    this.#debug = debug
  }

  print(response: GetFlowsResponse): string {
    return `${responseJson(response)}\n`
  }
  nodeStatus(response: GetFlowsResponse, status: NodeStatusEvent): string {
    if (status.state_change === NodeState.NODE_CONNECTED && !this.#debug) return ''
    return `${responseJson(response)}\n`
  }
  finish(): string {
    return ''
  }
}

/** Longest list of node names in a line; what does not fit is counted. */
const NODE_NAMES_WIDTH = 50

class CompactPrinter implements Printer {
  readonly #options: PrintOptions
  readonly #wide: boolean

  constructor(options: PrintOptions, wide: boolean) {
    this.#options = options
    this.#wide = wide
  }

  print(response: GetFlowsResponse): string {
    if (response.flow) return `${this.#flow(response.flow)}\n`
    return response.lost_events ? `${this.#lost(response, response.lost_events)}\n` : ''
  }

  nodeStatus(response: GetFlowsResponse, status: NodeStatusEvent): string {
    const text = nodeStatusText(status)
    if (text === '' || (status.state_change === NodeState.NODE_CONNECTED && !this.#options.debug)) return ''
    return `${this.#time(response.time)} [${response.node_name}]: ${text}\n`
  }

  finish(): string {
    return ''
  }

  #flow(flow: Flow): string {
    const { paint, printNodeName, printPolicyNames } = this.#options
    const source = `${hostText(sourceEnd(flow), this.#options)} ${identityText(flow.source, paint)}`
    const destination = `${hostText(destinationEnd(flow), this.#options)} ${identityText(flow.destination, paint)}`
    // A reply is printed with its ends swapped, so that the client always stands left.
    const ends = flow.is_reply
      ? `${destination} <- ${source}`
      : `${source} ${flow.is_reply === false ? '->' : '<>'} ${destination}`
    const node = printNodeName ? ` [${flow.node_name}]` : ''
    const verdict = verdictText(flow, paint, printPolicyNames)
    const line = `${this.#time(flow.time)}${node}: ${ends} ${typeText(flow)} ${verdict} (${summaryText(flow, paint)})`
    const more = this.#wide ? extensionsText(flow, paint) : ''
    return more === '' ? line : `${line} ${more}`
  }

  #lost(response: GetFlowsResponse, lost: LostEvent): string {
    const source = nameOf(LostEventSource, lost.source)
    const range = lost.first && lost.last ? ` (first: ${this.#time(lost.first)}, last: ${this.#time(lost.last)})` : ''
    return `${this.#time(response.time)} EVENTS LOST: ${source} CPU(${lost.cpu ?? 0}) ${lost.num_events_lost}${range}`
  }

  #time(time: GetFlowsResponse['time']): string {
    return formatTime(time, this.#options.timeFormat)
  }
}

function nodeStatusText(status: NodeStatusEvent): string {
  const count = status.node_names.length
  const nodes = `${count} ${count === 1 ? 'node' : 'nodes'}`
  const names = shortList(status.node_names)
  switch (status.state_change) {
    case NodeState.NODE_CONNECTED:
      return `Receiving flows from ${nodes}: ${names}`
    case NodeState.NODE_UNAVAILABLE:
      return `${nodes} ${count === 1 ? 'is' : 'are'} unavailable: ${names}`
    case NodeState.NODE_GONE:
      return `${nodes} removed from cluster: ${names}`
    case NodeState.NODE_ERROR:
      return `Error "${status.message}" on ${nodes}: ${names}`
    default:
      return `unknown node status event: ${nodes}: ${names}`
  }
}

function shortList(names: readonly string[]): string {
  let text = ''
  for (const [i, name] of names.entries()) {
    const next = i === 0 ? name : `${text}, ${name}`
    if (i > 0 && next.length > NODE_NAMES_WIDTH) return `${text} (and ${names.length - i} more)`
    text = next
  }
  return text
}

/** What table and dict print of a response: the same cells under the same names. */
function cells(response: GetFlowsResponse, options: PrintOptions): string[] | undefined {
  const { flow, lost_events: lost } = response
  const time = (at: GetFlowsResponse['time']) => formatTime(at, options.timeFormat)
  if (flow) {
    const text = [
      hostText(sourceEnd(flow), options),
      hostText(destinationEnd(flow), options),
      typeText(flow),
      verdictText(flow, options.paint, options.printPolicyNames),
      summaryText(flow, options.paint),
    ]
    return options.printNodeName ? [time(flow.time), flow.node_name, ...text] : [time(flow.time), ...text]
  }
  if (!lost) return undefined
  const range = lost.first && lost.last ? ` (first: ${time(lost.first)}, last: ${time(lost.last)})` : ''
  const summary = `CPU(${lost.cpu ?? 0}) - ${lost.num_events_lost}${range}`
  const text = [nameOf(LostEventSource, lost.source), '-', 'EVENTS LOST', '-', summary]
  return options.printNodeName ? [time(response.time), response.node_name, ...text] : [time(response.time), ...text]
}

function headings(options: PrintOptions): string[] {
  const text = ['SOURCE', 'DESTINATION', 'TYPE', 'VERDICT', 'SUMMARY']
  return options.printNodeName ? ['TIMESTAMP', 'NODE', ...text] : ['TIMESTAMP', ...text]
}

/** Rows of a table are held back until widths are known; a table cannot follow, so the server's history bounds it. */
class TablePrinter implements Printer {
  readonly #options: PrintOptions
  readonly #compact: CompactPrinter
  readonly #rows: string[][] = []

  constructor(options: PrintOptions) {
    // As with hubble, a table has no colours.
    this.#options = { ...options, paint: new Paint(false) }
    this.#compact = new CompactPrinter(this.#options, false)
  }

  print(response: GetFlowsResponse): string {
    const row = cells(response, this.#options)
    if (row) this.#rows.push(row)
    return ''
  }

  nodeStatus(response: GetFlowsResponse, status: NodeStatusEvent): string {
    return this.#compact.nodeStatus(response, status)
  }

  finish(): string {
    return this.#rows.length === 0 ? '' : formatTable([headings(this.#options), ...this.#rows])
  }
}

const DICT_SEPARATOR = '------------\n'

class DictPrinter implements Printer {
  readonly #options: PrintOptions
  #printed = 0

  constructor(options: PrintOptions) {
    this.#options = options
  }

  print(response: GetFlowsResponse): string {
    const row = cells(response, this.#options)
    if (!row) return ''
    const lost = response.lost_events !== undefined
    const lines = headings(this.#options)
      .map((name, i) => ({ name, value: row[i]! }))
      // Lost events have no destination.
      .filter(({ name }) => !(lost && name === 'DESTINATION'))
    return this.#block(lines)
  }

  nodeStatus(response: GetFlowsResponse, status: NodeStatusEvent): string {
    if (status.state_change === NodeState.NODE_CONNECTED && !this.#options.debug) return ''
    return this.#block([
      { name: 'TIMESTAMP', value: formatTime(response.time, this.#options.timeFormat) },
      { name: 'STATE', value: nameOf(NodeState, status.state_change) },
      { name: 'NODES', value: shortList(status.node_names) },
      { name: 'MESSAGE', value: status.message === '' ? 'N/A' : JSON.stringify(status.message) },
    ])
  }

  finish(): string {
    return ''
  }

  #block(lines: readonly { name: string; value: string }[]): string {
    const text = lines.map(({ name, value }) => `${name.padStart(11)}: ${value}\n`).join('')
    return this.#printed++ === 0 ? text : DICT_SEPARATOR + text
  }
}
