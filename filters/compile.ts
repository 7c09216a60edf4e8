import { TimeSlice } from '../base/time-slice.ts'
import { cacheSlots, contextTest } from './caches.ts'
import { parseLabels } from './label-selector.ts'
import { addressTest } from './matchers/addresses.ts'
import {
  clusterNameTest,
  fqdnTest,
  identityTest,
  labelTest,
  podTest,
  serviceTest,
  workloadTest,
} from './matchers/endpoints.ts'
import {
  dnsQueryTest,
  httpHeaderTest,
  httpMethodTest,
  httpPathTest,
  httpStatusTest,
  httpUrlTest,
  traceIdTest,
} from './matchers/layer7.ts'
import {
  dropReasonTest,
  encryptedTest,
  eventTypeTest,
  interfaceTest,
  ipVersionTest,
  portTest,
  protocolTest,
  replyTest,
  tcpFlagsTest,
  trafficDirectionTest,
  verdictTest,
} from './matchers/numbers.ts'
import { uuidTest } from './matchers/uuid.ts'
import type { FieldTest, FlowPredicate, Predicate } from './predicate.ts'

type Op = FieldTest['op']
type TestOf<K extends Op> = Extract<FieldTest, { op: K }>

/**
 * How each test becomes a function, cheapest first: a comparison of a number in the record, bytes of the record, an
 * answer remembered by reference, then what resolves an L7 message and what runs an expression. Tests of an AND run in
 * this order; they have no effect, so the order changes cost only.
 */
const TESTS: { readonly [K in Op]: (test: TestOf<K>, slots: number) => FlowPredicate } = {
  verdict: (test) => verdictTest(test.values),
  'traffic-direction': (test) => trafficDirectionTest(test.values),
  'ip-version': (test) => ipVersionTest(test.versions),
  encrypted: (test) => encryptedTest(test.values),
  reply: (test) => replyTest(test.values),
  port: (test) => portTest(test.side, test.ports),
  'tcp-flags': (test) => tcpFlagsTest(test.masks),
  'event-type': (test) => eventTypeTest(test.entries),
  'drop-reason': (test) => dropReasonTest(test.values),
  'node-name': (test) => contextTest((context) => test.pattern.matches(context.nodeName)),
  'node-label': (test) =>
    contextTest((context) => {
      const labels = parseLabels(context.nodeLabels)
      return test.selectors.some((selector) => selector.matches(labels))
    }),
  ip: (test) => addressTest(test.side, test.addresses, test.prefixes),
  identity: (test, slots) => identityTest(test.side, test.values, slots),
  pod: (test, slots) => podTest(test.side, test.names, slots),
  workload: (test, slots) => workloadTest(test.side, test.entries, slots),
  'cluster-name': (test, slots) => clusterNameTest(test.side, test.names, slots),
  label: (test, slots) => labelTest(test.side, test.selectors, slots),
  protocol: (test) => protocolTest(test.names),
  service: (test, slots) => serviceTest(test.side, test.names, slots),
  fqdn: (test, slots) => fqdnTest(test.side, test.pattern, slots),
  interface: (test) => interfaceTest(test.entries),
  uuid: (test) => uuidTest(test.values),
  'trace-id': (test) => traceIdTest(test.values),
  'http-status': (test) => httpStatusTest(test.full, test.prefixes),
  'http-method': (test) => httpMethodTest(test.methods),
  'http-header': (test) => httpHeaderTest(test.headers),
  'http-url': (test) => httpUrlTest(test.patterns),
  'http-path': (test) => httpPathTest(test.patterns),
  'dns-query': (test) => dnsQueryTest(test.patterns),
  cel: (test) => (view) => {
    for (const program of test.programs) {
      const answer = program.evaluate(view)
      // An expression that fails ends the filter with "no", as in Hubble; later expressions are not asked.
      if (answer === undefined) return false
      if (answer) return true
    }
    return false
  },
}

const RANK = new Map<string, number>(Object.keys(TESTS).map((op, rank) => [op, rank]))

/**
 * Makes a function of a predicate. It allocates nothing for tests of numbers, addresses and endpoints, and remembers
 * answers about endpoints by reference; use one function per reader, on one thread.
 */
export function compile(predicate: Predicate): FlowPredicate {
  return compileNode(predicate, cacheSlots(countCaches(predicate)))
}

/** Slots for the caches of all rules in force together: 1 Mi × at most 9 bytes. */
const RULE_SLOTS = 1 << 20

/** Makes functions of many predicates that share the room for remembered answers, with turns of the event loop between. */
export async function compileMany(predicates: readonly Predicate[]): Promise<FlowPredicate[]> {
  const slots = cacheSlots(
    predicates.reduce((sum, one) => sum + countCaches(one), 0),
    RULE_SLOTS,
  )
  const slice = new TimeSlice()
  const tests: FlowPredicate[] = []
  for (const predicate of predicates) {
    tests.push(compileNode(predicate, slots))
    if (slice.isOver) await slice.yield()
  }
  return tests
}

const CACHED: ReadonlySet<string> = new Set<Op>([
  'identity',
  'pod',
  'workload',
  'cluster-name',
  'label',
  'service',
  'fqdn',
])

/** Tests that remember answers. */
function countCaches(predicate: Predicate): number {
  if (predicate.op === 'not') return countCaches(predicate.of)
  if (predicate.op !== 'all' && predicate.op !== 'any') return CACHED.has(predicate.op) ? 1 : 0
  return predicate.of.reduce((sum, one) => sum + countCaches(one), 0)
}

function compileNode(predicate: Predicate, slots: number): FlowPredicate {
  const part = (one: Predicate) => compileNode(one, slots)
  switch (predicate.op) {
    case 'all':
      return conjunction(inOrder(predicate.of).map(part))
    case 'any':
      return disjunction(inOrder(predicate.of).map(part))
    case 'not': {
      const inner = part(predicate.of)
      return (view) => !inner(view)
    }
    default:
      return compileTest(predicate, slots)
  }
}

function compileTest<K extends Op>(test: TestOf<K>, slots: number): FlowPredicate {
  // The table's type says that the entry of an op takes tests of that op.
  return (TESTS[test.op] as (test: TestOf<K>, slots: number) => FlowPredicate)(test, slots)
}

function inOrder(predicates: readonly Predicate[]): Predicate[] {
  return [...predicates].sort((a, b) => cost(a) - cost(b))
}

/** Rank of the dearest test inside. */
function cost(predicate: Predicate): number {
  if (predicate.op === 'not') return cost(predicate.of)
  if (predicate.op === 'all' || predicate.op === 'any') return Math.max(0, ...predicate.of.map(cost))
  return RANK.get(predicate.op)!
}

function conjunction(tests: readonly FlowPredicate[]): FlowPredicate {
  const [a, b, c] = tests
  if (a === undefined) return () => true
  if (b === undefined) return a
  if (c === undefined) return (view) => a(view) && b(view)
  if (tests.length === 3) return (view) => a(view) && b(view) && c(view)
  return (view) => {
    for (const test of tests) if (!test(view)) return false
    return true
  }
}

function disjunction(tests: readonly FlowPredicate[]): FlowPredicate {
  const [a, b, c] = tests
  if (a === undefined) return () => false
  if (b === undefined) return a
  if (c === undefined) return (view) => a(view) || b(view)
  if (tests.length === 3) return (view) => a(view) || b(view) || c(view)
  return (view) => {
    for (const test of tests) if (test(view)) return true
    return false
  }
}
