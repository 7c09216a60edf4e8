import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { compile } from '../filters/compile.ts'
import type { FilterSettings } from '../filters/resources/rule-set.ts'
import {
  ALL_KINDS,
  type AppliedRules,
  CONSUMER_BITS,
  type ConsumerOffer,
  type RuleSet,
  type RuleTarget,
} from '../filters/rules.ts'
import { EventKind } from '../model/layouts.gen.ts'
import { FilterControl, type FilterControlOptions } from './filter-control.ts'
import type { ResourceDocument, ResourceRef, ResourceSink, ResourceSource, ResourceStatus } from './resource.ts'

/** A source whose resources the test tells. */
class FakeSource implements ResourceSource {
  readonly name: string
  readonly statuses: [string, ResourceStatus][] = []
  sink!: ResourceSink
  synced = true

  constructor(name = 'fake') {
    this.name = name
  }

  async start(sink: ResourceSink): Promise<void> {
    this.sink = sink
    if (this.synced) sink.synced()
  }

  setStatus(ref: ResourceRef, status: ResourceStatus): void {
    this.statuses.push([ref.name, status])
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  put(kind: string, name: string, spec: unknown, generation = 1, uid = 'u1'): void {
    this.sink.upsert(document(kind, name, spec, generation, uid))
  }

  last(name: string): ResourceStatus | undefined {
    return this.statuses.findLast(([one]) => one === name)?.[1]
  }
}

function document(kind: string, name: string, spec: unknown, generation = 1, uid = 'u1'): ResourceDocument {
  const value = { apiVersion: 'acn.azure.com/v1alpha1', kind, metadata: { name }, spec }
  return { ref: { kind, name }, uid, generation, value, file: '' }
}

/** A target that keeps what it was given, and fails when told to. */
class FakeTarget implements RuleTarget {
  readonly applied: RuleSet[] = []
  failure: Error | undefined
  running = 0
  overlaps = 0
  delayMs = 0

  async apply(rules: RuleSet): Promise<AppliedRules> {
    if (++this.running > 1) this.overlaps++
    await new Promise((resolve) => setTimeout(resolve, this.delayMs))
    this.running--
    if (this.failure !== undefined) throw this.failure
    this.applied.push(rules)
    const decisions = new Map(
      rules.consumers.flatMap((one) => one.rules.map((rule) => [rule.id, { where: 'kernel', because: [] }] as const)),
    )
    return { generation: this.applied.length, decisions, tookMs: 1 }
  }

  get last(): RuleSet {
    return this.applied.at(-1)!
  }
}

const METRICS: readonly ConsumerOffer[] = [
  { name: 'metric/flow', bit: 0, interest: { kinds: ALL_KINDS } },
  { name: 'metric/drop', bit: 1, interest: { kinds: 1 << EventKind.KIND_DROP } },
  { name: 'metric/icmp', bit: 2, interest: { kinds: ALL_KINDS, predicate: { op: 'protocol', names: ['icmp'] } } },
]

const SETTINGS: FilterSettings = {
  log: { mode: 'resources', allow: [], deny: [] },
  history: 'wanted',
  merge: false,
  unlisted: 'keep',
}

async function setUp(options: Partial<FilterControlOptions> = {}) {
  const source = new FakeSource()
  const target = new FakeTarget()
  const control = new FilterControl({
    settings: SETTINGS,
    sources: [source],
    targets: [target],
    metrics: METRICS,
    settleMs: 10,
    ...options,
  })
  onTestFinished(() => control[Symbol.asyncDispose]())
  await control.start(new AbortController().signal)
  return { source, target, control }
}

const CNM = 'ContainerNetworkMetric'
const CNL = 'ContainerNetworkLog'
const NAME = 'container-network-metric'
const drops = (pod: string) => ({ metric: 'drop', includeFilters: [{ from: { namespacedPod: [pod] } }] })

function consumer(rules: RuleSet, name: string) {
  return rules.consumers.find((one) => one.name === name)!
}

describe('FilterControl', () => {
  test('without a resource all metrics take everything and the log is off', async () => {
    const { target } = await setUp()
    expect(target.applied).toHaveLength(1)
    expect(consumer(target.last, 'metric/flow')).toMatchObject({ isOn: true, rules: [], bit: 0 })
    expect(consumer(target.last, 'log')).toMatchObject({ isOn: false, rules: [], bit: CONSUMER_BITS.LOG })
    expect(consumer(target.last, 'history').isOn).toBe(true)
  })

  test('a handler that can count some flows only asks for these, also inside of rules', async () => {
    const { target, source } = await setUp()
    const builtIn = consumer(target.last, 'metric/icmp').rules
    expect(builtIn.map(({ effect, origin }) => [effect, origin.kind, origin.text])).toEqual([
      ['include', 'built in', 'protocol icmp'],
    ])
    source.put(CNM, NAME, { unlisted: 'drop', filters: [drops('a/')] })
    await vi.waitFor(() => expect(consumer(target.last, 'metric/icmp').isOn).toBe(false))
    expect(consumer(target.last, 'metric/flow').isOn).toBe(false)
    expect(consumer(target.last, 'metric/drop')).toMatchObject({ isOn: true, kinds: 1 << EventKind.KIND_DROP })
  })

  test('a resource comes into force, tells its state, and goes', async () => {
    const { source, target, control } = await setUp()
    const changed: string[][] = []
    control.onApplied((news) => changed.push([...news.changed]))
    source.put(CNM, NAME, { filters: [drops('a/x')] }, 7)
    await vi.waitFor(() => expect(source.last(NAME)).toBeDefined())
    const [rule] = consumer(target.last, 'metric/drop').rules
    expect(rule?.origin).toEqual({
      kind: CNM,
      name: NAME,
      path: 'spec.filters[0].includeFilters[0]',
      label: '',
      text: 'from pod a/x',
    })
    // What nobody wants is not kept for queries either from here on.
    expect(changed).toEqual([['metric/drop', 'history']])
    expect(consumer(target.last, 'history').isOn).toBe(false)
    expect(source.last(NAME)).toMatchObject({
      state: 'CONFIGURED',
      reason: 'Configured',
      message: '1 filter in force: drop 1',
      observedGeneration: 7,
      filters: 1,
      conditions: [
        { type: 'Accepted', status: 'True' },
        { type: 'Applied', status: 'True' },
      ],
    })
    source.sink.remove({ kind: CNM, name: NAME })
    await vi.waitFor(() => expect(consumer(target.last, 'metric/drop').rules).toEqual([]))
    expect(control.status().resources).toEqual([])
  })

  test('a document that turns bad leaves what it said, until it is right or gone', async () => {
    const { source, target } = await setUp()
    source.put(CNM, NAME, { filters: [drops('a/x')] }, 1)
    await vi.waitFor(() => expect(source.last(NAME)?.state).toBe('CONFIGURED'))
    const before = target.applied.length
    source.put(CNM, NAME, { filters: [{ metric: 'kafka', includeFilters: [{}] }] }, 2)
    await vi.waitFor(() => expect(source.last(NAME)?.state).toBe('FAILED'))
    expect(source.last(NAME)).toMatchObject({ reason: 'Invalid', observedGeneration: 2, filters: 1 })
    expect(source.last(NAME)?.message).toBe(
      'spec.filters[0].metric "kafka": want one of flow, dns, tcp, drop\nWhat it said before stays in force.',
    )
    expect(source.last(NAME)?.conditions.map(({ status }) => status)).toEqual(['False', 'False'])
    expect(target.applied).toHaveLength(before)
    source.put(CNM, NAME, { filters: [drops('a/y')] }, 3)
    await vi.waitFor(() => expect(consumer(target.last, 'metric/drop').rules[0]?.origin.text).toBe('from pod a/y'))
  })

  test('a resource that was made anew owes nothing to the one before', async () => {
    const { source, target } = await setUp()
    source.put(CNM, NAME, { filters: [drops('a/x')] }, 1, 'first')
    await vi.waitFor(() => expect(consumer(target.last, 'metric/drop').rules).toHaveLength(1))
    source.put(CNM, NAME, { filters: 5 }, 1, 'second')
    await vi.waitFor(() => expect(consumer(target.last, 'metric/drop').rules).toEqual([]))
    expect(source.last(NAME)).toMatchObject({ state: 'FAILED', filters: 0 })
  })

  test('one ContainerNetworkMetric counts, the others say why they do not', async () => {
    const { source, target } = await setUp()
    source.put(CNM, 'other', { filters: [drops('b/')] })
    source.put(CNM, NAME, { filters: [drops('a/')] })
    await vi.waitFor(() => expect(source.last('other')).toBeDefined())
    expect(source.last('other')).toMatchObject({ state: 'FAILED', reason: 'Ignored', filters: 0 })
    expect(source.last('other')?.message).toContain(`only the ContainerNetworkMetric named ${NAME} counts`)
    expect(consumer(target.last, 'metric/drop').rules.map((rule) => rule.origin.text)).toEqual(['from pod a/'])
  })

  test('of two sources with the same name the first one counts', async () => {
    const second = new FakeSource('second')
    const first = new FakeSource('first')
    const { target } = await setUp({ sources: [first, second] })
    second.put(CNM, NAME, { filters: [drops('b/')] })
    first.put(CNM, NAME, { filters: [drops('a/')] })
    await vi.waitFor(() => expect(second.last(NAME)?.reason).toBe('Ignored'))
    expect(second.last(NAME)?.message).toContain('the one from the source first stands in its place')
    expect(consumer(target.last, 'metric/drop').rules.map((rule) => rule.origin.text)).toEqual(['from pod a/'])
  })

  test('logs are merged by OR: what one of them leaves out another may keep', async () => {
    const { source, target } = await setUp()
    source.put(CNL, 'a', { excludefilters: [{ from: { namespacedPod: ['kube-system/'] } }] })
    source.put(CNL, 'b', { includefilters: [{ verdict: ['dropped'] }] })
    await vi.waitFor(() => expect(consumer(target.last, 'log').rules).toHaveLength(2))
    expect(consumer(target.last, 'log').rules.map(({ effect, origin }) => [effect, origin.name, origin.text])).toEqual([
      ['include', 'a', 'not from pod kube-system/'],
      ['include', 'b', 'verdict dropped'],
    ])
    expect(consumer(target.last, 'log').isOn).toBe(true)
    source.sink.remove({ kind: CNL, name: 'a' })
    source.sink.remove({ kind: CNL, name: 'b' })
    await vi.waitFor(() => expect(consumer(target.last, 'log').isOn).toBe(false))
  })

  test('lists of the configuration hold for a log that resources ask for, too', async () => {
    const settings: FilterSettings = {
      ...SETTINGS,
      log: { mode: 'resources', allow: [{ protocol: ['tcp'] }], deny: [{ source_pod: ['a/b'] }] },
    }
    const { source, target } = await setUp({ settings })
    source.put(CNL, 'x', { includefilters: [{ verdict: ['dropped'] }] })
    await vi.waitFor(() => expect(consumer(target.last, 'log').rules).toHaveLength(2))
    const [include, exclude] = consumer(target.last, 'log').rules
    expect(include?.predicate).toEqual({
      op: 'all',
      of: [
        { op: 'verdict', values: [2] },
        { op: 'protocol', names: ['tcp'] },
      ],
    })
    expect(exclude).toMatchObject({ effect: 'exclude', origin: { kind: 'configuration', path: 'log.denyList[0]' } })
  })

  test('a log that no resource governs takes what the configuration lets through', async () => {
    const settings: FilterSettings = { ...SETTINGS, log: { mode: 'static', allow: [{ protocol: ['udp'] }], deny: [] } }
    const { target } = await setUp({ settings })
    expect(consumer(target.last, 'log')).toMatchObject({ isOn: true, rules: [{ effect: 'include' }] })
  })

  test('changes are put into force one at a time, together when they are near', async () => {
    const { source, target } = await setUp({ settleMs: 30 })
    target.delayMs = 40
    for (let i = 0; i < 20; i++) {
      source.put(CNM, NAME, { filters: [drops(`a/${i}`)] }, i + 2)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    await vi.waitFor(() => expect(consumer(target.last, 'metric/drop').rules[0]?.origin.text).toBe('from pod a/19'))
    expect(target.overlaps).toBe(0)
    expect(target.applied.length).toBeLessThan(9)
  })

  test('a resource that flaps costs no more than ten sets a second', async () => {
    const { source, target } = await setUp({ settleMs: 100 })
    const before = target.applied.length
    const began = Date.now()
    for (let i = 0; i < 20; i++) {
      if (i % 2) source.sink.remove({ kind: CNM, name: NAME })
      else source.put(CNM, NAME, { filters: [drops(`a/${i}`)] }, i + 1)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    const most = Math.ceil((Date.now() - began) / 100) + 1
    expect(target.applied.length - before).toBeLessThanOrEqual(most)
    expect(source.statuses.length).toBeLessThanOrEqual(most)
  })

  test('the same again changes nothing', async () => {
    const { source, target } = await setUp()
    source.put(CNM, NAME, { filters: [drops('a/')] })
    await vi.waitFor(() => expect(source.last(NAME)).toBeDefined())
    const before = [target.applied.length, source.statuses.length]
    source.put(CNM, NAME, { filters: [drops('a/')] })
    source.put(CNM, NAME, { filters: [{ ...drops('a/'), excludeFilters: [] }] }, 2)
    await vi.waitFor(() => expect(source.last(NAME)?.observedGeneration).toBe(2))
    expect([target.applied.length, source.statuses.length]).toEqual([before[0], before[1]! + 1])
  })

  test('a set that a target refuses is taken back from those before it, said, and tried again', async () => {
    const first = new FakeTarget()
    const second = new FakeTarget()
    const { source, control } = await setUp({ targets: [first, second] })
    second.failure = new Error('E2BIG')
    source.put(CNM, NAME, { filters: [drops('a/')] })
    await vi.waitFor(() => expect(source.last(NAME)).toBeDefined())
    expect(source.last(NAME)).toMatchObject({ state: 'FAILED', reason: 'ApplyFailed', filters: 0 })
    expect(source.last(NAME)?.message).toContain('it is tried again: E2BIG')
    expect(source.last(NAME)?.conditions.map(({ status }) => status)).toEqual(['True', 'False'])
    expect(first.last).toBe(first.applied[0])
    expect(control.rules()).toBe(first.applied[0])
    expect(control.status()).toMatchObject({ generation: 1, lastError: 'E2BIG' })
    second.failure = undefined
    await vi.waitFor(() => expect(source.last(NAME)?.state).toBe('CONFIGURED'), 3000)
    expect(control.status()).toMatchObject({ generation: 2, lastError: '' })
  })

  test('a change does not wait for the next try of what failed', async () => {
    const { source, target } = await setUp()
    target.failure = new Error('no')
    source.put(CNM, NAME, { filters: [drops('a/')] })
    await vi.waitFor(() => expect(source.last(NAME)?.reason).toBe('ApplyFailed'))
    target.failure = undefined
    const began = Date.now()
    source.put(CNM, NAME, { filters: [drops('b/')] }, 2)
    await vi.waitFor(() => expect(source.last(NAME)?.state).toBe('CONFIGURED'))
    expect(Date.now() - began).toBeLessThan(800)
  })

  test('start() ends at its deadline when a source knows nothing, and rejects when the first set fails', async () => {
    const silent = new FakeSource()
    silent.synced = false
    const { control } = await setUp({ sources: [silent], startDeadlineMs: 20 })
    expect(control.status()).toMatchObject({ generation: 1, sources: [{ name: 'fake', isSynced: false }] })
    const target = new FakeTarget()
    target.failure = new Error('no map')
    const other = new FilterControl({ settings: SETTINGS, sources: [], targets: [target], metrics: METRICS })
    await expect(other.start(new AbortController().signal)).rejects.toThrow('no map')
    await other[Symbol.asyncDispose]()
  })

  test('live queries have bits of their own, share the last one beyond, and move up', async () => {
    const { control, target } = await setUp()
    const open = Array.from({ length: 14 }, (_, i) =>
      control.addQuery(`client ${i}`, [{ op: 'port', side: 'destination', ports: [i] }], []),
    )
    const queries = () => target.last.consumers.filter(({ name }) => name.startsWith('query/'))
    await vi.waitFor(() => expect(queries()).toHaveLength(13))
    expect(queries().at(-1)).toMatchObject({ bit: 29, rules: [] })
    expect(queries()[0]?.rules[0]?.origin).toMatchObject({ kind: 'query', name: 'client 0', text: 'to port 0' })
    for (const one of open.slice(0, 2)) one[Symbol.dispose]()
    await vi.waitFor(() => expect(queries()).toHaveLength(12))
    expect(queries().map(({ rules }) => rules.length)).toEqual(Array(12).fill(1))
    const twin = control.addQuery('twin', [{ op: 'port', side: 'destination', ports: [5] }], [])
    expect(control.status().liveQueries).toBe(13)
    twin[Symbol.dispose]()
    twin[Symbol.dispose]()
    expect(control.status().liveQueries).toBe(12)
  })

  test('a live query that ends is a change as one that begins', async () => {
    const { control } = await setUp()
    const changed: string[][] = []
    control.onApplied((news) => changed.push([...news.changed]))
    const query = control.addQuery('client', [], [])
    await vi.waitFor(() => expect(changed).toEqual([['query/1']]))
    query[Symbol.dispose]()
    await vi.waitFor(() => expect(changed).toEqual([['query/1'], ['query/1']]))
  })

  test('a live query that gets the bit of one that ended has counts of its own', async () => {
    const { control, target } = await setUp()
    const queries = () => target.last.consumers.filter(({ name }) => name.startsWith('query/'))
    const first = control.addQuery('a', [{ op: 'port', side: 'destination', ports: [1] }], [])
    await vi.waitFor(() => expect(queries()).toHaveLength(1))
    const before = queries()[0]!
    first[Symbol.dispose]()
    control.addQuery('b', [{ op: 'port', side: 'destination', ports: [2] }], [])
    await vi.waitFor(() => expect(queries()[0]?.rules[0]?.origin.name).toBe('b'))
    expect(queries()[0]!.bit).toBe(before.bit)
    expect(queries()[0]!.name).not.toBe(before.name)
  })

  test('a ContainerNetworkMetric stands in place of the filters of the dynamic metrics file', async () => {
    const { control, target, source } = await setUp()
    const origin = { kind: 'dynamic metrics', name: 'f', path: 'metrics[0]', label: '', text: 'protocol udp' }
    const filter = {
      effect: 'exclude',
      predicate: { op: 'protocol', names: ['udp'] },
      message: {},
      path: [],
      origin,
    } as const
    control.setDynamicMetrics(new Map([['drop', { include: [], exclude: [filter] }]]))
    await vi.waitFor(() => expect(consumer(target.last, 'metric/drop').rules[0]?.origin).toEqual(origin))
    source.put(CNM, NAME, { filters: [drops('a/')] })
    await vi.waitFor(() => expect(consumer(target.last, 'metric/drop').rules[0]?.origin.kind).toBe(CNM))
  })

  test('preview() says what documents would do and changes nothing', async () => {
    const { control, source, target } = await setUp()
    source.put(CNM, NAME, { filters: [drops('a/')] })
    await vi.waitFor(() => expect(source.last(NAME)).toBeDefined())
    const before = target.applied.length
    const { rules, resources } = await control.preview([
      document(CNM, NAME, { filters: [{ metric: 'flow', excludeFilters: [{ protocol: ['udp'] }] }] }),
      document(CNL, 'bad', { includefilters: [{ protocol: ['x'] }] }),
    ])
    expect(consumer(rules, 'metric/drop').rules).toEqual([])
    expect(consumer(rules, 'metric/flow').rules.map((rule) => rule.origin.text)).toEqual(['protocol udp'])
    expect(resources.map(({ ref, outcome }) => [ref.name, outcome.reason])).toEqual([
      ['bad', 'Invalid'],
      [NAME, 'Configured'],
    ])
    expect([target.applied.length, consumer(control.rules(), 'metric/drop').rules.length]).toEqual([before, 1])
  })

  test('more rules than there is room for are refused, those in force stay', async () => {
    const { source } = await setUp()
    const many = (pod: string) => ({
      includefilters: Array.from({ length: 250 }, (_, i) => ({ from: { namespacedPod: [`${pod}/${i}-`] } })),
    })
    for (const name of ['a', 'b', 'c', 'd', 'e']) source.put(CNL, name, many(name))
    await vi.waitFor(() => expect(source.last('e')).toBeDefined(), 10_000)
    expect(source.last('d')?.state).toBe('CONFIGURED')
    expect(source.last('e')).toMatchObject({ state: 'FAILED', reason: 'LimitExceeded' })
    expect(source.last('e')?.message).toContain('250 filters, and only 24 more fit')
    // What a resource said before stays also when it comes to say too much.
    source.sink.remove({ kind: CNL, name: 'e' })
    source.put(CNL, 'z', { includefilters: [{ protocol: ['udp'] }] }, 1)
    await vi.waitFor(() => expect(source.last('z')?.state).toBe('CONFIGURED'))
    source.put(CNL, 'z', many('z'), 2)
    await vi.waitFor(() => expect(source.last('z')?.reason).toBe('LimitExceeded'), 10_000)
    expect(source.last('z')).toMatchObject({ filters: 1, message: expect.stringContaining('stays in force') })
  })

  test('more resources than there is room for are counted', async () => {
    const { source, control } = await setUp()
    for (let i = 0; i < 200; i++) source.put(CNL, `log-${i}`, { includefilters: [{ protocol: ['udp'] }] })
    expect(control.status().resources).toHaveLength(128)
    const values = new Map<string, number>()
    const add = (name: string, _: string, value: number) => void values.set(name, value)
    control.collect({ counter: add, gauge: add })
    expect(values.get('sluice_filter_resources_refused_total')).toBe(72)
    const troubles = () => control.status().sources[0]!.troubles
    const text = (name: string) =>
      `ContainerNetworkLog "${name}" is left out, as there are 128 resources: remove one and apply it again`
    expect(troubles()).toEqual([text('log-128')])
    // There is room for one, and until it is applied again it is left out all the same.
    source.sink.remove({ kind: CNL, name: 'log-0' })
    expect(troubles()).toEqual([text('log-128')])
    source.put(CNL, 'log-128', { includefilters: [{ protocol: ['udp'] }] })
    expect(troubles()).toEqual([text('log-129')])
    for (let i = 129; i < 200; i++) source.sink.remove({ kind: CNL, name: `log-${i}` })
    expect(troubles()).toEqual([])
  })

  test('collect() tells of rules by what they came from, and of resources by state', async () => {
    const counts = () => ({
      rules: target.last.consumers.flatMap((one) =>
        one.rules.map(({ id }) => ({ id, matched: 5, kept: 3, leftOut: 2, isExact: true })),
      ),
      consumers: [],
      filteredInKernel: 0,
      unattributed: 0,
    })
    const target = new FakeTarget()
    const { source, control } = await setUp({ targets: [target], counts })
    source.put(CNM, NAME, { filters: [{ metric: 'drop', excludeFilters: [{ name: 'mine', protocol: ['udp'] }] }] })
    source.put(CNM, 'wrong', {})
    await vi.waitFor(() => expect(source.last(NAME)).toBeDefined())
    const lines: string[] = []
    const add = (name: string, _: string, value: number, labels: object = {}) =>
      lines.push(`${name} ${JSON.stringify(labels)} ${value}`)
    control.collect({ counter: add, gauge: add })
    expect(lines).toContain(
      'sluice_filter_rule_left_out_total {"consumer":"metric/drop","effect":"exclude","resource":"ContainerNetworkMetric/container-network-metric","rule":"spec.filters[0].excludeFilters[0]","name":"mine"} 2',
    )
    expect(lines).toContain(`sluice_filter_resources {"kind":"${CNM}","state":"CONFIGURED"} 1`)
    expect(lines).toContain(`sluice_filter_resources {"kind":"${CNM}","state":"FAILED"} 1`)
    expect(lines).toContain('sluice_filter_applies_total {} 2')
    expect(lines.filter((line) => line.includes('rule_matched'))).toHaveLength(1)
  })
})

test('the predicate of folded filters says what each document says for itself', async () => {
  const { TestFlowStore } = await import('../test/helpers/flow-store.ts')
  const { source, target } = await setUp({ settings: { ...SETTINGS, merge: true } })
  source.put(CNM, 'a', { filters: [{ metric: 'flow', excludeFilters: [{ from: { namespacedPod: ['x/'] } }] }] })
  source.put(CNM, 'b', {
    filters: [
      {
        metric: 'flow',
        includeFilters: [{ from: { namespacedPod: ['x/'] } }],
        excludeFilters: [{ to: { namespacedPod: ['y/'] } }],
      },
    ],
  })
  await vi.waitFor(() => expect(consumer(target.last, 'metric/flow').rules).toHaveLength(2))
  const tests = consumer(target.last, 'metric/flow').rules.map((rule) => compile(rule.predicate))
  const store = new TestFlowStore()
  const view = store.createView()
  const wants = (from: string, to: string) => {
    const first = store.push({
      source: { namespace: from, podName: 'p' },
      destination: { namespace: to, podName: 'p' },
    })
    store.seek(view, first)
    return tests.some((one) => one(view))
  }
  // a: all but from x. b: from x, but not to y.
  expect([wants('z', 'y'), wants('x', 'z'), wants('x', 'y')]).toEqual([true, true, false])
})
