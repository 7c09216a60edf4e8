import { describe, expect, test } from 'vitest'
import {
  endpointOf,
  makeConsumer,
  makeFlow,
  makePopulation,
  ruleSetOf,
  specOf,
} from '../../test/helpers/filter-cases.ts'
import {
  ORACLE_NODE,
  ORACLE_NODE_LABELS,
  type OracleConsumer,
  type OracleFilter,
  oracleTakes,
} from '../../test/helpers/filter-oracle.ts'
import { TestFlowStore } from '../../test/helpers/flow-store.ts'
import { PlanKernel } from '../../test/helpers/plan-kernel.ts'
import { Random } from '../../test/interop/filters-oracle/random.ts'
import { FilterTotals } from '../counts.ts'
import { Judge } from '../judge.ts'
import type { RuleSet } from '../rules.ts'
import { compileKernelPlan, MatchCounts, planSteps } from './index.ts'

const NODE_LABELS = Object.entries(ORACLE_NODE_LABELS).map(([key, value]) => `${key}=${value}`)
const NODE = { nodeName: ORACLE_NODE, nodeLabels: NODE_LABELS }
const ALL = ['KIND_FLOW', 'KIND_TCP_FLAG', 'KIND_DROP', 'KIND_DNS', 'KIND_HTTP'] as const
const POD: OracleFilter = { field: 'pod', side: 'source', values: ['shop/web'] }
const LABEL: OracleFilter = {
  field: 'label',
  side: 'destination',
  values: [[{ key: 'app', op: 'in', values: ['web'] }]],
}
const include = (filter: OracleFilter) => ({ effect: 'include', filter }) as const
const exclude = (filter: OracleFilter) => ({ effect: 'exclude', filter }) as const
const SEED = Number(process.env['FILTER_SEED'] ?? 7)

const one = (effect: 'include' | 'exclude', ...filters: OracleFilter[]): RuleSet =>
  ruleSetOf([{ kinds: ALL, isOn: true, rules: filters.map((filter) => ({ effect, filter })) }])

const decisionOf = (filter: OracleFilter, effect: 'include' | 'exclude' = 'include') =>
  compileKernelPlan(one(effect, filter), NODE).decisions.get('0/0')!

const text = (said: object) => JSON.stringify(said)

describe('compileKernelPlan()', () => {
  test('agrees with the oracle and the judge: equal where it is exact, never less elsewhere', async () => {
    const random = new Random(SEED)
    const population = makePopulation(random, 12)
    let pairs = 0
    let exact = 0
    for (let round = 0; round < 600; round++) {
      const consumers = random.list(1, 6, () => makeConsumer(random))
      const set = ruleSetOf(consumers)
      const plan = compileKernelPlan(set, NODE)
      const kernel = new PlanKernel(plan)
      const store = new TestFlowStore(1024, NODE)
      const judge = new Judge({ historyEnd: () => store.end })
      await judge.prepare(set, round, plan.exactBits)
      judge.commit()
      judge.trust(true)
      const view = store.createView()
      for (let i = 0; i < 12; i++) {
        const flow = makeFlow(random, population)
        const bits = kernel.consumersOf(flow)
        consumers.forEach((consumer, bit) => {
          const wanted = oracleTakes(consumer, flow)
          const said = { round, bit, consumer, flow, kernel: (bits >>> bit) & 1 }
          if (wanted && !((bits >>> bit) & 1)) expect.fail(`the kernel leaves out what is wanted: ${text(said)}`)
          if ((plan.exactBits >>> bit) & 1) {
            exact++
            if (wanted !== (((bits >>> bit) & 1) === 1)) expect.fail(`the kernel is not exact: ${text(said)}`)
          }
          store.seek(view, store.push(specOf(flow, (bits | ((round & 1) << 31)) >>> 0)))
          if (judge.wants(bit, view) !== wanted) expect.fail(`the judge differs: ${text(said)}`)
          if (judge.wouldTake(bit, view) !== wanted) expect.fail(`the rules differ: ${text(said)}`)
          pairs++
        })
      }
    }
    expect(pairs).toBeGreaterThan(5000)
    // Both sides of the comparison are exercised.
    expect(exact / pairs).toBeGreaterThan(0.3)
    expect(exact / pairs).toBeLessThan(0.95)
  })

  test.each<[string, OracleFilter]>([
    [
      'pods, labels, workloads and identities',
      { and: [POD, LABEL, { field: 'identity', side: 'source', values: [2] }] },
    ],
    ['addresses and prefixes', { field: 'ip', side: 'destination', values: ['10.0.0.0/8', 'fd00::1'] }],
    ['ports', { field: 'port', side: 'destination', values: [80, 443] }],
    ['verdicts', { field: 'verdict', values: ['DROPPED'] }],
    ['messages by protocol', { field: 'protocol', values: ['dns'] }],
    ['messages over what carries them', { field: 'protocol', values: ['tcp', 'udp', 'dns', 'http'] }],
    ['messages beside other protocols', { field: 'protocol', values: ['icmp', 'http'] }],
    ['kinds of events', { field: 'eventType', values: [{ type: 129 }] }],
    ['alternatives of several fields', { or: [POD, { field: 'port', side: 'source', values: [53] }, LABEL] }],
    ['opposites', { not: { and: [POD, { field: 'direction', values: ['egress'] }] } }],
    ["the node's name", { field: 'nodeName', values: [ORACLE_NODE] }],
    ['what is true of replies and others', { field: 'reply', values: [true, false] }],
    [
      'what matches nothing',
      {
        and: [
          { field: 'verdict', values: ['DROPPED'] },
          { field: 'protocol', values: ['dns'] },
        ],
      },
    ],
  ])('decides %s in the kernel, for include and exclude', (_, filter) => {
    expect(decisionOf(filter)).toEqual({ where: 'kernel', because: [] })
    expect(decisionOf(filter, 'exclude')).toEqual({ where: 'kernel', because: [] })
  })

  test.each<[string, OracleFilter, 'partly' | 'user', 'partly' | 'user', RegExp]>([
    ['drop reasons', { field: 'dropReason', values: [133] }, 'partly', 'user', /drop reasons/],
    ['replies', { field: 'reply', values: [true] }, 'user', 'user', /who answers whom/],
    ['replies of a pod', { and: [POD, { field: 'reply', values: [true] }] }, 'partly', 'user', /who answers whom/],
    ['DNS names', { field: 'dnsQuery', values: ['x'] }, 'partly', 'user', /DNS messages/],
    ['HTTP methods', { field: 'httpMethod', values: ['GET'] }, 'partly', 'user', /HTTP messages/],
    ['TCP flags', { field: 'tcpFlags', values: [2] }, 'partly', 'user', /TCP flags/],
    [
      'a pod, or a method',
      { or: [POD, { field: 'httpMethod', values: ['GET'] }] },
      'partly',
      'partly',
      /HTTP messages/,
    ],
  ])('leaves %s to user space, as far as it must', (_, filter, include, exclude, because) => {
    expect(decisionOf(filter)).toEqual({ where: include, because: [expect.stringMatching(because)] })
    expect(decisionOf(filter, 'exclude')).toEqual({ where: exclude, because: [expect.stringMatching(because)] })
  })

  test('gives a rule with many alternatives to user space in part', () => {
    const many: OracleFilter = {
      or: Array.from(
        { length: 9 },
        (_, i): OracleFilter => ({
          and: [
            { field: 'port', side: 'source', values: [i] },
            { field: 'protocol', values: ['dns'] },
          ],
        }),
      ),
    }
    const { where, because } = decisionOf(many)
    expect({ where, because }).toEqual({ where: 'partly', because: ['it has more than 8 alternatives'] })
  })

  test('holds 256 rules, and leaves a consumer whose rules do not fit to user space', () => {
    const rules = (count: number): OracleConsumer => ({
      kinds: ALL,
      isOn: true,
      rules: Array.from({ length: count }, (_, i) => ({
        effect: 'include',
        filter: { field: 'port', side: 'source', values: [i] },
      })),
    })
    const plan = compileKernelPlan(ruleSetOf([rules(200), rules(57), rules(56)]), NODE)
    expect(plan.consumers.map(({ isExact }) => isExact)).toEqual([true, false, true])
    expect(plan.decisions.get('1/0')).toEqual({
      where: 'user',
      because: ['the kernel holds 256 rules at once, and those of "consumer/1" do not fit'],
    })
    // The kernel takes everything for it.
    const flow = makeFlow(new Random(1), makePopulation(new Random(1), 3))
    expect(new PlanKernel(plan).consumersOf({ ...flow, source: { ...flow.source, port: 9999 } }) & 0b10).toBe(0b10)
  })

  test('says when nothing is filtered', () => {
    const takes = (kinds: OracleConsumer['kinds'], filters: OracleFilter[] = [], isOn = true): OracleConsumer => ({
      kinds,
      isOn,
      rules: filters.map((filter) => ({ effect: 'include', filter })),
    })
    const filtersNothing = (...consumers: OracleConsumer[]) =>
      compileKernelPlan(ruleSetOf(consumers), NODE).filtersNothing
    expect(filtersNothing(takes(ALL), takes(['KIND_DNS']))).toBe(true)
    expect(filtersNothing(takes(ALL), takes(ALL, [POD], false))).toBe(true)
    expect(filtersNothing(takes(ALL), takes(ALL, [POD]))).toBe(false)
    expect(filtersNothing(takes(['KIND_DNS']))).toBe(false)
    expect(filtersNothing(takes(ALL, [], false))).toBe(false)
  })

  test('relaxes rules whose ports or prefixes do not fit into the tables', () => {
    const ports: OracleFilter = { field: 'port', side: 'source', values: Array.from({ length: 6000 }, (_, i) => i) }
    const more: OracleFilter = {
      field: 'port',
      side: 'source',
      values: Array.from({ length: 3000 }, (_, i) => 7000 + i),
    }
    const same: OracleFilter = { field: 'port', side: 'destination', values: [1, 2, 3] }
    const plan = compileKernelPlan(one('include', ports, more, same), NODE)
    expect([...plan.decisions.values()].map(({ where }) => where)).toEqual(['kernel', 'user', 'kernel'])
    expect(plan.decisions.get('0/1')!.because).toEqual(["the kernel's table has room for 8192 ports"])
  })

  test('compiles rules of 20,000 prefixes in less than a second, in small steps', () => {
    const values = Array.from({ length: 20_000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`)
    const began = performance.now()
    const steps = planSteps(one('include', { field: 'ip', side: 'source', values }), NODE)
    let count = 0
    let step = steps.next()
    for (; !step.done; step = steps.next()) count++
    const plan = step.value
    // A quiet machine takes 0.1 s; one by one it would be minutes.
    expect(performance.now() - began).toBeLessThan(3000)
    expect(count).toBeGreaterThan(300)
    expect(plan.prefixes.prefixes.length).toBe(20_000)
  })
})

describe('EndpointIndex', () => {
  test('knows 40,000 endpoints of 256 rules in some microseconds each', () => {
    const label = (i: number): OracleFilter => ({
      field: 'label',
      side: i % 2 ? 'source' : 'destination',
      values: [[{ key: 'app', op: 'in', values: [`app-${i}`] }]],
    })
    const pod = (i: number): OracleFilter => ({ field: 'pod', side: 'source', values: [`ns-${i % 40}/web-${i}`] })
    const rules = Array.from({ length: 256 }, (_, i) => (i % 3 === 0 ? pod(i) : label(i)))
    const { endpoints } = compileKernelPlan(one('include', ...rules), NODE)
    const all = Array.from({ length: 40_000 }, (_, i) => ({
      ...endpointOf({
        ip: '',
        port: 0,
        namespace: `ns-${i % 100}`,
        pod: `web-${i % 300}-x`,
        labels: { app: `app-${i % 1000}`, id: String(i), tier: 'x', 'io.kubernetes.pod.namespace': `ns-${i % 100}` },
        workload: undefined,
        identity: i,
      }),
      ref: i,
    }))
    const began = performance.now()
    const keys = new Set(all.map((endpoint) => endpoints.keyOf(endpoint)))
    const tookMs = performance.now() - began
    expect(keys.size).toBeGreaterThan(200)
    // Asked one by one, 256 rules take 40 µs for an endpoint.
    expect(tookMs).toBeLessThan(3000)
  })
})

describe('MatchCounts', () => {
  test('tells events of a match as events of rules and consumers', () => {
    const rules = ruleSetOf([
      {
        kinds: ALL,
        isOn: true,
        rules: [include(POD), include(LABEL), exclude({ field: 'verdict', values: ['DROPPED'] })],
      },
      { kinds: ['KIND_DROP'], isOn: true, rules: [] },
      { kinds: ALL, isOn: true, rules: [include({ and: [POD, { field: 'reply', values: [true] }] })] },
    ])
    const plan = compileKernelPlan(rules, NODE)
    const counts = new MatchCounts(plan)
    const totals = new FilterTotals()
    totals.keep(rules)
    const mask = (...bits: number[]) => {
      const bytes = new Uint8Array(32)
      for (const bit of bits) bytes[bit >> 3]! |= 1 << (bit & 7)
      return bytes
    }
    const byKind = (flow: number, drop: number) => [flow, 0, drop, 0, 0, 0, 0, 0]
    // Bits in the order of the rules: 0 pod, 1 label, 2 dropped, 3 pod and reply.
    const asked = (bit: number) => bit === 2
    const match = (rulesOf: Uint8Array, consumers: number[], events: number[]) =>
      counts.add(
        { rules: rulesOf, consumers: Uint32Array.from(consumers), events: Float64Array.from(events) },
        totals,
        asked,
      )
    match(mask(0, 2, 3), byKind(0b101, 0b110), byKind(10, 4))
    match(mask(1, 2), byKind(0b001, 0b010), byKind(5, 2))
    match(mask(2), byKind(0, 0b010), byKind(100, 1))
    match(new Uint8Array(0), byKind(0b111, 0b111), byKind(3, 0))
    const of = (id: string) => totals.counts().rules.find((rule) => rule.id === id)
    expect(of('0/0')).toEqual({ id: '0/0', matched: 14, kept: 10, leftOut: 4, isExact: true })
    expect(of('0/1')).toEqual({ id: '0/1', matched: 7, kept: 5, leftOut: 2, isExact: true })
    // Only drops match it: the match holds its bit for flows too.
    expect(of('0/2')).toEqual({ id: '0/2', matched: 7, kept: 0, leftOut: 7, isExact: true })
    // What the kernel took for it is counted by user space.
    expect(of('2/0')).toEqual({ id: '2/0', matched: 0, kept: 0, leftOut: 0, isExact: true })
    expect(totals.counts().consumers).toEqual([
      { name: 'consumer/0', events: 122, kept: 15, leftOut: 107 },
      { name: 'consumer/1', events: 7, kept: 7, leftOut: 0 },
      { name: 'consumer/2', events: 108, kept: 0, leftOut: 108 },
    ])
    expect([totals.filteredInKernel, totals.unattributed]).toEqual([100, 3])
  })
})
