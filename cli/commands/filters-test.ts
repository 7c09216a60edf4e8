import { type Command, Option } from 'commander'
import { type Flow, Verdict } from '../../api/gen/flow/flow.ts'
import { GetFlowsRequest } from '../../api/gen/observer/observer.ts'
import { SluiceError } from '../../base/errors.ts'
import { EXIT_FAILED } from '../exit-codes.ts'
import { type CheckedFiles, checkFiles } from '../filters/check.ts'
import { readFilterFiles } from '../filters/files.ts'
import { describesFlow, type FlowFlags, flowOfFlags } from '../filters/flow-flags.ts'
import { type ConsumerAnswer, Judgement } from '../filters/judgement.ts'
import { structured } from '../filters/plain.ts'
import { countsText, flowTreeText, rulesOfFilesText } from '../filters/test-text.ts'
import { type Io, LineWriter, writeText } from '../io.ts'
import { readFlowFile } from '../observe/flow-file.ts'
import { FlowSlot } from '../observe/flow-test.ts'
import { nameOf } from '../output/flow-text.ts'
import { type Paint, paintFor } from '../paint.ts'
import { append } from '../server-options.ts'
import type { CommandContext } from './context.ts'

interface TestOptions extends FlowFlags {
  readonly filename: string[]
  readonly flow?: string[]
  readonly inputFile?: string
  readonly each?: boolean
  readonly expect?: string[]
  readonly merge?: boolean
  readonly unlisted: 'keep' | 'drop'
  readonly failOnWarning?: boolean
  readonly output: 'table' | 'json' | 'yaml'
}

const HELP = `
Needs no agent. Files are read as an agent reads them: every mistake is told with file, line, the value met and what is
wanted. Flows come from flags (one flow), from --flow (a few, explained one by one) or from --input-file (a log: counts
of each rule). Without any the files are checked and their rules shown.

Ends with 0 when the files are accepted and every --expect holds, with 1 when not, with 2 for wrong usage.

Examples:
  sluice filters test -f new.yaml
  sluice filters test -f new.yaml --from-pod traffic/http-1 --to-pod traffic/db-0 --verdict dropped
  sluice filters test -f filters.d --from-pod shop/cart --to-port 53 --protocol dns --expect metric/dns=kept
  sluice filters test -f new.yaml --input-file /var/log/acns/hubble/events.log
  hubble observe -o json --last 3 | sluice filters test -f new.yaml --flow -`

/** `sluice filters test`: checks files of filters, and says what they do with flows. */
export function addFiltersTestCommand(filters: Command, context: CommandContext): void {
  const command = filters
    .command('test')
    .summary('check files of filters, and what they do with flows; needs no agent')
    .description('Checks files of filter resources and explains which rules match flows and what each consumer does.')
    .requiredOption(
      '-f, --filename <path>',
      'file or directory of filter resources; may be repeated; - is standard input',
      append,
    )
    .option('--fail-on-warning', 'end with 1 also for warnings')
    .option('--merge', 'take all ContainerNetworkMetrics together, as with filters.merge')
    .addOption(
      new Option('--unlisted <what>', 'what becomes of metrics that nothing names')
        .choices(['keep', 'drop'])
        .default('keep'),
    )
    .option('--expect <consumer=fate>', 'want kept or left-out of each flow: log=kept; may be repeated', append)
    .addOption(
      new Option('-o, --output <format>', 'table, json, yaml').choices(['table', 'json', 'yaml']).default('table'),
    )
    .addHelpText('after', HELP)
  addFlowOptions(command)
  command.action((options: TestOptions) => runTest(context, options))
}

function addFlowOptions(command: Command): void {
  command
    .optionsGroup('Flows from files:')
    .option('--flow <path>', 'flows as JSON lines, explained one by one; may be repeated; - is standard input', append)
    .option('--input-file <path>', 'flows as JSON lines, counted')
    .option('--each', 'with --input-file: explain each flow too')
    .optionsGroup('One flow:')
    .option('--from-pod <namespace/name>', 'where it comes from')
    .option('--to-pod <namespace/name>', 'where it goes to')
    .option('--from-label <key=value>', 'label of the source; may be repeated', append)
    .option('--to-label <key=value>', 'label of the destination; may be repeated', append)
    .option('--from-ip <ip>', 'address of the source')
    .option('--to-ip <ip>', 'address of the destination')
    .option('--from-port <port>', 'port of the source (default: 40000)')
    .option('--to-port <port>', 'port of the destination (default: 80; 53 for udp and dns)')
    .option('--protocol <name>', 'tcp, udp, sctp, icmp, icmpv4, icmpv6, dns, http (default: tcp)')
    .option('--verdict <name>', 'forwarded, dropped ... (default: forwarded; dropped with --reason)')
    .option('--reason <name>', 'drop reason: "Policy denied"')
    .option('--direction <name>', 'ingress, egress, unknown (default: egress)')
    .option('--reply', 'it answers a packet before it')
    .option('--tcp-flags <names>', 'syn, syn,ack ... or none (default: syn)')
    .option('--dns-query <name>', 'a DNS message that asks for this name')
    .option('--http-method <name>', 'an HTTP request with this method')
    .option('--http-path <path>', 'an HTTP request of this path')
    .option('--http-status <code>', 'an HTTP response with this code')
}

/** What is told of one flow. */
interface FlowAnswer {
  readonly flow: Flow
  readonly consumers: readonly ConsumerAnswer[]
}

async function runTest(context: CommandContext, options: TestOptions): Promise<void> {
  const { io } = context
  const expected = expectations(options.expect ?? [])
  const sources = [options.flow, options.inputFile, describesFlow(options) || undefined]
  if (sources.filter((one) => one !== undefined).length > 1) {
    throw usage('Cannot use --flow, --input-file and the flags of one flow together: want one of them')
  }
  if (expected.size > 0 && sources.every((one) => one === undefined)) {
    throw usage('Cannot use --expect without a flow: want --flow, --input-file or the flags of one flow')
  }
  if (options.filename.includes('-') && (options.flow?.includes('-') || options.inputFile === '-')) {
    throw usage('Cannot use standard input for filters and for flows: want a file for one of them')
  }
  const files = await readFilterFiles(io, options.filename)
  const checked = checkFiles(files, { merge: options.merge === true, unlisted: options.unlisted })
  const isRefused = checked.mistakes.length > 0 || (options.failOnWarning === true && checked.warnings.length > 0)
  if (isRefused) context.exitCode = EXIT_FAILED
  const report = new Report(io, options, checked)
  await report.problems()
  if (checked.mistakes.length > 0) return await report.finish(undefined)
  const judgement = new Judgement(checked)
  for await (const flow of flowsOf(io, options)) {
    const answer = report.judge(judgement, flow, options.inputFile === undefined || options.each === true)
    const unmet = unmetExpectations(answer.consumers, expected)
    if (unmet.length > 0) context.exitCode = EXIT_FAILED
    await report.flow(answer, unmet)
  }
  await report.finish(judgement)
}

/** Prints what is found, or gathers it for JSON and YAML. */
class Report {
  readonly #io: Io
  readonly #options: TestOptions
  readonly #checked: CheckedFiles
  readonly #paint: Paint
  readonly #isTable: boolean
  readonly #slot = new FlowSlot()
  readonly #out: LineWriter
  readonly #flows: object[] = []

  constructor(io: Io, options: TestOptions, checked: CheckedFiles) {
    this.#io = io
    this.#options = options
    this.#checked = checked
    this.#paint = paintFor(io)
    this.#isTable = options.output === 'table'
    this.#out = new LineWriter(io.stdout)
  }

  /** Mistakes and warnings, on standard error. */
  async problems(): Promise<void> {
    if (!this.#isTable) return
    const paint = paintFor(this.#io, 'auto', this.#io.stderr)
    const lines = [
      ...this.#checked.mistakes.map((text) => `${paint.red('error:')} ${text}\n`),
      ...this.#checked.warnings.map((text) => `${paint.yellow('warning:')} ${text}\n`),
    ]
    await writeText(this.#io.stderr, lines.join(''))
  }

  judge(judgement: Judgement, flow: Flow, isExplained: boolean): FlowAnswer & { readonly isExplained: boolean } {
    this.#slot.write(flow)
    const { view } = this.#slot
    judgement.count(view)
    const consumers = isExplained || this.#options.expect !== undefined ? judgement.explain(view) : []
    return { flow, consumers, isExplained }
  }

  async flow(answer: FlowAnswer & { readonly isExplained: boolean }, unmet: readonly string[]): Promise<void> {
    if (!answer.isExplained && unmet.length === 0) return
    if (this.#isTable) {
      const text = flowTreeText(answer.flow, answer.consumers, this.#paint)
      const told = unmet.map((line) => `  ${this.#paint.red('not as expected:')} ${line}\n`).join('')
      await this.#out.write(`${text}${told}\n`)
      return
    }
    if (this.#flows.length >= MAX_GATHERED) {
      throw usage(`Cannot show more than ${MAX_GATHERED} flows as ${this.#options.output}: leave --each out`)
    }
    this.#flows.push({ flow: flowData(answer.flow), consumers: answer.consumers.map(answerData), unmet })
  }

  async finish(judgement: Judgement | undefined): Promise<void> {
    if (!this.#isTable) {
      await writeText(this.#io.stdout, await structured(this.#data(judgement), this.#options.output as 'json' | 'yaml'))
      return
    }
    if (judgement !== undefined) {
      const isCounted = this.#options.inputFile !== undefined
      if (isCounted) await this.#out.write(countsText(judgement, this.#paint))
      else if (judgement.flows === 0) await this.#out.write(rulesOfFilesText(this.#checked, this.#paint))
    }
    await this.#out.flush()
  }

  #data(judgement: Judgement | undefined): object {
    const { mistakes, warnings, rules, decisions } = this.#checked
    const ruleData = rules.consumers.flatMap((consumer) =>
      consumer.rules.map(({ id, effect, origin }) => ({
        consumer: consumer.name,
        effect,
        ...origin,
        decided: decisions.get(id)?.where,
        because: decisions.get(id)?.because,
      })),
    )
    const counts = judgement?.ruleCounts().map(({ consumer, rule, matched, kept }) => ({
      consumer,
      path: rule.origin.path,
      matched,
      kept,
      left_out: matched - kept,
    }))
    const consumers = judgement?.consumerCounts().map(({ consumer, isOn, events, kept }) => ({
      consumer,
      on: isOn,
      events,
      kept,
      left_out: events - kept,
    }))
    const isCounted = (judgement?.flows ?? 0) > 0
    return {
      accepted: mistakes.length === 0,
      mistakes,
      warnings,
      rules: ruleData,
      ...(isCounted ? { flows: this.#flows, counts: { flows: judgement!.flows, consumers, rules: counts } } : {}),
    }
  }
}

/** JSON and YAML are one document, which is held until its end. */
const MAX_GATHERED = 10_000

function flowData(flow: Flow): object {
  const end = (endpoint: Flow['source'], ip: string | undefined) => ({
    pod: endpoint?.pod_name ? `${endpoint.namespace}/${endpoint.pod_name}` : undefined,
    ip,
  })
  return {
    verdict: nameOf(Verdict, flow.verdict),
    source: end(flow.source, flow.IP?.source),
    destination: end(flow.destination, flow.IP?.destination),
    summary: flow.Summary === '' ? undefined : flow.Summary,
  }
}

function answerData({ consumer, fate, because, rules }: ConsumerAnswer): object {
  return {
    consumer,
    fate,
    because,
    rules: rules.map(({ rule, matches, tree }) => ({ effect: rule.effect, path: rule.origin.path, matches, tree })),
  }
}

async function* flowsOf(io: Io, options: TestOptions): AsyncGenerator<Flow> {
  if (describesFlow(options)) yield flowOfFlags(options)
  const paths = options.inputFile === undefined ? (options.flow ?? []) : [options.inputFile]
  const all = GetFlowsRequest.fromPartial({})
  const warn = (text: string) => writeText(io.stderr, `${text}\n`)
  for (const path of paths) {
    for await (const { flow } of readFlowFile(io, path, all, warn)) if (flow !== undefined) yield flow
  }
}

const FATES = ['kept', 'left-out', 'not-concerned', 'off'] as const

/** `log=kept` */
function expectations(texts: readonly string[]): Map<string, string> {
  return new Map(
    texts.map((text) => {
      const [consumer = '', fate = ''] = text.split('=')
      if (consumer === '' || !FATES.includes(fate as (typeof FATES)[number])) {
        throw usage(`Cannot use --expect "${text}": want consumer=${FATES.join('|')}, for example metric/flow=kept`)
      }
      return [consumer, fate]
    }),
  )
}

function unmetExpectations(answers: readonly ConsumerAnswer[], expected: ReadonlyMap<string, string>): string[] {
  return [...expected].flatMap(([consumer, fate]) => {
    const answer = answers.find((one) => one.consumer === consumer)
    if (answer === undefined) {
      throw usage(`Cannot use --expect "${consumer}": want one of ${answers.map((one) => one.consumer).join(', ')}`)
    }
    const actual = answer.fate.replace(' ', '-')
    return actual === fate ? [] : [`${consumer} is ${actual}, want ${fate}`]
  })
}

function usage(text: string): SluiceError {
  return new SluiceError('SLUICE_USAGE', text)
}
