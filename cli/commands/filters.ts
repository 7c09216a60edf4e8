import { type Command, Option } from 'commander'
import type { ExplainRequest, ObserverClient } from '../../api/client.ts'
import { type ExplainResult, ExplainSource } from '../../api/gen/sluice/v1/filters.ts'
import { SluiceError } from '../../base/errors.ts'
import { explainData, explainText } from '../filters/explain.ts'
import { readFilterFiles } from '../filters/files.ts'
import { listText } from '../filters/list.ts'
import { printable, structured } from '../filters/plain.ts'
import { readPrices } from '../filters/prices.ts'
import { type Io, writeText } from '../io.ts'
import { type Paint, paintFor } from '../paint.ts'
import { addServerOptions, append, durationFlag, openClient, type ServerOptions } from '../server-options.ts'
import type { CommandContext } from './context.ts'
import { addFiltersTestCommand } from './filters-test.ts'
import { needsSluice } from './status.ts'

const FORMATS = ['table', 'wide', 'json', 'yaml'] as const
type Format = (typeof FORMATS)[number]

const LIST_HELP = `
A rule counts the events that it matched, and what became of them: kept by its consumer, or left out (by an exclude
rule). Rules decided in the kernel cost nothing when they leave an event out; "partly" and "user" say that user space
has its part, and -o wide says why.

Examples:
  sluice filters list
  sluice filters list -o wide
  sluice filters list --watch --interval 5s
  sluice filters list -o json | jq '.rules[] | select(.rule.problems != []) | .rule'`

const EXPLAIN_HELP = `
Without -f the filters in force are explained; with -f, what would be if the resources of the files were applied over
those in force (with --alone: were all there are). Nothing is changed.

History holds what the filters in force kept: what they left in the kernel is not there to be counted, and the answer
says so. --from live lets every event out of the kernel for that while and measures all of them.

Prices are your own: examples/prices.yaml shows the form. Without a list no money is shown.

Examples:
  sluice filters explain
  sluice filters explain -f new.yaml --from live --for 1m
  sluice filters explain -f new.yaml --alone --prices prices.yaml
  sluice filters explain -f new.yaml -o json | jq .with`

/** `sluice filters list | explain | test`: what a filter does, and what another one would do. */
export function addFiltersCommand(program: Command, context: CommandContext): void {
  const filters = program.command('filters').summary('show, explain and test filters')
  filters.description('Shows what filters do: those in force, and those that are not yet.')
  addListCommand(filters, context)
  addExplainCommand(filters, context)
  addFiltersTestCommand(filters, context)
}

interface ListOptions extends ServerOptions {
  readonly output: Format
  readonly watch?: boolean
  readonly interval: string
}

function addListCommand(filters: Command, context: CommandContext): void {
  const command = filters
    .command('list')
    .summary('show resources and rules in force, and what each rule did')
    .description('Shows the filter resources and the rules in force, what each rule matched, kept and left out.')
    .addOption(
      new Option('-o, --output <format>', 'table, wide: with origins and reasons, json, yaml')
        .choices(FORMATS)
        .default('table'),
    )
    .option('-w, --watch', 'show it again and again, until Ctrl-C')
    .option('--interval <duration>', 'with --watch: how often', '2s')
    .addHelpText('after', LIST_HELP)
  addServerOptions(command.optionsGroup('Server:'))
  command.action(async (options: ListOptions) => {
    const intervalMs = durationFlag('--interval', options.interval)
    using client = await openClient(options)
    if (options.watch !== true) return await showList(context.io, client, options.output)
    const { signal } = context.io
    while (!signal.aborted) {
      await showList(context.io, client, options.output, true)
      await pause(intervalMs, signal)
    }
  })
}

/** From the top of the screen, what is below removed. */
const CLEAR = '\x1b[H\x1b[2J'

async function showList(io: Io, client: ObserverClient, format: Format, isAgain = false): Promise<void> {
  const list = await client.listFilters().catch((error) => {
    throw needsSluice(error, 'what its filters do')
  })
  if (format === 'json') return await writeText(io.stdout, await structured(list, format))
  if (format === 'yaml') return await writeText(io.stdout, `${isAgain ? '---\n' : ''}${await structured(list, format)}`)
  const clear = isAgain && io.stdout.isTTY === true ? CLEAR : ''
  const end = isAgain && clear === '' ? '\n' : ''
  await writeText(io.stdout, clear + listText(printable(list), paintFor(io), format === 'wide') + end)
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done, { once: true })
  })
}

interface ExplainOptions extends ServerOptions {
  readonly output: Exclude<Format, 'wide'>
  readonly filename?: string[]
  readonly alone?: boolean
  readonly from: 'history' | 'live'
  readonly for?: string
  readonly maxFlows?: string
  readonly prices?: string
}

function addExplainCommand(filters: Command, context: CommandContext): void {
  const command = filters
    .command('explain')
    .summary('measure what filters do, or would do: events, series, log, money')
    .description('Measures filters on flows of the agent: those in force, or those of files that are not in force yet.')
    .option('-f, --filename <path>', 'file of filter resources that are not in force yet; may be repeated', append)
    .option('--alone', 'the files are all there is: resources in force count as removed')
    .addOption(
      new Option('--from <source>', 'flows to measure on: those that the agent holds, or those that come')
        .choices(['history', 'live'])
        .default('history'),
    )
    .option('--for <duration>', 'history: the newest so long (default: all); live: how long to look (default: 30s)')
    .option('--max-flows <n>', 'the newest n flows, at most 1,000,000 (default: 200,000)')
    .option('--prices <path>', 'your price list, for money')
    .addOption(
      new Option('-o, --output <format>', 'table, json, yaml').choices(['table', 'json', 'yaml']).default('table'),
    )
    .addHelpText('after', EXPLAIN_HELP)
  addServerOptions(command.optionsGroup('Server:'))
  command.action((options: ExplainOptions) => runExplain(context, options))
}

async function runExplain({ io }: CommandContext, options: ExplainOptions): Promise<void> {
  const prices = options.prices === undefined ? undefined : readPrices(options.prices)
  const request = await explainRequest(io, options)
  using client = await openClient(options)
  const result = await explained(io, client, request)
  if (result === undefined) return
  const { output } = options
  const text =
    output === 'table'
      ? explainText(printable(result), paintFor(io), prices)
      : await structured(explainData(result, prices), output)
  await writeText(io.stdout, text)
}

/** @throws SluiceError SLUICE_USAGE, SLUICE_FILTER_INVALID for files that could not be applied */
async function explainRequest(io: Io, options: ExplainOptions): Promise<ExplainRequest> {
  const files = await readFilterFiles(io, options.filename ?? [])
  if (options.alone === true && files.length === 0) {
    throw new SluiceError('SLUICE_USAGE', 'Cannot use --alone without --filename: it says what the files stand for')
  }
  const seconds = options.for === undefined ? 0 : durationFlag('--for', options.for) / 1000
  return {
    files,
    alone: options.alone === true,
    source: options.from === 'live' ? ExplainSource.EXPLAIN_SOURCE_LIVE : ExplainSource.EXPLAIN_SOURCE_HISTORY,
    seconds,
    max_flows: countFlag('--max-flows', options.maxFlows),
  }
}

function countFlag(flag: string, text: string | undefined): number {
  if (text === undefined) return 0
  const count = /^\d{1,7}$/.test(text) ? Number(text) : 0
  if (count >= 1 && count <= 1_000_000) return count
  throw new SluiceError('SLUICE_USAGE', `Cannot use ${flag} "${text}": want a number from 1 to 1000000`)
}

/** The result; undefined when the user gave up. News goes to a terminal only. */
async function explained(io: Io, client: ObserverClient, request: ExplainRequest): Promise<ExplainResult | undefined> {
  const isShown = io.stderr.isTTY === true
  const paint = paintFor(io, 'auto', io.stderr)
  try {
    for await (const { progress, result } of client.explainFilters(request, { signal: io.signal })) {
      if (result !== undefined) return result
      if (isShown && progress !== undefined) io.stderr.write(progressText(progress.step, progress.done, paint))
    }
  } catch (error) {
    throw needsSluice(error, 'what filters would do')
  } finally {
    if (isShown) io.stderr.write('\r\x1b[K')
  }
  return undefined
}

function progressText(step: string, done: number, paint: Paint): string {
  return `\r\x1b[K${paint.dim(`${step}: ${Math.round(100 * done)} %`)}`
}
