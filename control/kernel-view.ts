import { compile } from '../filters/compile.ts'
import { branchesOf } from '../filters/kernel/branches.ts'
import { lower, type RuleNode, type SmallDimension, type Term } from '../filters/kernel/term.ts'
import { eventKindBits } from '../filters/kinds.ts'
import type { FlowPredicate } from '../filters/predicate.ts'
import type { FilterRule, RuleDecision, RuleSet } from '../filters/rules.ts'
import type { FlowView } from '../model/flow-view.ts'

/**
 * What the kernel asks in place of the rules that it does not decide alone, by rule id: of an include rule no less than
 * the rule accepts, of an exclude rule no more.
 */
export function kernelTests(
  set: RuleSet,
  decisions: ReadonlyMap<string, RuleDecision>,
  node: RuleNode,
): Map<string, FlowPredicate> {
  const tests = new Map<string, FlowPredicate>()
  for (const rule of set.consumers.flatMap(({ rules }) => rules)) {
    const where = decisions.get(rule.id)?.where
    if (where === 'kernel') continue
    const isInclude = rule.effect === 'include'
    tests.set(rule.id, where === 'partly' ? partOf(rule, node) : () => isInclude)
  }
  return tests
}

function partOf({ effect, predicate }: FilterRule, node: RuleNode): FlowPredicate {
  const branches = branchesOf(lower(predicate, node))
  const asked = effect === 'include' ? branches : branches.filter(({ because }) => because.size === 0)
  return some(asked.map(({ tests }) => every(tests.map(termTest))))
}

function termTest(term: Term): FlowPredicate {
  switch (term.op) {
    case 'all':
      return every(term.of.map(termTest))
    case 'any':
      return some(term.of.map(termTest))
    case 'values':
      return valueTest(term.dimension, term.accepts)
    case 'field': {
      const test = compile(term.test)
      return term.negated ? (view) => !test(view) : test
    }
    case 'unknown':
      return () => true
  }
}

function valueTest(dimension: SmallDimension, accepts: readonly boolean[]): FlowPredicate {
  if (dimension === 'kind') {
    const bits = accepts.reduce((sum, isAccepted, kind) => (isAccepted ? sum | (1 << kind) : sum), 0)
    return (view) => (eventKindBits(view) & bits) !== 0
  }
  const value = VALUES[dimension]
  return (view) => accepts[value(view)] === true
}

const VALUES: Readonly<Record<Exclude<SmallDimension, 'kind'>, (view: FlowView) => number>> = {
  protocol: (view) => view.protocol,
  direction: (view) => view.trafficDirection,
  'ip-version': (view) => view.ipVersion,
}

function every(tests: readonly FlowPredicate[]): FlowPredicate {
  return (view) => tests.every((test) => test(view))
}

function some(tests: readonly FlowPredicate[]): FlowPredicate {
  return (view) => tests.some((test) => test(view))
}
