import { compileKernelPlan } from '../../filters/kernel/index.ts'
import { type CompiledResource, compileResource } from '../../filters/resources/compile.ts'
import { readDocument } from '../../filters/resources/document.ts'
import { type FileDocument, readResourceFile } from '../../filters/resources/file.ts'
import { METRIC_FAMILIES, METRIC_RESOURCE_NAME } from '../../filters/resources/kinds.ts'
import { problemText } from '../../filters/resources/problem.ts'
import { buildRuleSet } from '../../filters/resources/rule-set.ts'
import { ALL_KINDS, CONSUMER_BITS, type RuleDecision, type RuleSet } from '../../filters/rules.ts'
import { EventKind } from '../../model/layouts.gen.ts'
import type { FilterText } from './files.ts'

/** What files of filter resources say, and what is wrong with them. */
export interface CheckedFiles {
  /** `file:line: place value: what is wanted` */
  readonly mistakes: readonly string[]
  readonly warnings: readonly string[]
  /** The rules as an agent would make them of these files alone. */
  readonly rules: RuleSet
  /** Where each rule would be decided, by rule id. */
  readonly decisions: ReadonlyMap<string, RuleDecision>
  /** Of consumers that are off: why. */
  readonly offBecause: ReadonlyMap<string, string>
}

export interface CheckOptions {
  /** Several ContainerNetworkMetrics together (filters.merge); else the one of the known name counts alone. */
  readonly merge: boolean
  /** What becomes of metrics that nothing names (filters.unlisted). */
  readonly unlisted: 'keep' | 'drop'
}

/** Kinds of events that a metric counts. */
const METRIC_KINDS: Readonly<Record<(typeof METRIC_FAMILIES)[number], number>> = {
  flow: ALL_KINDS,
  tcp: 1 << EventKind.KIND_TCP_FLAG,
  drop: 1 << EventKind.KIND_DROP,
  dns: 1 << EventKind.KIND_DNS,
}

/** Reads and compiles files as an agent would; nothing is asked but the files. */
export function checkFiles(files: readonly FilterText[], options: CheckOptions): CheckedFiles {
  const mistakes: string[] = []
  const warnings: string[] = []
  const resources = new Map<string, CompiledResource>()
  for (const { name, content } of files) {
    const { documents, problems } = readResourceFile(content, name)
    mistakes.push(...problems)
    if (documents.length === 0 && problems.length === 0) mistakes.push(`${name}: there is no filter resource in it`)
    for (const document of documents) {
      const compiled = compileDocument(document, mistakes, warnings)
      if (compiled === undefined) continue
      const key = `${compiled.kind}/${compiled.name}`
      if (resources.has(key)) mistakes.push(`${name}: ${key} is there twice: give one of them another name`)
      resources.set(key, compiled)
    }
  }
  const rules = ruleSet([...resources.values()], options, warnings)
  const decisions = compileKernelPlan(rules.set, { nodeName: '', nodeLabels: [] }).decisions
  return { mistakes, warnings, rules: rules.set, decisions, offBecause: rules.offBecause }
}

function compileDocument(document: FileDocument, mistakes: string[], warnings: string[]): CompiledResource | undefined {
  const { resource, mistakes: wrong } = readDocument(document.value)
  if (resource === undefined) {
    mistakes.push(...wrong.map((problem) => problemText(problem, document)))
    return undefined
  }
  const result = compileResource(resource)
  if (result.compiled === undefined) {
    mistakes.push(...result.mistakes.map((problem) => problemText(problem, document)))
    return undefined
  }
  warnings.push(...result.warnings.map((problem) => problemText(problem, document)))
  return result.compiled
}

/** Every consumer that resources are about, as an agent makes it of the resources. */
function ruleSet(
  all: readonly CompiledResource[],
  options: CheckOptions,
  warnings: string[],
): { readonly set: RuleSet; readonly offBecause: Map<string, string> } {
  const isUsed = ({ kind, name }: CompiledResource) =>
    kind !== 'ContainerNetworkMetric' || options.merge || name === METRIC_RESOURCE_NAME
  for (const { name } of all.filter((one) => !isUsed(one))) {
    warnings.push(
      `ContainerNetworkMetric/${name} is ignored, its name is not ${METRIC_RESOURCE_NAME}; filters.merge (here: --merge) takes it`,
    )
  }
  const { consumers } = buildRuleSet({
    settings: {
      log: { mode: 'resources', allow: [], deny: [] },
      history: 'wanted',
      merge: options.merge,
      unlisted: options.unlisted,
    },
    metrics: METRIC_FAMILIES.map((family, index) => ({
      name: `metric/${family}`,
      bit: CONSUMER_BITS.FIRST_METRIC + index,
      interest: { kinds: METRIC_KINDS[family] },
    })),
    dynamic: new Map(),
    resources: all.filter(isUsed),
    queries: [],
  })
  const about = consumers.filter(({ name }) => name !== 'history')
  const off = about.filter(({ isOn }) => !isOn).map(({ name }) => [name, offText(name)] as const)
  return { set: { consumers: about }, offBecause: new Map(off) }
}

function offText(consumer: string): string {
  if (consumer === 'log') return 'no ContainerNetworkLog asks for a log'
  return 'no ContainerNetworkMetric names it, and unlisted is drop'
}
