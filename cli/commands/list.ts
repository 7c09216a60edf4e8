import { type Command, Option } from 'commander'
import type { Namespace, Node } from '../../api/gen/observer/observer.ts'
import { NodeState } from '../../api/gen/relay/relay.ts'
import { writeText } from '../io.ts'
import { nodeJson } from '../output/proto-json.ts'
import { addServerOptions, openClient, type ServerOptions } from '../server-options.ts'
import { formatTable } from '../table.ts'
import type { CommandContext } from './context.ts'
import { durationText } from './status.ts'

const FORMATS = ['table', 'wide', 'json'] as const

interface ListOptions extends ServerOptions {
  readonly output: (typeof FORMATS)[number]
}

/** `sluice list nodes|namespaces`, as `hubble list`. */
export function addListCommand(program: Command, context: CommandContext): void {
  const list = program.command('list').summary('list nodes or namespaces that a server knows')
  const subcommand = (name: string, alias: string, description: string) => {
    const command = list
      .command(name)
      .alias(alias)
      .description(description)
      .addOption(new Option('-o, --output <format>', 'table, wide, json').choices(FORMATS).default('table'))
    return addServerOptions(command.optionsGroup('Server:'))
  }
  subcommand('nodes', 'node', 'Nodes whose flows the server has.').action(async (options: ListOptions) => {
    using client = await openClient(options)
    const { nodes } = await client.getNodes()
    const sorted = [...nodes].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    const json = () => jsonArray(sorted.map((node) => JSON.parse(nodeJson(node))))
    await writeText(
      context.io.stdout,
      options.output === 'json' ? json() : nodesText(sorted, options.output === 'wide'),
    )
  })
  subcommand('namespaces', 'ns', 'Namespaces of flows of the last hour.').action(async (options: ListOptions) => {
    using client = await openClient(options)
    const { namespaces } = await client.getNamespaces()
    const json = () =>
      jsonArray(namespaces.map(({ cluster, namespace }) => (cluster ? { cluster, namespace } : { namespace })))
    const text = options.output === 'json' ? json() : namespacesText(namespaces, options.output === 'wide')
    await writeText(context.io.stdout, text)
  })
}

function jsonArray(items: readonly object[]): string {
  return `${JSON.stringify(items, undefined, 2)}\n`
}

const STATES: Readonly<Record<number, string>> = {
  [NodeState.NODE_CONNECTED]: 'Connected',
  [NodeState.NODE_UNAVAILABLE]: 'Unavailable',
  [NodeState.NODE_GONE]: 'Gone',
  [NodeState.NODE_ERROR]: 'Error',
}

export function nodesText(nodes: readonly Node[], wide: boolean): string {
  const head = ['NAME', 'STATUS', 'AGE', 'FLOWS/S', 'CURRENT/MAX-FLOWS', ...(wide ? ['VERSION', 'ADDRESS', 'TLS'] : [])]
  const rows = nodes.map((node) => [
    node.name,
    STATES[node.state] ?? 'Unknown',
    node.uptime_ns === 0n ? 'N/A' : durationText(node.uptime_ns),
    node.uptime_ns === 0n ? 'N/A' : (Number(node.seen_flows) / (Number(node.uptime_ns) / 1e9)).toFixed(2),
    heldText(node),
    ...(wide ? [node.version, node.address, node.tls ? (node.tls.enabled ? 'Enabled' : 'Disabled') : 'N/A'] : []),
  ])
  return formatTable([head, ...rows])
}

function heldText(node: Node): string {
  if (node.max_flows === 0n) return 'N/A'
  const share = ((100 * Number(node.num_flows)) / Number(node.max_flows)).toFixed(2)
  return `${node.num_flows}/${node.max_flows} (${share.padStart(6)}%)`
}

export function namespacesText(namespaces: readonly Namespace[], wide: boolean): string {
  const rows = namespaces.map(({ namespace, cluster }) => (wide && cluster !== '' ? [namespace, cluster] : [namespace]))
  return formatTable([wide ? ['NAMESPACE', 'CLUSTER'] : ['NAMESPACE'], ...rows])
}
