import type { Flow } from '../../api/gen/flow/flow.ts'
import type { RuleDecision } from '../../filters/rules.ts'
import { destinationEnd, hostText, sourceEnd, summaryText, typeText, verdictText } from '../output/flow-text.ts'
import type { Paint } from '../paint.ts'
import { formatTable, withCommas } from '../table.ts'
import type { CheckedFiles } from './check.ts'
import type { ConsumerAnswer, Fate, Judgement, RuleAnswer } from './judgement.ts'
import { placeColor } from './list.ts'
import type { TreeAnswer } from './predicate-tree.ts'

/** What the files make: every rule, and where it would be decided. */
export function rulesOfFilesText({ rules, decisions, offBecause }: CheckedFiles, paint: Paint): string {
  const rows = rules.consumers.flatMap((consumer) => {
    if (!consumer.isOn) return [[consumer.name, 'off', offBecause.get(consumer.name) ?? '', '']]
    if (consumer.rules.length === 0) return [[consumer.name, '-', 'no rule: takes everything', '']]
    return consumer.rules.map(({ id, effect, origin }) => [
      consumer.name,
      effect,
      origin.label === '' ? origin.text : `${origin.label}: ${origin.text}`,
      decisionText(decisions.get(id), paint),
    ])
  })
  return formatTable([['CONSUMER', 'EFFECT', 'RULE', 'DECIDED IN'], ...rows])
}

function decisionText(decision: RuleDecision | undefined, paint: Paint): string {
  if (decision === undefined) return ''
  const because = decision.because.length === 0 ? '' : ` (${decision.because.join('; ')})`
  return placeColor(decision.where, paint) + because
}

const FATES: Readonly<Record<Fate, (text: string, paint: Paint) => string>> = {
  kept: (text, paint) => paint.green(text),
  'left out': (text, paint) => paint.red(text),
  'not concerned': (text, paint) => paint.dim(text),
  off: (text, paint) => paint.dim(text),
}

/** One flow, and what every consumer does with it, as a tree. */
export function flowTreeText(flow: Flow, answers: readonly ConsumerAnswer[], paint: Paint): string {
  const options = { ipTranslation: true, paint }
  const ends = `${hostText(sourceEnd(flow), options)} -> ${hostText(destinationEnd(flow), options)}`
  const summary = summaryText(flow, paint)
  const head = `${ends} ${typeText(flow)} ${verdictText(flow, paint, false)}${summary === '' ? '' : ` (${summary})`}`
  return `${head}\n${answers.map((answer) => answerText(answer, paint)).join('')}`
}

function answerText({ consumer, fate, because, rules }: ConsumerAnswer, paint: Paint): string {
  const head = `  ${consumer}: ${FATES[fate](fate, paint)}, ${because}\n`
  // Rules of a consumer that the flow is no business of would explain nothing.
  if (fate === 'off' || fate === 'not concerned') return head
  return head + rules.map((answer) => ruleText(answer, paint)).join('')
}

function ruleText({ rule, matches, tree }: RuleAnswer, paint: Paint): string {
  const { origin, effect } = rule
  const label = origin.label === '' ? '' : ` "${origin.label}"`
  const head = `    ${yesNo(matches, paint)} ${effect} ${origin.kind}/${origin.name} ${origin.path}${label}\n`
  return head + treeText(tree, 3, paint)
}

function treeText({ text, matches, actual, parts }: TreeAnswer, depth: number, paint: Paint): string {
  const is = actual === undefined ? '' : paint.dim(` (is ${actual})`)
  const line = `${'  '.repeat(depth)}${yesNo(matches, paint)} ${text}${is}\n`
  return line + (parts ?? []).map((part) => treeText(part, depth + 1, paint)).join('')
}

function yesNo(matches: boolean, paint: Paint): string {
  return matches ? paint.green('yes') : paint.red('no ')
}

/** What all flows of a file came to. */
export function countsText(judgement: Judgement, paint: Paint): string {
  const consumers = judgement
    .consumerCounts()
    .map(({ consumer, isOn, events, kept }) => [
      consumer,
      isOn ? 'on' : paint.dim('off'),
      withCommas(events),
      withCommas(kept),
      withCommas(events - kept),
    ])
  const rules = judgement
    .ruleCounts()
    .map(({ consumer, rule, matched, kept }) => [
      consumer,
      rule.effect,
      rule.origin.text,
      withCommas(matched),
      withCommas(kept),
      withCommas(matched - kept),
      matched === 0 ? paint.yellow('never matched') : '',
    ])
  const head = `${withCommas(judgement.flows)} flows\n`
  const table = formatTable([['CONSUMER', 'STATE', 'EVENTS', 'KEPT', 'LEFT OUT'], ...consumers])
  if (rules.length === 0) return `${head}${table}`
  return `${head}${table}\n${formatTable([['CONSUMER', 'EFFECT', 'RULE', 'MATCHED', 'KEPT', 'LEFT OUT', ''], ...rules])}`
}
