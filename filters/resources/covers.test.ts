import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type FlowSpec, TestFlowStore } from '../../test/helpers/flow-store.ts'
import { compile } from '../compile.ts'
import { flowFilterPredicate } from '../hubble/index.ts'
import { parseFlowFilters } from '../hubble/json.ts'
import { allOf, anyOf, EVERYTHING, NOTHING, not, type Predicate } from '../predicate.ts'
import { covers } from './covers.ts'

const of = (json: string): Predicate => flowFilterPredicate(parseFlowFilters(json)[0]!)

describe('covers()', () => {
  test.each<[string, string, boolean, boolean]>([
    ['{}', '{"verdict":[2]}', true, false],
    ['{"verdict":[1,2]}', '{"verdict":[2]}', true, false],
    ['{"verdict":[2]}', '{"drop_reason_desc":[133]}', true, false],
    ['{"protocol":["icmp"]}', '{"protocol":["icmpv6"]}', true, false],
    ['{"protocol":["icmp"]}', '{"protocol":["icmpv6","icmpv4"]}', true, true],
    ['{"source_pod":["a/"]}', '{"source_pod":["a/web"]}', true, false],
    ['{"source_pod":["/web"]}', '{"source_pod":["a/web-1"]}', true, false],
    ['{"source_pod":["a/web"]}', '{"destination_pod":["a/web"]}', false, false],
    ['{"source_ip":["10.0.0.0/8"]}', '{"source_ip":["10.1.0.0/16","10.2.3.4"]}', true, false],
    ['{"source_ip":["10.0.0.0/8"]}', '{"source_ip":["::a00:1"]}', false, false],
    ['{"source_label":["app"]}', '{"source_label":["app in (a,b), env=c"]}', true, false],
    ['{"source_label":["app in (a,b)"]}', '{"source_label":["app=a"]}', true, false],
    ['{"source_label":["app notin (a)"]}', '{"source_label":["app=b"]}', true, false],
    ['{"source_label":["app notin (a)"]}', '{"source_label":["!app"]}', true, false],
    ['{"source_label":["app"]}', '{"source_label":["app!=a"]}', false, false],
    ['{"source_label":["app=a"]}', '{"source_label":["k8s:app=a"]}', false, false],
    ['{"tcp_flags":[{"SYN":true}]}', '{"tcp_flags":[{"SYN":true,"ACK":true}]}', true, false],
    ['{"destination_port":["80","443"]}', '{"destination_port":["443"],"protocol":["tcp"]}', true, false],
    ['{"http_path":["^/a"]}', '{"http_path":["^/a/b"]}', false, false],
    ['{"http_path":["^/a","^/b"]}', '{"http_path":["^/b"]}', true, false],
    [
      '{"source_workload":[{"kind":"Deployment"}]}',
      '{"source_workload":[{"kind":"Deployment","name":"x"}]}',
      true,
      false,
    ],
  ])('%s covers %s: %s; the other way round: %s', (wide, narrow, forth, back) => {
    expect([covers(of(wide), of(narrow)), covers(of(narrow), of(wide))]).toEqual([forth, back])
  })

  test('knows OR, NOT and constants', () => {
    const [tcp, udp] = [of('{"protocol":["tcp"]}'), of('{"protocol":["udp"]}')]
    expect(covers(anyOf(tcp, udp), udp)).toBe(true)
    expect(covers(of('{"protocol":["tcp","udp"]}'), anyOf(tcp, udp))).toBe(true)
    expect(covers(tcp, anyOf(tcp, udp))).toBe(false)
    expect(covers(not(tcp), not(of('{"protocol":["tcp","udp"]}')))).toBe(true)
    expect(covers(not(of('{"protocol":["tcp","udp"]}')), not(tcp))).toBe(false)
    expect([covers(EVERYTHING, tcp), covers(NOTHING, tcp), covers(tcp, NOTHING), covers(tcp, EVERYTHING)]).toEqual([
      true,
      false,
      true,
      false,
    ])
  })

  test('never says yes when some flow speaks against it', () => {
    const store = new TestFlowStore(4096)
    const pick = fc.sample(flowSpec, { numRuns: 600, seed: 5 })
    store.push(...pick)
    const view = store.createView()
    let yes = 0
    const property = fc.property(pair, ([wide, narrow]) => {
      if (!covers(wide, narrow)) return
      yes++
      const [wideTest, narrowTest] = [compile(wide), compile(narrow)]
      for (let sequence = 0; sequence < store.end; sequence++) {
        store.seek(view, sequence)
        if (narrowTest(view)) expect(wideTest(view)).toBe(true)
      }
    })
    fc.assert(property, { seed: 20_261_124, numRuns: 4000, interruptAfterTimeLimit: 10_000 })
    expect(yes).toBeGreaterThan(500)
  })
})

const labels = fc.subarray(['k8s:app=a', 'k8s:app=b', 'k8s:env=x', 'any:app=a'], { maxLength: 2 })
const end = fc.record({ namespace: fc.constantFrom('a', 'b'), podName: fc.constantFrom('web', 'web-1', 'db'), labels })
const flowSpec: fc.Arbitrary<FlowSpec> = fc.record({
  source: end,
  destination: end,
  verdict: fc.constantFrom(1, 2),
  hubbleReason: fc.constantFrom(133, 154),
  protocol: fc.constantFrom(1, 6, 17, 58),
  srcIp: fc.constantFrom('10.0.0.1', '10.1.0.1', '192.168.0.1'),
  dstPort: fc.constantFrom(80, 443),
  l4Info: fc.constantFrom(2, 18, 16),
})

const some = <T>(...values: T[]) => fc.subarray(values, { minLength: 1, maxLength: 2 })
const fields = fc.record({
  source_pod: some('a/', 'a/web', '/web', 'b/db', 'web'),
  destination_pod: some('a/', 'b/'),
  source_label: some('app', 'app=a', 'app in (a,b)', 'app notin (a)', '!app', 'app=a,env=x', 'k8s:app=a', 'app!=b'),
  source_ip: some('10.0.0.0/8', '10.0.0.1', '10.1.0.0/16', '192.168.0.1'),
  destination_port: some('80', '443'),
  protocol: some('tcp', 'udp', 'icmp', 'icmpv4'),
  verdict: some(1, 2),
  drop_reason_desc: some(133, 154),
  tcp_flags: some({ SYN: true }, { SYN: true, ACK: true }),
})
const names = fc.shuffledSubarray(
  [
    'source_pod',
    'destination_pod',
    'source_label',
    'source_ip',
    'destination_port',
    'protocol',
    'verdict',
    'drop_reason_desc',
    'tcp_flags',
  ] as const,
  { minLength: 1, maxLength: 2 },
)
const leaf = fc.tuple(fields, names).map(([all, chosen]) => {
  return flowFilterPredicate(Object.fromEntries(chosen.map((name) => [name, all[name]])))
})
const tree: fc.Arbitrary<Predicate> = fc.oneof(
  { arbitrary: leaf, weight: 6 },
  { arbitrary: fc.tuple(leaf, leaf).map(([a, b]) => anyOf(a, b)), weight: 1 },
  { arbitrary: fc.tuple(leaf, leaf).map(([a, b]) => allOf(a, not(b))), weight: 1 },
  { arbitrary: leaf.map(not), weight: 1 },
)
const pair: fc.Arbitrary<readonly [Predicate, Predicate]> = fc.oneof(
  fc.tuple(tree, tree),
  // Near to each other, so that there is something to be sure of.
  fc.tuple(tree, tree).map(([a, b]) => [a, allOf(a, b)] as const),
  fc.tuple(tree, tree).map(([a, b]) => [anyOf(a, b), b] as const),
)
