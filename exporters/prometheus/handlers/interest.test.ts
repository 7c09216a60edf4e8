import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compile } from '../../../filters/compile.ts'
import { eventKindBits } from '../../../filters/kinds.ts'
import { EVERYTHING } from '../../../filters/predicate.ts'
import { CONSUMER_BITS } from '../../../filters/rules.ts'
import type { L7Record } from '../../../model/l7.ts'
import { EventKind, ObservationPoint, Verdict } from '../../../model/layouts.gen.ts'
import type { FlowSpec } from '../../../test/helpers/flow-store.ts'
import { CountedFlows } from '../../../test/helpers/metric-lines.ts'
import type { MetricSpec } from '../context/options.ts'
import { HANDLERS } from './index.ts'

const RUNS = process.env['CI'] === 'true' ? { numRuns: 1500, seed: 20_261_124 } : { numRuns: 1500 }

const l7Type = fc.constantFrom(0, 1, 2)
const dns: fc.Arbitrary<L7Record> = fc.record({
  type: l7Type,
  latencyNs: fc.constantFrom(0, 1000),
  traceId: fc.constant(''),
  dns: fc.record({
    query: fc.constantFrom('a.example.', ''),
    ips: fc.constantFrom([], ['192.0.2.1']),
    ttl: fc.constant(1),
    cnames: fc.constant([]),
    observationSource: fc.constant('kernel'),
    rcode: fc.constantFrom(0, 3),
    qtypes: fc.constantFrom(['A'], ['AAAA'], ['A', 'AAAA'], []),
    rrtypes: fc.constantFrom([], ['A']),
  }),
})
const http: fc.Arbitrary<L7Record> = fc.record({
  type: l7Type,
  latencyNs: fc.constantFrom(0, 1000),
  traceId: fc.constantFrom('', 'ab'),
  http: fc.constantFrom(
    { code: 0, method: 'GET', url: '/', protocol: 'HTTP/1.1', headers: [] },
    { code: 503, method: '', url: '', protocol: '', headers: [] },
  ),
})

/** TCP and SCTP more than once: what counts them asks for more than the protocol. */
const PROTOCOLS = [0, 1, 2, 6, 6, 6, 17, 47, 50, 58, 112, 132, 132, 132, 255]
const labels = fc.constantFrom(
  ['reserved:world'],
  ['cidr:192.0.2.0/24', 'reserved:world'],
  ['reserved:world-ipv4'],
  ['reserved:world-ipv6'],
  ['reserved:host'],
  ['k8s:app=world'],
  [],
)
const ends = {
  source: fc.record({ identity: fc.constantFrom(1, 2, 300), labels }),
  destination: fc.record({ identity: fc.constantFrom(1, 2, 300), labels }),
}

/** Flows of every kind, also of verdicts that only a replayed log has. */
const flow: fc.Arbitrary<FlowSpec> = fc
  .record({
    ...ends,
    protocol: fc.constantFrom(...PROTOCOLS),
    message: fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, dns, http),
    verdict: fc.constantFrom(...Object.values(Verdict)),
    l4Info: fc.oneof(fc.integer({ min: 0, max: 511 }), fc.constantFrom(1, 2, 6, 7, 8, 14)),
    hubbleReason: fc.constantFrom(0, 133, 181),
    dstPort: fc.constantFrom(0, 53, 443),
    point: fc.constantFrom(...Object.values(ObservationPoint)),
    isReply: fc.constantFrom(true, false, undefined),
    direction: fc.constantFrom('ingress' as const, 'egress' as const, 'unknown' as const),
  })
  .map(({ message, protocol, ...rest }) => {
    if (message === undefined) return { ...rest, protocol }
    // DNS comes by UDP and TCP, HTTP by TCP: nothing else gets as far as the history.
    return { ...rest, protocol: message.http !== undefined || protocol === 6 ? 6 : 17, l7: message }
  })

const options = (text: Record<string, string[]>): MetricSpec['options'] => new Map(Object.entries(text))
const OPTIONS: readonly MetricSpec['options'][] = [
  options({}),
  options({ 'any-drop': [], port: [], query: [], responses: [] }),
  options({ 'syn-only': [], ignoreaaaa: [] }),
]

describe('HandlerDefinition.interest', () => {
  test.each(HANDLERS)('$name: takes every flow that the handler counts', (definition) => {
    const known = Object.keys(definition.options ?? {}).map((name) => name.toLowerCase())
    const accepts = compile(definition.interest.predicate ?? EVERYTHING)
    let counted = 0
    fc.assert(
      fc.property(flow, fc.constantFrom(...OPTIONS), (spec, all) => {
        const own = new Map([...all].filter(([name]) => known.includes(name)))
        const flows = new CountedFlows([{ name: definition.name, options: own }])
        flows.push(spec)
        const counts = flows.metrics.families.some((family) => family.size > 0)
        if (!counts) return
        counted++
        const view = flows.store.createView()
        flows.store.seek(view, 0)
        expect(eventKindBits(view) & definition.interest.kinds).not.toBe(0)
        expect(accepts(view)).toBe(true)
      }),
      RUNS,
    )
    expect(counted).toBeGreaterThan(10)
  })

  test('leaves out what a handler cannot count, where that is whole kinds of events', () => {
    const kinds = Object.fromEntries(HANDLERS.map(({ name, interest }) => [name, interest.kinds]))
    expect(kinds).toMatchObject({
      dns: 1 << EventKind.KIND_DNS,
      drop: 1 << EventKind.KIND_DROP,
      httpV2: 1 << EventKind.KIND_HTTP,
      tcp: 1 << EventKind.KIND_TCP_FLAG,
    })
  })

  test('every handler has a bit among those of metrics', () => {
    expect(HANDLERS.length).toBeLessThanOrEqual(CONSUMER_BITS.METRICS)
  })
})
