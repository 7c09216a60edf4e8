import { Argument, type Command, Option } from 'commander'
import { GetFlowsRequest, type GetFlowsResponse } from '../../api/gen/observer/observer.ts'
import { SluiceError } from '../../base/errors.ts'
import { LineWriter, writeText } from '../io.ts'
import { FilterBuilder, type FilterLists } from '../observe/filter-builder.ts'
import { FILTER_FLAGS } from '../observe/filter-flags.ts'
import { readFlowFile } from '../observe/flow-file.ts'
import { buildRequest, parseSelection, type SelectorOptions } from '../observe/request.ts'
import { TIME_FORMATS } from '../observe/time.ts'
import { agentEventText, debugEventText } from '../output/agent-event-text.ts'
import { createPrinter, OUTPUT_FORMATS, type OutputFormat, type Printer } from '../output/printers.ts'
import { agentEventJson, debugEventJson, filterJson } from '../output/proto-json.ts'
import { type ColorMode, paintFor } from '../paint.ts'
import { addServerOptions, append, commaList, openClient, type ServerOptions } from '../server-options.ts'
import type { CommandContext } from './context.ts'

interface ObserveOptions extends SelectorOptions, ServerOptions {
  readonly output: OutputFormat
  readonly printNodeName?: boolean
  readonly printPolicyNames?: boolean
  readonly printRawFilters?: boolean
  readonly timeFormat: string
  readonly color: ColorMode
  readonly ipTranslation: boolean
  readonly numeric?: boolean
  readonly silentErrors?: boolean
  readonly debug?: boolean
  readonly extensions?: boolean
}

const EXAMPLES = `
Examples:
  sluice observe --namespace shop --verdict DROPPED --since 5m
  sluice observe -f --pod shop/cart --not --protocol dns
  sluice observe --to-fqdn '*.example.com' -o wide
  sluice observe --http-status 5+ -o json | jq .flow.l7.http
  sluice observe --input-file /var/log/acns/hubble/events.log --from-pod shop/frontend

Values of one flag are alternatives; different flags must all hold; --not takes the flag after it the other way round.
A pod or service without a namespace is looked for in "default": use -n or -A.
The server can be any Hubble server: an agent, hubble-relay, Cilium's own.`

/** `sluice observe`: Hubble's flags, Hubble's formats. */
export function addObserveCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('observe')
    .summary('show flows, or follow them as they come')
    .description('Shows flows of a Hubble server (an agent or a relay), the newest 20 if nothing else is asked for.')
    .addArgument(
      new Argument('[what]', 'what to show').choices(['flows', 'agent-events', 'debug-events']).default('flows'),
    )
    .addHelpText('after', EXAMPLES)
  addSelectors(command)
  const filters = addFilters(command)
  addFormatting(command)
  addServerOptions(command.optionsGroup('Server:'))
  command.action(async (what: string, options: ObserveOptions) => {
    if (what === 'flows') await observeFlows(context, options, filters.finish())
    else await observeEvents(context, options, what)
  })
}

function addSelectors(command: Command): void {
  command
    .optionsGroup('Which:')
    .option('--last <n>', 'newest n flows (default: 20)')
    .option('--first <n>', 'oldest n flows')
    .option('--all', 'all flows that the server has')
    .option('-f, --follow', 'go on with flows as they come')
    .option('--since <time>', 'flows since: 3s, 4m, 1h43m ago, or 2026-01-02T15:04:05Z')
    .option('--until <time>', 'flows until: as --since')
    .option('--input-file <path>', 'read flows from a file of JSON lines instead of a server; - is standard input')
}

function addFilters(command: Command): FilterBuilder {
  const builder = new FilterBuilder()
  command.optionsGroup('Filters:').option('--not', 'the filter flag after it must not match')
  // Order counts (`--not`), so flags are taken as they are met, not from the options when all are read.
  command.on('option:not', () => builder.not())
  for (const flag of FILTER_FLAGS) {
    const short = flag.short === undefined ? '' : `-${flag.short}, `
    const value = flag.value === undefined ? '' : ` <${flag.value}>`
    command.option(`${short}--${flag.name}${value}`, flag.help)
    command.on(`option:${flag.name}`, (text: string | null) => builder.add(flag.name, text ?? ''))
  }
  command
    .option('--allowlist <json>', 'FlowFilter as JSON, in addition to the flags; may be repeated', append)
    .option('--denylist <json>', 'FlowFilter as JSON of flows that are not wanted; may be repeated', append)
    .option('--print-raw-filters', 'print the filters that the flags make, and end')
  return builder
}

function addFormatting(command: Command): void {
  command
    .optionsGroup('Format:')
    .addOption(
      new Option(
        '-o, --output <format>',
        'compact, dict, table, json (= jsonpb), wide: compact with packets, bytes, RTT',
      )
        .choices(OUTPUT_FORMATS)
        .default('compact'),
    )
    .option('--print-node-name', 'name the node that saw the flow')
    .option('--print-policy-names', 'name the policies that decided')
    .option('--time-format <name>', `one of ${TIME_FORMATS.join(', ')}; times are in UTC`, 'StampMilli')
    .addOption(new Option('--color <when>', 'colours').choices(['auto', 'always', 'never']).default('auto'))
    .option('--ip-translation [bool]', 'names instead of addresses', boolFlag, true)
    .option('--numeric', 'addresses, no names')
    .option('--extensions', "with json: Sluice's own numbers of each flow in its key extensions")
    .option('--field-mask <paths>', 'with json: only these fields, separated by commas', commaList)
    .option('--use-default-field-masks [bool]', 'ask only for fields that are shown', boolFlag, true)
    .option('-s, --silent-errors', 'do not tell of errors and unreadable lines')
    .option('-D, --debug', 'show the request and news of nodes on standard error')
}

function boolFlag(value: string): boolean {
  if (/^(true|1|t)$/i.test(value)) return true
  if (/^(false|0|f)$/i.test(value)) return false
  throw new SluiceError('SLUICE_USAGE', `Cannot use "${value}": want true or false`)
}

async function observeFlows(context: CommandContext, options: ObserveOptions, lists: FilterLists): Promise<void> {
  const { io } = context
  const { output } = options
  if ((output === 'table' || output === 'tab') && options.follow) {
    throw new SluiceError('SLUICE_USAGE', `Cannot use --follow with output "${output}": its columns need all rows`)
  }
  const request = buildRequest(options, lists, { output, nowMs: io.now() })
  if (options.printRawFilters) {
    await writeText(io.stdout, rawFiltersText(request))
    return
  }
  if (options.debug) await writeText(io.stderr, `request: ${JSON.stringify(GetFlowsRequest.toJSON(request))}\n`)
  const printer = createPrinter(output, {
    timeFormat: options.timeFormat,
    printNodeName: options.printNodeName === true,
    printPolicyNames: options.printPolicyNames === true,
    ipTranslation: options.ipTranslation && options.numeric !== true,
    paint: paintFor(io, options.color),
    debug: options.debug === true,
  })
  if (options.inputFile !== undefined) {
    const warn = (text: string) => (options.silentErrors ? undefined : writeText(io.stderr, `${text}\n`))
    await printResponses(context, readFlowFile(io, options.inputFile, request, warn), printer)
    return
  }
  using client = await openClient(options, output === 'wide' || options.extensions === true)
  await printResponses(context, client.getFlows(request, { signal: io.signal }), printer)
}

/** Prints as responses come; what has gathered is written at the latest when the loop is idle. */
async function printResponses(
  { io }: CommandContext,
  responses: AsyncIterable<GetFlowsResponse>,
  printer: Printer,
): Promise<void> {
  const out = new LineWriter(io.stdout)
  let pending: NodeJS.Immediate | undefined
  try {
    for await (const response of responses) {
      if (response.node_status) {
        await writeText(io.stderr, printer.nodeStatus(response, response.node_status))
        continue
      }
      const behind = out.write(printer.print(response))
      if (behind) await behind
      else
        pending ??= setImmediate(() => {
          pending = undefined
          void out.flush()
        })
    }
  } finally {
    if (pending) clearImmediate(pending)
    const rest = printer.finish()
    if (rest !== '') await out.write(rest)
    await out.flush()
  }
}

/** As `hubble` prints them: YAML with a filter as JSON per line. */
function rawFiltersText(request: GetFlowsRequest): string {
  const list = (name: string, filters: GetFlowsRequest['whitelist']) =>
    filters.length === 0
      ? ''
      : `${name}:\n${filters.map((filter) => `    - '${filterJson(filter).replaceAll("'", "''")}'\n`).join('')}`
  return list('allowlist', request.whitelist) + list('denylist', request.blacklist) || '{}\n'
}

async function observeEvents({ io }: CommandContext, options: ObserveOptions, what: string): Promise<void> {
  const selection = parseSelection(options, io.now(), 20n)
  const { output, timeFormat, printNodeName } = options
  if (output !== 'compact' && output !== 'json' && output !== 'jsonpb') {
    throw new SluiceError('SLUICE_USAGE', `Cannot show ${what} as "${output}": want compact or json`)
  }
  const text = { timeFormat, printNodeName: printNodeName === true }
  const json = output !== 'compact'
  using client = await openClient(options)
  const out = new LineWriter(io.stdout)
  const stream = { signal: io.signal }
  if (what === 'agent-events') {
    for await (const event of client.getAgentEvents(selection, stream)) {
      await out.write(json ? `${agentEventJson(event)}\n` : agentEventText(event, text))
      await out.flush()
    }
  } else {
    for await (const event of client.getDebugEvents(selection, stream)) {
      await out.write(json ? `${debugEventJson(event)}\n` : debugEventText(event, text))
      await out.flush()
    }
  }
}
