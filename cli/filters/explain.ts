import type {
  ExplainedAmount,
  ExplainedConsumer,
  ExplainedRule,
  ExplainResult,
} from '../../api/gen/sluice/v1/filters.ts'
import { durationText } from '../commands/status.ts'
import { formatTime } from '../observe/time.ts'
import type { Paint } from '../paint.ts'
import { formatTable, withCommas } from '../table.ts'
import { placeColor, resourceDetails } from './list.ts'
import { bytesText, changeText, rateText } from './numbers.ts'
import { effectText, placeText, sourceText } from './plain.ts'
import { type Cost, costs, moneyText, type PriceList } from './prices.ts'

const VARIANTS = ['now', 'with', 'without'] as const
type Variant = (typeof VARIANTS)[number]

/** What filters would do, or do, for people. @param prices the user's own; undefined = no money */
export function explainText(result: ExplainResult, paint: Paint, prices: PriceList | undefined): string {
  const parts = [basisText(result, paint), figuresText(result, paint)]
  const unfiltered = unfilteredText(result)
  if (unfiltered !== '') parts.push(unfiltered)
  if (ownRules(result).length > 0) parts.push(rulesText(result, paint))
  const problems = problemsText(result, paint)
  if (problems !== '') parts.push(problems)
  if (prices !== undefined) parts.push(moneyTable(result, prices))
  return parts.join('\n')
}

function basisText({ basis, node_name, resources }: ExplainResult, paint: Paint): string {
  if (basis === undefined) return ''
  const span = durationText(BigInt(Math.round(basis.seconds * 1e9)))
  const times =
    basis.first === undefined ? '' : ` (${formatTime(basis.first, 'RFC3339')} to ${formatTime(basis.last, 'RFC3339')})`
  const source = sourceText(basis.source) === 'live' ? 'live traffic' : 'history'
  const lines = [`Measured on node ${node_name}: ${withCommas(basis.flows)} flows, ${span} of ${source}${times}.`]
  for (const note of basis.notes) lines.push(`${paint.yellow('note:')} ${note}`)
  for (const { kind, name, state, message } of resources) {
    if (state !== 'CONFIGURED')
      lines.push(`${paint.red('would not be in force:')} ${kind}/${name}: ${message.split('\n')[0]}`)
  }
  return `${lines.join('\n')}\n${resources.map((resource) => resourceDetails(resource, paint)).join('')}`
}

/** One figure of the table: what it is, and its value in a variant; undefined where it does not apply. */
interface Figure {
  readonly name: string
  readonly value: (variant: Variant) => number | undefined
  readonly text: (value: number) => string
}

function figuresText(result: ExplainResult, paint: Paint): string {
  const columns: Variant[] = result.proposed ? ['now', 'with', 'without'] : ['with', 'without']
  const titles = {
    now: 'IN FORCE NOW',
    with: result.proposed ? 'WITH THE FILES' : 'IN FORCE',
    without: 'WITHOUT FILTERS',
  }
  const rows = figures(result).map((figure) => {
    const values = columns.map((column) => figure.value(column))
    const after = figure.value('with')
    const before = figure.value('without')
    return [
      figure.name,
      ...values.map((value) => (value === undefined ? 'off' : figure.text(value))),
      after === undefined || before === undefined ? '' : changeColor(before, after, paint),
    ]
  })
  return formatTable([['FIGURE', ...columns.map((column) => titles[column]), 'BY FILTERS'], ...rows])
}

function changeColor(before: number, after: number, paint: Paint): string {
  const text = changeText(before, after)
  return after < before ? paint.green(text) : text
}

function figures(result: ExplainResult): Figure[] {
  const leaving: Figure = {
    name: 'events out of the kernel, a minute',
    value: (variant) => result[variant]?.per_minute,
    text: rateText,
  }
  const ofKernel = result.with === undefined ? [] : [leaving]
  return [...ofKernel, ...result.consumers.filter((consumer) => isFiltered(result, consumer)).flatMap(consumerFigures)]
}

/** Rules that somebody wrote: those that a metric has by itself are no filter. */
function ownRules({ rules }: ExplainResult): ExplainedRule[] {
  return rules.filter(({ rule }) => rule !== undefined && rule.kind !== 'built in')
}

/** A consumer that has rules, or takes other events than without any. The history costs nothing but room. */
function isFiltered(result: ExplainResult, { name, with: amount, without, now }: ExplainedConsumer): boolean {
  if (name === 'history') return false
  if (ownRules(result).some(({ rule }) => rule?.consumer === name)) return true
  const isSame = (a: ExplainedAmount | undefined, b: ExplainedAmount | undefined) =>
    a?.on === b?.on && a?.kept === b?.kept
  return !isSame(amount, without) || (result.proposed && !isSame(now, without))
}

/** What nothing is left out of, in a line; what is switched off is not worth one. */
function unfilteredText(result: ExplainResult): string {
  const consumers = result.consumers.filter((consumer) => !isFiltered(result, consumer) && consumer.with?.on)
  if (consumers.length === 0) return ''
  const texts = consumers.map(({ name, with: amount }) => {
    const rate = `${rateText(amount!.kept_per_minute)} events a minute`
    return name.startsWith('metric/') ? `${name} (${rate}, ${withCommas(amount!.series)} series)` : `${name} (${rate})`
  })
  return `Not filtered: ${texts.join(', ')}.\n`
}

function consumerFigures(consumer: ExplainedConsumer): Figure[] {
  const { name, measured } = consumer
  const figure = (what: string, pick: (amount: ExplainedAmount) => number, text: Figure['text']): Figure => ({
    name: `${name}: ${what}`,
    value: (variant) => {
      const amount = consumer[variant]
      return amount?.on ? pick(amount) : undefined
    },
    text,
  })
  if (name === 'log') {
    const lines = figure('lines a minute', (amount) => amount.kept_per_minute, rateText)
    return measured ? [lines, figure('a day', (amount) => amount.log_bytes_per_day, bytesText)] : [lines]
  }
  const events = figure('events a minute', (amount) => amount.kept_per_minute, rateText)
  if (!name.startsWith('metric/') || !measured) return [events]
  return [
    events,
    figure(
      'series',
      (amount) => Number(amount.series),
      (value) => withCommas(value),
    ),
  ]
}

function rulesText(result: ExplainResult, paint: Paint): string {
  const byName = new Map(result.consumers.map((consumer) => [consumer.name, consumer]))
  const head = [
    'CONSUMER',
    'EFFECT',
    'RULE',
    'MATCHED/MIN',
    'KEPT/MIN',
    'LEFT OUT/MIN',
    'WITHOUT THIS RULE',
    'DECIDED IN',
  ]
  const rows = ownRules(result).map((explained) => {
    const { rule } = explained
    if (rule === undefined) return []
    const because = rule.because.length === 0 ? '' : ` (${rule.because.join('; ')})`
    return [
      rule.consumer,
      effectText(rule.effect),
      rule.label === '' ? rule.text : `${rule.label}: ${rule.text}`,
      rateText(explained.matched_per_minute),
      rateText(explained.kept_per_minute),
      rateText(explained.left_out_per_minute),
      withoutText(explained, byName.get(rule.consumer)?.with),
      `${placeColor(placeText(rule.place), paint)}${because}`,
    ]
  })
  return formatTable([head, ...rows])
}

/** `+1,200 events a minute, +35 series`: how the consumer would differ. */
function withoutText({ without, rule, measured }: ExplainedRule, amount: ExplainedAmount | undefined): string {
  if (without === undefined || amount === undefined) return '?'
  const isLog = rule?.consumer === 'log'
  const parts = [
    signed(without.kept_per_minute - amount.kept_per_minute, rateText, isLog ? 'lines a minute' : 'events a minute'),
  ]
  if (measured && isLog) parts.push(signed(without.log_bytes_per_day - amount.log_bytes_per_day, bytesText, 'a day'))
  if (measured && rule?.consumer.startsWith('metric/'))
    parts.push(signed(Number(without.series - amount.series), withCommas, 'series'))
  const changed = parts.filter((part) => part !== '')
  return changed.length === 0 ? 'no change' : changed.join(', ')
}

function signed(difference: number, text: (value: number) => string, unit: string): string {
  if (difference === 0) return ''
  return `${difference > 0 ? '+' : '-'}${text(Math.abs(difference))} ${unit}`
}

function problemsText({ rules }: ExplainResult, paint: Paint): string {
  return rules
    .flatMap(({ rule }) => (rule?.problems ?? []).map((problem) => ({ rule: rule!, problem })))
    .map(
      ({ rule, problem }) =>
        `${paint.yellow(`${problem.kind}:`)} ${rule.consumer} ${effectText(rule.effect)} "${rule.text}": ${problem.text}\n`,
    )
    .join('')
}

/** What a variant costs by the user's list; undefined where the series were not measured. */
export function variantCosts(result: ExplainResult, variant: Variant, prices: PriceList): Cost[] {
  const amounts = result.consumers.map((consumer) => consumer[variant])
  const series = amounts.reduce((sum, amount) => sum + (amount?.on ? Number(amount.series) : 0), 0)
  const bytes = amounts.reduce((sum, amount) => sum + (amount?.on ? amount.log_bytes_per_day : 0), 0)
  return costs(prices, series, bytes)
}

function moneyTable(result: ExplainResult, prices: PriceList): string {
  const columns: Variant[] = result.proposed ? ['now', 'with', 'without'] : ['with', 'without']
  const titles = {
    now: 'IN FORCE NOW',
    with: result.proposed ? 'WITH THE FILES' : 'IN FORCE',
    without: 'WITHOUT FILTERS',
  }
  const money = (amount: number) => moneyText(amount, prices.currency)
  const byVariant = new Map(columns.map((column) => [column, variantCosts(result, column, prices)]))
  const [sample] = byVariant.values()
  const rows = (sample ?? []).map(({ name, what }, i) => {
    const values = columns.map((column) => byVariant.get(column)![i]!.perMonth)
    const saved = byVariant.get('without')![i]!.perMonth - byVariant.get('with')![i]!.perMonth
    return [name, what, ...values.map(money), money(saved)]
  })
  const { nodes } = prices
  const about = nodes === 1 ? 'this node' : `${withCommas(nodes)} nodes like this one`
  return `Money a month for ${about}, by your price list:\n${formatTable([
    ['DESTINATION', 'OF', ...columns.map((column) => titles[column]), 'SAVED BY FILTERS'],
    ...rows,
  ])}`
}

/** The result for programs, with costs by variant where there is a price list. */
export function explainData(result: ExplainResult, prices: PriceList | undefined): object {
  if (prices === undefined) return result
  const cost = Object.fromEntries(VARIANTS.map((variant) => [variant, variantCosts(result, variant, prices)]))
  return { ...result, costs: { currency: prices.currency, nodes: prices.nodes, ...cost } }
}
