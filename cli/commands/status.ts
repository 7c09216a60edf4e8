import { type Command, Option } from 'commander'
import type { ServerStatusResponse } from '../../api/gen/observer/observer.ts'
import { ComponentState, type GetStatusResponse } from '../../api/gen/sluice/v1/agent.ts'
import { SluiceError } from '../../base/errors.ts'
import { EXIT_FAILED } from '../exit-codes.ts'
import { writeText } from '../io.ts'
import { nameOf } from '../output/flow-text.ts'
import { messageJson } from '../output/proto-json.ts'
import { paintFor } from '../paint.ts'
import { addServerOptions, openClient, type ServerOptions } from '../server-options.ts'
import { formatTable, withCommas } from '../table.ts'
import type { CommandContext } from './context.ts'

const FORMATS = ['compact', 'dict', 'json', 'jsonpb', 'table', 'tab', 'wide'] as const
type StatusFormat = (typeof FORMATS)[number]

/** Names in a list of nodes that cannot be reached. */
const MAX_NODE_NAMES = 10

/** `sluice status`: Hubble's lines; `-o wide` adds how the parts of a Sluice agent are. */
export function addStatusCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('status')
    .summary('tell whether a server is well and how much it holds')
    .description('Asks a Hubble server for its health and its numbers. Ends with 1 when it is not healthy.')
    .addOption(
      new Option('-o, --output <format>', "compact, dict, table, json, wide: compact and the agent's parts")
        .choices(FORMATS)
        .default('compact'),
    )
    .addHelpText(
      'after',
      '\nExamples:\n  sluice status\n  sluice status --server unix:///var/run/sluice/hubble.sock -o wide',
    )
  addServerOptions(command.optionsGroup('Server:'))
  command.action((options: ServerOptions & { output: StatusFormat }) => runStatus(context, options))
}

async function runStatus(context: CommandContext, options: ServerOptions & { output: StatusFormat }): Promise<void> {
  const { io } = context
  using client = await openClient(options)
  const health = await client.health()
  const healthy = health === 'SERVING'
  if (!healthy) context.exitCode = EXIT_FAILED
  const status = await client.serverStatus()
  const json = options.output === 'json' || options.output === 'jsonpb'
  if (json) {
    await writeText(io.stdout, `${serverStatusJson(status)}\n`)
    return
  }
  const healthText = healthy ? 'Ok' : String(health)
  await writeText(io.stdout, statusText(options, status, healthText))
  if (options.output === 'wide') {
    const agent = await client.agentStatus()
    await writeText(io.stdout, componentsText(agent, paintFor(io).enabled))
    if (agent.components.some((part) => part.state === ComponentState.COMPONENT_STATE_FAILED)) {
      context.exitCode = EXIT_FAILED
    }
  }
}

/** One line, as `hubble status -o json`. */
export function serverStatusJson(status: ServerStatusResponse): string {
  return messageJson(status, ['num_connected_nodes', 'num_unavailable_nodes'])
}

/** The text formats of `status`. */
export function statusText(
  options: { readonly server: string; readonly output: StatusFormat },
  status: ServerStatusResponse,
  health: string,
): string {
  switch (options.output) {
    case 'dict':
      return dictText(status)
    case 'table':
    case 'tab':
      return tableText(status)
    default:
      return compactText(options.server, status, health)
  }
}

function compactText(server: string, status: ServerStatusResponse, health: string): string {
  const { num_connected_nodes: connected, num_unavailable_nodes: unavailable } = status
  const lines = [`Healthcheck (via ${server}): ${health}`]
  const share =
    status.max_flows > 0n ? ` (${((100 * Number(status.num_flows)) / Number(status.max_flows)).toFixed(2)}%)` : ''
  lines.push(`Current/Max Flows: ${withCommas(status.num_flows)}/${withCommas(status.max_flows)}${share}`)
  lines.push(`Flows/s: ${flowsPerSecond(status)}`)
  if (connected !== undefined) {
    lines.push(`Connected Nodes: ${connected}${unavailable === undefined ? '' : `/${connected + unavailable}`}`)
  }
  if (unavailable !== undefined && unavailable > 0) {
    lines.push(`Unavailable Nodes: ${unavailable}`)
    const names = [...status.unavailable_nodes].sort().slice(0, MAX_NODE_NAMES)
    lines.push(...names.map((name) => `  - ${name}`))
    if (unavailable > names.length) lines.push(`  - and ${unavailable - names.length} more...`)
  }
  return `${lines.join('\n')}\n`
}

/** The last minute's rate; from a server that does not know it, the mean since its start. */
export function flowsPerSecond(status: Pick<ServerStatusResponse, 'flows_rate' | 'seen_flows' | 'uptime_ns'>): string {
  if (status.flows_rate > 0) return status.flows_rate.toFixed(2)
  if (status.uptime_ns === 0n) return 'N/A'
  return (Number(status.seen_flows) / (Number(status.uptime_ns) / 1e9)).toFixed(2)
}

function columns(status: ServerStatusResponse): [string, string][] {
  const number = (value: number | undefined) => (value === undefined ? 'N/A' : String(value))
  return [
    ['NUM FLOWS', withCommas(status.num_flows)],
    ['MAX FLOWS', withCommas(status.max_flows)],
    ['SEEN FLOWS', withCommas(status.seen_flows)],
    ['FLOWS PER SECOND', flowsPerSecond(status)],
    ['UPTIME', durationText(status.uptime_ns, true)],
    ['NUM CONNECTED NODES', number(status.num_connected_nodes)],
    ['NUM UNAVAILABLE NODES', number(status.num_unavailable_nodes)],
    ['VERSION', status.version],
  ]
}

function tableText(status: ServerStatusResponse): string {
  const cells = columns(status)
  return formatTable([cells.map(([name]) => name), cells.map(([, value]) => value)])
}

function dictText(status: ServerStatusResponse): string {
  const cells = columns(status)
  const width = Math.max(...cells.map(([name]) => name.length))
  return cells.map(([name, value]) => `${name.padStart(width)}: ${value}\n`).join('')
}

/** Go's form of a duration: `1h2m3s`. @param exact with the fraction of the second: `26.291s` */
export function durationText(ns: bigint, exact = false): string {
  const secs = Number(exact ? ns / 1_000_000_000n : (ns + 500_000_000n) / 1_000_000_000n)
  const [hours, minutes, rest] = [Math.floor(secs / 3600), Math.floor(secs / 60) % 60, secs % 60]
  const fraction = exact ? (ns % 1_000_000_000n).toString().padStart(9, '0').replace(/0+$/, '') : ''
  const seconds = `${rest}${fraction === '' ? '' : `.${fraction}`}s`
  if (hours > 0) return `${hours}h${minutes}m${seconds}`
  return minutes > 0 ? `${minutes}m${seconds}` : seconds
}

/** One line for each part of an agent. */
export function componentsText(agent: GetStatusResponse, color: boolean): string {
  const paint = (code: number, text: string) => (color ? `\x1b[${code}m${text}\x1b[0m` : text)
  const stateText = (state: ComponentState) => {
    const name = nameOf(ComponentState, state).replace('COMPONENT_STATE_', '').toLowerCase()
    const code = { ok: 32, degraded: 33, failed: 31 }[name]
    return code === undefined ? name : paint(code, name)
  }
  const uptime = durationText(agent.uptime_ns)
  const rows = agent.components.map((part) => [
    part.name,
    stateText(part.state),
    // Of a wrong filter resource there are several lines.
    [part.message.replace(/\s*\n\s*/g, '; '), detailsText(part.details)].filter((text) => text !== '').join('; '),
  ])
  const head = `Node ${agent.node_name}: Sluice ${agent.version} on Linux ${agent.kernel_release}, up ${uptime}\n`
  return `${head}${formatTable([['PART', 'STATE', 'MESSAGE'], ...rows])}`
}

/** `flows 12, lost 0` */
function detailsText(details: GetStatusResponse['components'][number]['details']): string {
  return Object.entries(details ?? {})
    .map(([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : value}`)
    .join(', ')
}

/** For commands whose server must be Sluice's own. */
export function needsSluice(error: unknown, what: string): unknown {
  if (SluiceError.is(error) && error.code === 'SLUICE_RPC' && /does not offer/.test(error.message)) {
    return new SluiceError('SLUICE_RPC', `${error.message}; ${what} is known by Sluice's agents only`, { cause: error })
  }
  return error
}
