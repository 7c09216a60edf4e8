import { describe, expect, test } from 'vitest'
import { ALL_KINDS, type ConsumerOffer, type FilterCounts } from '../filters/rules.ts'
import { EventKind, Verdict } from '../model/layouts.gen.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { Explainer, type ExplainerParts, type ExplainQuestion, takesEverything } from './explainer.ts'
import { FilterControl } from './filter-control.ts'
import type { ResourceSink, ResourceSource } from './resource.ts'
import { RuleRates } from './rule-rates.ts'

const NODE = { nodeName: 'node-1', nodeLabels: [] }
const METRICS: ConsumerOffer[] = [
  { name: 'metric/flow', bit: 0, interest: { kinds: ALL_KINDS } },
  { name: 'metric/drop', bit: 1, interest: { kinds: 1 << EventKind.KIND_DROP } },
]

/** A source that a test fills. */
class TestSource implements ResourceSource {
  readonly name = 'test'
  sink: ResourceSink | undefined
  async start(sink: ResourceSink): Promise<void> {
    this.sink = sink
    sink.synced()
  }
  setStatus(): void {}
  async [Symbol.asyncDispose](): Promise<void> {}
}

const log = (name: string, filters: unknown): string =>
  JSON.stringify({
    apiVersion: 'acn.azure.com/v1alpha1',
    kind: 'ContainerNetworkLog',
    metadata: { name },
    spec: { includefilters: filters },
  })

const ONLY_80 = [{ to: { port: [80] } }]
const ONLY_443 = [{ to: { port: [443] } }]

interface Setup {
  readonly explainer: Explainer
  readonly control: FilterControl
  readonly store: TestFlowStore
  readonly source: TestSource
}

async function setup(
  fields: Partial<ExplainerParts> & { filteredInKernel?: number; document?: string; flows?: number } = {},
): Promise<Setup> {
  const store = new TestFlowStore(2000)
  for (let i = 0; i < (fields.flows ?? 600); i++) {
    // A flow each 100 ms.
    const time = 1_790_000_000_000_000_000n + BigInt(i) * 100_000_000n
    store.push({ dstPort: [80, 443, 53][i % 3]!, verdict: i % 6 === 0 ? Verdict.DROPPED : Verdict.FORWARDED, time })
  }
  const source = new TestSource()
  const control = new FilterControl({
    settings: { log: { mode: 'resources', allow: [], deny: [] }, history: 'wanted', merge: false, unlisted: 'keep' },
    sources: [source],
    targets: [
      {
        apply: async (rules) => ({
          generation: 1,
          decisions: new Map(
            rules.consumers.flatMap((c) => c.rules.map(({ id }) => [id, { where: 'kernel' as const, because: [] }])),
          ),
          tookMs: 1,
        }),
      },
    ],
    metrics: METRICS,
    settleMs: 1,
  })
  await control.start(new AbortController().signal)
  if (fields.document !== undefined) {
    const applied = new Promise<void>((resolve) => void control.onApplied(() => resolve()))
    const value = JSON.parse(fields.document)
    source.sink!.upsert({
      ref: { kind: value.kind, name: value.metadata.name },
      uid: '',
      generation: 0,
      value,
      file: '',
    })
    await applied
  }
  const counts: FilterCounts = {
    rules: [],
    consumers: [],
    filteredInKernel: fields.filteredInKernel ?? 0,
    unattributed: 0,
  }
  const parts: ExplainerParts = {
    control,
    store,
    node: NODE,
    meters: {
      series: async () => ({ series: 0, bytes: 0 }),
      lines: async (range, wants) => {
        const view = range.store.createView()
        let lines = 0
        for (let at = range.first; at < range.end; at++) {
          range.store.seek(view, at)
          if (wants(view)) lines++
        }
        return { lines, bytes: 100 * lines }
      },
    },
    readCounts: async () => counts,
    rates: new RuleRates(),
    hasKernel: true,
    catchUpSeconds: 0,
    ...fields,
  }
  return { explainer: new Explainer(parts), control, store, source }
}

const question = (fields: Partial<ExplainQuestion> = {}): ExplainQuestion => ({
  files: [],
  alone: false,
  source: 'history',
  seconds: 0,
  maxFlows: 200_000,
  ...fields,
})
const never = new AbortController().signal
const logOf = (answer: Awaited<ReturnType<Explainer['explain']>>) =>
  answer.report.consumers.find(({ name }) => name === 'log')!

describe('Explainer', () => {
  test('measures what is in force against nothing', async () => {
    const { explainer } = await setup({ document: log('a', ONLY_80) })
    const answer = await explainer.explain(question(), never, () => {})
    expect(logOf(answer)).toMatchObject({
      with: { isOn: true, kept: 200, logBytes: 20_000 },
      without: { isOn: true, kept: 600, logBytes: 60_000 },
    })
    expect(answer.report.rules.map(({ rule }) => rule.origin.name)).toEqual(['a'])
    expect(answer.report.seconds).toBeCloseTo(59.9)
    expect(answer.notes).toEqual([])
  })

  test('puts files in the place of resources of the same name, beside the others, or alone', async () => {
    const { explainer } = await setup({ document: log('a', ONLY_80) })
    const kept = async (files: string[], alone = false) => {
      const asked = files.map((content, i) => ({ name: `f${i}.json`, content }))
      const answer = await explainer.explain(question({ files: asked, alone }), never, () => {})
      expect(logOf(answer).now.kept).toBe(200)
      return logOf(answer).with.kept
    }
    expect(await kept([log('a', ONLY_443)])).toBe(200)
    expect(await kept([log('b', ONLY_443)])).toBe(400)
    expect(await kept([log('b', ONLY_443)], true)).toBe(200)
    expect(await kept([log('a', ONLY_443), log('b', [{ to: { port: [53] } }])])).toBe(400)
  })

  test('refuses files with each mistake, and changes nothing', async () => {
    const { explainer, control } = await setup()
    const before = control.status().generation
    const files = [
      {
        name: 'a.yaml',
        content: 'kind: ContainerNetworkLog\nmetadata: {name: a}\nspec: {includefilters: [{pod: x}]}\n',
      },
      { name: 'b.yaml', content: '' },
    ]
    await expect(explainer.explain(question({ files: files.slice(0, 1) }), never, () => {})).rejects.toThrow(
      /a\.yaml:3: .*pod/,
    )
    await expect(explainer.explain(question({ files }), never, () => {})).rejects.toThrow(
      /b\.yaml: there is no filter resource/,
    )
    await expect(
      explainer.explain(question({ files: [{ name: 'c.yaml', content: 'a: [' }] }), never, () => {}),
    ).rejects.toMatchObject({ code: 'SLUICE_FILTER_INVALID' })
    expect(control.status().generation).toBe(before)
  })

  test('says that what the kernel left out is not there to be counted', async () => {
    const all = await setup({ filteredInKernel: 0 })
    expect((await all.explainer.explain(question(), never, () => {})).isComplete).toBe(true)
    const earlier = await setup({ filteredInKernel: 5 })
    const answer = await earlier.explainer.explain(question(), never, () => {})
    expect([answer.isComplete, answer.notes[0]]).toEqual([false, expect.stringMatching(/Earlier filters left events/)])
    const replay = await setup({ filteredInKernel: 5, hasKernel: false })
    expect((await replay.explainer.explain(question(), never, () => {})).isComplete).toBe(true)
  })

  test('takes the newest flows of so much time, or so many', async () => {
    const { explainer } = await setup({ now: () => 1_790_000_000_000 + 60_000 })
    const recent = await explainer.explain(question({ seconds: 20 }), never, () => {})
    expect(recent.report.flows).toBe(200)
    const few = await explainer.explain(question({ maxFlows: 50 }), never, () => {})
    expect(few.report.flows).toBe(50)
    expect(few.notes.join(' ')).toMatch(/Only the newest 50 flows.*50 flows in 4\.9 s say little/)
    const ever = await explainer.explain(question({ seconds: 1e12 }), never, () => {})
    expect(ever.report.flows).toBe(600)
  })

  test('looks at live flows with everything let out of the kernel, and only as long as it looks', async () => {
    const { explainer, control, store, source } = await setup({ document: log('a', ONLY_80), catchUpSeconds: 0.2 })
    const metrics = [{ filters: [{ metric: 'flow', excludeFilters: [{}] }] }]
    const value = {
      apiVersion: 'acn.azure.com/v1alpha1',
      kind: 'ContainerNetworkMetric',
      metadata: { name: 'container-network-metric' },
      spec: metrics[0],
    }
    const applied = new Promise<void>((resolve) => void control.onApplied(() => resolve()))
    source.sink!.upsert({
      ref: { kind: value.kind, name: value.metadata.name },
      uid: '',
      generation: 0,
      value,
      file: '',
    })
    await applied
    expect(takesEverything(control.rules())).toBe(false)
    const steps: string[] = []
    const running = explainer.explain(question({ source: 'live', seconds: 0.3 }), never, (step) => steps.push(step))
    while (!takesEverything(control.rules())) await new Promise((resolve) => setTimeout(resolve, 2))
    const seen = control.rules().consumers.find(({ name }) => name.startsWith('query/'))
    expect(seen).toMatchObject({ isOn: true, rules: [] })
    // What was left in the kernel tells itself first: no flows of the time that is measured.
    for (let i = 0; i < 50; i++) store.push({ dstPort: 443 })
    while (!steps.includes('waiting for flows')) await new Promise((resolve) => setTimeout(resolve, 2))
    for (let i = 0; i < 300; i++) store.push({ dstPort: 443 })
    const answer = await running
    expect(answer).toMatchObject({ isComplete: true, report: { flows: 300 } })
    expect(answer.report.consumers.map(({ name }) => name)).not.toContain(seen!.name)
    expect(answer.report.seconds).toBeGreaterThan(0.29)
    expect(steps[0]).toBe('waiting for what was left in the kernel')
    const gone = new Promise<void>((resolve) => void control.onApplied(() => resolve()))
    await gone
    expect(takesEverything(control.rules())).toBe(false)
  })

  test('gives up when nobody waits any more', async () => {
    const { explainer, control } = await setup()
    const abort = new AbortController()
    const running = explainer.explain(question({ source: 'live', seconds: 60 }), abort.signal, () => {})
    setTimeout(() => abort.abort(), 30)
    await expect(running).rejects.toThrow()
    expect(control.status().liveQueries).toBe(0)
  })

  test('tells where the kernel would decide, and what would leave it', async () => {
    const { explainer } = await setup()
    const files = [{ name: 'a.json', content: log('a', [{ to: { port: [80] } }, { reason: ['Policy denied'] }]) }]
    const { decisions, report } = await explainer.explain(question({ files }), never, () => {})
    const places = report.rules.map(({ rule }) => decisions.get(rule.id)?.where)
    expect(places).toEqual(['kernel', 'partly'])
    // Metrics count everything still.
    expect(report.leaving).toEqual({ with: 600, without: 600, now: 600 })
  })
})

test('Explainer reads the largest file, and a hostile one, without holding the event loop', async () => {
  const { explainer } = await setup()
  const filters = Array.from(
    { length: 250 },
    (_, i) => `    - {name: f${i}, to: {port: [${1 + i}]}, from: {ip: [10.0.${i}.1]}}\n`,
  )
  const head =
    'apiVersion: acn.azure.com/v1alpha1\nkind: ContainerNetworkLog\nmetadata: {name: large}\nspec:\n  includefilters:\n'
  const comment = `# ${'x'.repeat(98)}\n`.repeat(8000)
  const large = { name: 'large.yaml', content: head + filters.join('') + comment }
  const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${Array.from({ length: 12 }, (_, i) => `b${i}: &b${i} [${`*${i === 0 ? 'a' : `b${i - 1}`},`.repeat(9)}]`).join('\n')}\n`
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  const { report } = await explainer.explain(question({ files: [large] }), never, () => {})
  expect(report.rules).toHaveLength(250)
  await expect(
    explainer.explain(question({ files: [{ name: 'bomb.yaml', content: bomb }] }), never, () => {}),
  ).rejects.toMatchObject({ code: 'SLUICE_FILTER_INVALID' })
  clearInterval(timer)
  expect(turns).toBeGreaterThan(10)
})
