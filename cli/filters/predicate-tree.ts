import { compile } from '../../filters/compile.ts'
import { describePredicate } from '../../filters/describe.ts'
import type { FlowPredicate, Predicate } from '../../filters/predicate.ts'
import type { FlowView } from '../../model/flow-view.ts'
import { actualText } from './actual-text.ts'

/** A predicate that can say of each part whether it holds. */
export interface PredicateTree {
  readonly text: string
  readonly test: FlowPredicate
  readonly parts: readonly PredicateTree[]
  /** What the flow has there instead; empty for nothing to say. */
  readonly actual: (view: FlowView) => string
}

/** How a tree came out for one flow: plain data, for JSON too. */
export interface TreeAnswer {
  readonly text: string
  readonly matches: boolean
  readonly actual?: string
  readonly parts?: readonly TreeAnswer[]
}

/** Compiles a predicate and each of its parts. */
export function predicateTree(predicate: Predicate): PredicateTree {
  const test = compile(predicate)
  const none = () => ''
  switch (predicate.op) {
    case 'all':
      return predicate.of.length === 0
        ? { text: 'every flow', test, parts: [], actual: none }
        : { text: 'all of', test, parts: predicate.of.map(predicateTree), actual: none }
    case 'any':
      return predicate.of.length === 0
        ? { text: 'no flow', test, parts: [], actual: none }
        : { text: 'any of', test, parts: predicate.of.map(predicateTree), actual: none }
    case 'not':
      return { text: 'not', test, parts: [predicateTree(predicate.of)], actual: none }
    default:
      return { text: describePredicate(predicate), test, parts: [], actual: (view) => actualText(predicate, view) }
  }
}

/** Asks every part, also behind the one that decides. */
export function askTree(tree: PredicateTree, view: FlowView): TreeAnswer {
  const matches = tree.test(view)
  const actual = matches ? '' : tree.actual(view)
  return {
    text: tree.text,
    matches,
    ...(actual === '' ? {} : { actual }),
    ...(tree.parts.length === 0 ? {} : { parts: tree.parts.map((part) => askTree(part, view)) }),
  }
}
