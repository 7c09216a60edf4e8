import { KINDS } from '../kinds.ts'
import { DIMENSION_SIZE, type Dimension, dimensionOf, kindsOf, type Term } from './term.ts'

/** Alternatives of one rule, each of which takes a bit of the kernel's; a rule with more is decided there in part. */
export const MAX_BRANCHES = 8

/** One way to match a rule: tests of one dimension each, all of which must hold. */
export interface Branch {
  readonly tests: readonly Term[]
  /** What more there is to it that only user space can tell; empty when the tests say it all. */
  readonly because: ReadonlySet<string>
}

const ANY_WAY: Branch = { tests: [], because: new Set() }
const TOO_MANY = `it has more than ${MAX_BRANCHES} alternatives`

/**
 * The alternatives of a term. Together they match what the term may match; the ones without a reason match what it surely
 * matches. None: the term matches nothing.
 */
export function branchesOf(term: Term): readonly Branch[] {
  if (dimensionOf(term) !== undefined) return [{ tests: [term], because: new Set() }]
  switch (term.op) {
    case 'unknown':
      return [{ tests: [], because: new Set([term.because]) }]
    case 'all':
      return term.of.reduce<readonly Branch[]>((sum, one) => multiply(sum, one), [ANY_WAY])
    case 'any': {
      const branches = [...byDimension(term.of)].flatMap(branchesOf)
      return branches.length > MAX_BRANCHES ? [bound(term)] : branches
    }
    default:
      throw new RangeError(`A test of ${term.dimension} has a dimension`)
  }
}

function multiply(sum: readonly Branch[], term: Term): readonly Branch[] {
  const factors = branchesOf(term)
  const fits = sum.length * factors.length <= MAX_BRANCHES
  return sum.flatMap((left) =>
    (fits ? factors : [bound(term)]).map((right) => ({
      tests: [...left.tests, ...right.tests],
      because: new Set([...left.because, ...right.because]),
    })),
  )
}

/** Alternatives that look at one thing become one test: `port 80 or port 81`. */
function byDimension(terms: readonly Term[]): Term[] {
  const groups = new Map<Dimension, Term[]>()
  const others: Term[] = []
  for (const term of terms) {
    const dimension = dimensionOf(term)
    if (dimension === undefined) others.push(term)
    else if (groups.has(dimension)) groups.get(dimension)!.push(term)
    else groups.set(dimension, [term])
  }
  return [...Array.from(groups.values(), (of): Term => (of.length === 1 ? of[0]! : { op: 'any', of })), ...others]
}

/** What can be said of a term in one branch: the kinds of events that it may match. */
function bound(term: Term): Branch {
  const kinds = kindsOf(term)
  const accepts = Array.from({ length: DIMENSION_SIZE.kind }, (_, kind) => kind < KINDS.length && kinds[kind] === true)
  return { tests: [{ op: 'values', dimension: 'kind', accepts }], because: new Set([TOO_MANY]) }
}
