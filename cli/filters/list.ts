import type {
  FilterResource,
  ListedConsumer,
  ListedRule,
  ListFiltersResponse,
} from '../../api/gen/sluice/v1/filters.ts'
import { durationText } from '../commands/status.ts'
import { formatTime } from '../observe/time.ts'
import type { Paint } from '../paint.ts'
import { formatTable, withCommas } from '../table.ts'
import { rateText } from './numbers.ts'
import { effectText, placeText } from './plain.ts'

/** @param wide with where each rule was written, since when, and why the kernel does not decide it */
export function listText(list: ListFiltersResponse, paint: Paint, wide: boolean): string {
  const parts = [headText(list, paint)]
  if (list.troubles.length > 0) {
    parts.push(list.troubles.map((text) => `${paint.red('trouble:')} ${text}\n`).join(''))
  }
  if (list.resources.length > 0) parts.push(resourcesText(list, paint))
  parts.push(consumersText(list, paint))
  const rules = wide ? list.rules : list.rules.filter(({ rule }) => rule?.kind !== 'built in')
  if (rules.length > 0) parts.push(rulesText(list, rules, paint, wide))
  const problems = problemsText(list, paint)
  if (problems !== '') parts.push(problems)
  parts.push(kernelText(list))
  return parts.join('\n')
}

type Time = ListFiltersResponse['time']

function milliseconds(time: Time): number {
  return time === undefined ? 0 : Number(time.seconds) * 1000 + time.nanos / 1e6
}

/** How long before the answer something was: `5m3s`. */
function ago(list: ListFiltersResponse, time: Time): string {
  if (time === undefined) return '-'
  const ms = Math.max(0, milliseconds(list.time) - milliseconds(time))
  return durationText(BigInt(Math.round(ms * 1e6)))
}

function headText(list: ListFiltersResponse, paint: Paint): string {
  if (list.generation === 0n) return `Node ${list.node_name}: no filters were put into force yet.\n`
  const applied =
    list.applied === undefined ? '' : `, for ${ago(list, list.applied)}, applied in ${list.apply_ms.toFixed(0)} ms`
  const head = `Node ${list.node_name}: rules no. ${list.generation} in force${applied}.\n`
  if (list.apply_error === '') return head
  return `${head}${paint.red('The last change is not in force:')} ${list.apply_error}\n`
}

function resourcesText(list: ListFiltersResponse, paint: Paint): string {
  const rows = list.resources.map((resource) => [
    `${resource.kind}/${resource.name}`,
    resource.source,
    stateText(resource, paint),
    resource.reason,
    String(resource.filters),
    ago(list, resource.time),
    firstLine(resource.message),
  ])
  const table = formatTable([['RESOURCE', 'SOURCE', 'STATE', 'REASON', 'FILTERS', 'SINCE', 'MESSAGE'], ...rows])
  return table + list.resources.map((resource) => resourceDetails(resource, paint)).join('')
}

function stateText({ state }: FilterResource, paint: Paint): string {
  return state === 'CONFIGURED' ? paint.green(state) : paint.red(state)
}

function firstLine(text: string): string {
  const end = text.indexOf('\n')
  return end < 0 ? text : `${text.slice(0, end)} ...`
}

/** Lines of a message beyond its first, and warnings. */
export function resourceDetails(resource: FilterResource, paint: Paint): string {
  const [, ...more] = resource.message.split('\n')
  const name = `${resource.kind}/${resource.name}`
  return [
    ...more.map((line) => `${paint.red('also:')} ${name}: ${line.trim()}\n`),
    ...resource.warnings.map((warning) => `${paint.yellow('warning:')} ${name}: ${warning}\n`),
  ].join('')
}

/** The history is told of where it takes what nobody else wants: else it holds what the others do. */
function consumersText({ consumers, rules }: ListFiltersResponse, paint: Paint): string {
  const shown = consumers.filter(({ name, on }) => name !== 'history' || on)
  const rows = shown.map((consumer) => [
    consumer.name,
    consumer.on ? 'on' : paint.dim('off'),
    whatItTakes(consumer, rules),
    ...(consumer.counted ? countTexts(consumer.count) : UNCOUNTED),
  ])
  const head = ['CONSUMER', 'STATE', 'RULES', 'EVENTS', 'KEPT', 'LEFT OUT', 'KEPT/MIN', 'LEFT OUT/MIN']
  const table = formatTable([head, ...rows])
  return shown.every(({ counted }) => counted) ? table : `${table}${UNCOUNTED_TEXT}`
}

const UNCOUNTED = ['-', '-', '-', '-', '-']
const UNCOUNTED_TEXT = '- not counted: no filter asks, so nothing is judged for it.\n'

function countTexts(count: ListedConsumer['count']): string[] {
  return [
    withCommas(count?.matched ?? 0n),
    withCommas(count?.kept ?? 0n),
    withCommas(count?.left_out ?? 0n),
    rateText(count?.kept_per_minute ?? 0),
    rateText(count?.left_out_per_minute ?? 0),
  ]
}

/** Rules that a metric has by itself are no filters: it is said that it takes what it is about. */
function whatItTakes({ name, on, rules: count }: ListedConsumer, rules: readonly ListedRule[]): string {
  if (!on) return 'takes nothing'
  const builtIn = rules.filter(({ rule }) => rule?.consumer === name && rule.kind === 'built in').length
  const written = count - builtIn
  if (written > 0) return `${written} ${written === 1 ? 'rule' : 'rules'}`
  return builtIn > 0 ? 'takes all of its kind' : 'takes everything'
}

/** Rules that a metric has by itself, icmp's `protocol icmp`, are for those who look closely. */
function rulesText(list: ListFiltersResponse, rules: readonly ListedRule[], paint: Paint, wide: boolean): string {
  const head = [
    'CONSUMER',
    'EFFECT',
    'RULE',
    'MATCHED',
    'KEPT',
    'LEFT OUT',
    'MATCHED/MIN',
    'LEFT OUT/MIN',
    'DECIDED IN',
  ]
  const rows = rules.map((listed) => ruleRow(list, listed, paint, wide))
  const table = formatTable([
    wide ? [...head, 'IN FORCE', 'LAST MATCH', 'FROM', 'WHY NOT IN THE KERNEL'] : head,
    ...rows,
  ])
  const isInexact = rules.some(({ exact }) => !exact)
  return isInexact ? `${table}~ at most: the kernel decides the rule in part and counts what may match.\n` : table
}

function ruleRow(list: ListFiltersResponse, listed: ListedRule, paint: Paint, wide: boolean): string[] {
  const { rule, count, exact } = listed
  if (rule === undefined) return []
  const about = exact ? '' : '~'
  const row = [
    rule.consumer,
    effectText(rule.effect),
    rule.label === '' ? rule.text : `${rule.label}: ${rule.text}`,
    about + withCommas(count?.matched ?? 0n),
    about + withCommas(count?.kept ?? 0n),
    about + withCommas(count?.left_out ?? 0n),
    rateText(count?.matched_per_minute ?? 0),
    rateText(count?.left_out_per_minute ?? 0),
    placeColor(placeText(rule.place), paint),
  ]
  if (!wide) return row
  const last = listed.last_matched === undefined ? 'never' : `${ago(list, listed.last_matched)} ago`
  const from = `${rule.kind}/${rule.name}${rule.path === '' ? '' : ` ${rule.path}`}`
  return [...row, ago(list, listed.since), last, from, rule.because.join('; ')]
}

/** What user space has to decide costs an event each; what the kernel does costs nothing more. */
export function placeColor(place: string, paint: Paint): string {
  return place === 'kernel' ? paint.green(place) : place === 'user' ? paint.yellow(place) : place
}

function problemsText(list: ListFiltersResponse, paint: Paint): string {
  const texts = new Map(list.rules.flatMap(({ rule }) => (rule === undefined ? [] : [[rule.id, rule.text] as const])))
  return list.rules
    .flatMap(({ rule }) => (rule?.problems ?? []).map((problem) => ({ rule: rule!, problem })))
    .map(({ rule, problem }) => {
      const other = texts.get(problem.other_rule)
      const where = `${rule.consumer} ${effectText(rule.effect)} "${rule.text}"`
      return `${paint.yellow(`${problem.kind}:`)} ${where}: ${problem.text}${other === undefined ? '' : ` ("${other}")`}\n`
    })
    .join('')
}

function kernelText(list: ListFiltersResponse): string {
  const rate = list.filtered_in_kernel > 0n ? `, ${rateText(list.filtered_in_kernel_per_minute)} a minute` : ''
  const lines = [`Never left the kernel: ${withCommas(list.filtered_in_kernel)} events${rate}.`]
  if (list.unattributed > 0n) {
    lines.push(
      `Left to user space, whatever the rules: ${withCommas(list.unattributed)} events (of interfaces that had just come or gone, or with the kernel's tables full).`,
    )
  }
  const span = list.rate_minutes > 0 ? `the last ${list.rate_minutes.toFixed(1)} minutes` : 'less than a minute yet'
  lines.push(`Rates are over ${span}, until ${formatTime(list.time, 'RFC3339')}.`)
  return `${lines.join('\n')}\n`
}
