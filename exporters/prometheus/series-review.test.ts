import { describe, expect, onTestFinished, test } from 'vitest'
import { silentLogger } from '../../base/logger.ts'
import { EVERYTHING } from '../../filters/predicate.ts'
import { ALL_KINDS, type FilterRule, type FlowJudge, type RuleSet } from '../../filters/rules.ts'
import type { FlowView } from '../../model/flow-view.ts'
import { TestFlowStore } from '../../test/helpers/flow-store.ts'
import { samples } from '../../test/helpers/metric-lines.ts'
import { HANDLERS, type PrometheusConfig, PrometheusExporter } from './index.ts'

const PORTS = 'port-distribution'
const BIT = HANDLERS.findIndex(({ name }) => name === PORTS)
const PORT = (port: number | string) => `hubble_port_distribution_total{protocol="TCP",port="${port}"}`
type Filter = (view: FlowView) => boolean
const to =
  (...ports: number[]): Filter =>
  (view) =>
    ports.includes(view.dstPort)

/** Filters of the metric as they were, and are: a record is judged by those in force when it was made. */
class TestJudge implements FlowJudge {
  filter: Filter = () => true
  before: Filter = () => true
  changedAt = 0

  wants(bit: number, view: FlowView): boolean {
    return bit !== BIT || (view.sequence < this.changedAt ? this.before : this.filter)(view)
  }

  wouldTake(bit: number, view: FlowView): boolean {
    return bit !== BIT || this.filter(view)
  }
}

/** What filtersChanged() compares: rules by id, whatever they say. */
function ruleSet(id: string | undefined, isOn = true): RuleSet {
  const origin = { kind: 'ContainerNetworkMetric', name: 'm', path: 'spec', label: '', text: '' }
  const rules: FilterRule[] = id === undefined ? [] : [{ id, effect: 'include', predicate: EVERYTHING, origin }]
  return { consumers: [{ name: `metric/${PORTS}`, bit: BIT, kinds: ALL_KINDS, isOn, rules }] }
}

const START_MS = 1_790_000_000_000
let changes = 0

class Scene {
  readonly judge = new TestJudge()
  readonly store: TestFlowStore
  readonly exporter: PrometheusExporter
  nowMs = START_MS

  constructor(config: PrometheusConfig = {}, capacity = 4096) {
    this.store = new TestFlowStore(capacity)
    this.exporter = new PrometheusExporter(
      { metrics: PORTS, ...config },
      { logger: silentLogger, judge: this.judge, now: () => this.nowMs },
    )
    this.exporter.attach(this.store)
    onTestFinished(() => this.exporter[Symbol.asyncDispose]())
  }

  /** Flows to these ports, made at a time. */
  flows(ports: readonly number[], timeMs = this.nowMs): void {
    const time = BigInt(timeMs) * 1_000_000n
    const first = this.store.end
    for (const dstPort of ports) this.store.push({ dstPort, time })
    this.exporter.accept(this.store, first, this.store.end)
  }

  /** @param judgedFrom the first flow that the new filter judges; earlier ones come late */
  change(filter: Filter, judgedFrom = this.store.end, isOn = true): void {
    this.judge.before = this.judge.filter
    this.judge.filter = filter
    this.judge.changedAt = judgedFrom
    this.exporter.filtersChanged(ruleSet(`rule ${changes++}`, isOn))
  }

  async text(): Promise<string> {
    const scrape = await this.exporter.render('text')
    const text = scrape.toString()
    scrape.release()
    return text
  }

  /** Series of the metric: ports by count. */
  async ports(): Promise<Record<string, number>> {
    const series = Object.entries(samples(await this.text()))
    const pattern = /^hubble_port_distribution_total\{protocol="TCP",port="(\w+)"\}$/
    return Object.fromEntries(
      series.flatMap(([key, value]) => {
        const port = pattern.exec(key)?.[1]
        return port === undefined ? [] : [[port, value]]
      }),
    )
  }
}

describe('filtersChanged()', () => {
  test('takes out what is not wanted any more, and keeps the wanted, quiet or not, with its value', async () => {
    const scene = new Scene()
    scene.flows([80, 80, 443, 22])
    expect(await scene.ports()).toEqual({ 80: 2, 443: 1, 22: 1 })
    scene.change(to(80, 443))
    await scene.exporter.filtersSettled()
    expect(await scene.ports()).toEqual({ 80: 2, 443: 1 })
    scene.flows([80, 22])
    expect(await scene.ports()).toEqual({ 80: 3, 443: 1 })
  })

  test('shows everything as before until the history was asked: there is no scrape in which a wanted series is missing', async () => {
    const scene = new Scene({}, 60_000)
    const ports = Array.from({ length: 50_000 }, (_, i) => 1 + (i % 5000))
    scene.flows(ports)
    scene.change((view) => view.dstPort <= 2500)
    let isSettled = false
    void scene.exporter.filtersSettled().then(() => {
      isSettled = true
    })
    let scrapes = 0
    while (!isSettled) {
      const shown = await scene.ports()
      const wanted = Object.entries(shown).filter(([port, count]) => Number(port) <= 2500 && count === 10)
      expect(wanted).toHaveLength(2500)
      scrapes++
    }
    expect(scrapes).toBeGreaterThan(0)
    expect(Object.keys(await scene.ports())).toHaveLength(2500)
  })

  test('a series that counts again is shown again, and goes on where it was', async () => {
    const scene = new Scene()
    scene.flows([80, 80, 22])
    scene.change(to(22))
    await scene.exporter.filtersSettled()
    expect(await scene.ports()).toEqual({ 22: 1 })
    // Nobody counts it meanwhile.
    scene.flows([80])
    scene.change(to(22, 80, 443))
    await scene.exporter.filtersSettled()
    expect(await scene.ports()).toEqual({ 22: 1, 80: 2 })
    scene.flows([80, 443])
    expect(await scene.ports()).toEqual({ 22: 1, 80: 3, 443: 1 })
  })

  test('a wanted series that the history has forgotten comes back with its value', async () => {
    const scene = new Scene({}, 16)
    scene.flows([80, 80, 80])
    scene.flows(Array.from({ length: 16 }, () => 22))
    scene.change(to(22, 80))
    await scene.exporter.filtersSettled()
    expect(await scene.ports()).toEqual({ 22: 16 })
    scene.flows([80])
    expect(await scene.ports()).toEqual({ 22: 16, 80: 4 })
  })

  test('flows that the filters of before had let through are counted, and bring nothing back', async () => {
    const scene = new Scene()
    scene.flows([80, 22])
    // The next three flows were judged before the change, and come after it.
    scene.change(to(80), scene.store.end + 3)
    await scene.exporter.filtersSettled()
    scene.flows([22, 80, 9999])
    expect(await scene.ports()).toEqual({ 80: 2 })
    expect(scene.exporter.ledger.toJSON()).toMatchObject({ accepted: 5, delivered: 5, filtered: 0 })
    // A series that such a flow made has its value when the filters want it later.
    scene.flows([22], scene.nowMs + 5000)
    scene.change(to(80, 22, 9999))
    await scene.exporter.filtersSettled()
    expect(await scene.ports()).toEqual({ 80: 2, 22: 2, 9999: 1 })
  })

  test('asks twice no longer when flows from after the change come', async () => {
    const scene = new Scene()
    scene.flows([80])
    scene.change(to(80))
    await scene.exporter.filtersSettled()
    const [metric] = scene.exporter.metrics.metrics
    scene.flows([80], scene.nowMs + 1000)
    expect(metric!.late).toBeDefined()
    scene.flows([80], scene.nowMs + 4000)
    expect(metric!.late).toBeUndefined()
    expect(await scene.ports()).toEqual({ 80: 3 })
  })

  test('leaves metrics alone whose rules are the same', async () => {
    const scene = new Scene({ metrics: `flow:sourceContext=ip ${PORTS}` })
    scene.flows([80, 22])
    const flows =
      'hubble_flows_processed_total{protocol="TCP",type="Trace",subtype="to-stack",verdict="FORWARDED",source="10.0.0.1"}'
    scene.change(to(80))
    expect(samples(await scene.text())[flows]).toBe(2)
    await scene.exporter.filtersSettled()
    expect(samples(await scene.text())[flows]).toBe(2)
    const reviewed = async () => samples(await scene.text())['sluice_metrics_reviewed_flows_total']
    expect(await reviewed()).toBe(2)
    scene.exporter.filtersChanged(ruleSet(`rule ${changes - 1}`))
    await scene.exporter.filtersSettled()
    expect(await reviewed()).toBe(2)
  })

  test('takes a metric that is switched off out wholly, its header too, and its overflow', async () => {
    const scene = new Scene({ maxSeries: 1 })
    scene.flows([80, 22])
    expect(await scene.ports()).toEqual({ 80: 1, overflow: 1 })
    scene.change(() => false, scene.store.end, false)
    expect(scene.exporter.state).toBe(`off by filters: ${PORTS}`)
    await scene.exporter.filtersSettled()
    expect(await scene.text()).not.toMatch(/^(# (HELP|TYPE) )?hubble_port_distribution_total/m)
    scene.flows([80, 22])
    expect(scene.exporter.ledger.filtered).toBe(2)
    scene.change(() => true)
    await scene.exporter.filtersSettled()
    expect(scene.exporter.state).toBeUndefined()
    scene.flows([80, 22], scene.nowMs + 5000)
    expect(await scene.ports()).toEqual({ 80: 2, overflow: 2 })
  })

  test('series of overflow stay, since they stand for wanted ones too', async () => {
    const scene = new Scene({ maxSeries: 1 })
    scene.flows([80, 22, 23])
    scene.change(to(443))
    await scene.exporter.filtersSettled()
    expect(await scene.ports()).toEqual({ overflow: 2 })
  })

  test('shows all again when the filters are taken away, also what is long forgotten', async () => {
    const scene = new Scene({}, 16)
    scene.flows([80, 22])
    scene.change(to(80))
    await scene.exporter.filtersSettled()
    scene.flows(Array.from({ length: 20 }, () => 80))
    scene.judge.filter = () => true
    scene.exporter.filtersChanged(ruleSet(undefined))
    await scene.exporter.filtersSettled()
    expect(await scene.ports()).toEqual({ 80: 21, 22: 1 })
  })

  test('hidden series give way to new ones, instead of these going to overflow', async () => {
    const scene = new Scene({ maxSeries: 4 })
    scene.flows([1, 2, 3, 4, 5])
    expect(await scene.ports()).toEqual({ 1: 1, 2: 1, 3: 1, 4: 1, overflow: 1 })
    scene.change((view) => view.dstPort >= 100 || view.dstPort === 1)
    await scene.exporter.filtersSettled()
    scene.flows([101, 102, 103, 104])
    expect(await scene.ports()).toEqual({ 1: 1, 101: 1, 102: 1, 103: 1, overflow: 2 })
    expect(scene.exporter.metrics.budget.used).toBe(4)
  })

  test('hidden series of one metric give way to those of another', async () => {
    const scene = new Scene({ metrics: `${PORTS} flow:sourceContext=ip`, maxSeries: 4, maxSeriesPerFamily: 4 })
    scene.flows([1, 2, 3])
    scene.change(() => false)
    await scene.exporter.filtersSettled()
    const first = scene.store.push({ srcIp: '10.1.0.1' }, { srcIp: '10.1.0.2' })
    scene.exporter.accept(scene.store, first, scene.store.end)
    expect(scene.exporter.metrics.families.map(({ size, overflowed }) => [size, overflowed])).toEqual([
      [1, 0],
      [3, 0],
    ])
  })

  test('frees hidden series after some minutes; one that came back in time stays', async () => {
    const scene = new Scene()
    scene.exporter.removeStale()
    scene.flows([80, 22, 23])
    scene.change(to(80))
    await scene.exporter.filtersSettled()
    const family = scene.exporter.metrics.families[0]!
    scene.nowMs += 150_000
    scene.exporter.removeStale()
    await new Promise((resolve) => setImmediate(resolve))
    expect([family.size, family.hidden]).toEqual([3, 2])
    scene.change(to(80, 22))
    await scene.exporter.filtersSettled()
    for (let i = 0; i < 2; i++) {
      scene.nowMs += 150_000
      scene.exporter.removeStale()
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect([family.size, family.hidden]).toEqual([2, 0])
    expect(await scene.ports()).toEqual({ 80: 1, 22: 1 })
  })

  test('ends within its time when changes follow each other, and the last one counts', async () => {
    const scene = new Scene({}, 300_000)
    scene.flows(Array.from({ length: 250_000 }, (_, i) => i % 40_000))
    const began = performance.now()
    while (performance.now() - began < 1600) {
      scene.change((view) => view.dstPort < 20_000 && view.dstPort !== 9)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    const shown = await scene.ports()
    expect(Object.keys(shown).filter((port) => Number(port) >= 20_000)).toEqual([])
    scene.change(to(9))
    await scene.exporter.filtersSettled()
    expect(Object.keys(await scene.ports())).toEqual(['9'])
  })

  test('does not hold the event loop', async () => {
    const scene = new Scene({}, 300_000)
    scene.flows(Array.from({ length: 250_000 }, (_, i) => i % 40_000))
    await scene.ports()
    const turns: number[] = []
    let isOver = false
    const turn = (before: NodeJS.CpuUsage) => {
      const { user } = process.cpuUsage(before)
      turns.push(user / 1000)
      if (!isOver) setImmediate(turn, process.cpuUsage())
    }
    setImmediate(turn, process.cpuUsage())
    scene.change((view) => view.dstPort % 2 === 0)
    await scene.exporter.filtersSettled()
    isOver = true
    // Slices of 3 ms, in time of the processor since the machine may be busy; a few turns have garbage and compilers in them.
    turns.sort((a, b) => a - b)
    expect(turns.length).toBeGreaterThan(8)
    expect(turns[Math.floor(turns.length * 0.8)]).toBeLessThan(10)
  })

  test('a metric that is reconfigured meanwhile is left out of the review', async () => {
    const scene = new Scene({}, 60_000)
    scene.flows(Array.from({ length: 50_000 }, (_, i) => i % 20_000))
    scene.change(to(80))
    await new Promise((resolve) => setImmediate(resolve))
    scene.exporter.reconfigure(`${PORTS}:sourceContext=ip`)
    scene.flows([80])
    await scene.exporter.filtersSettled()
    expect(scene.exporter.metrics.budget.used).toBe(1)
    expect(samples(await scene.text())[PORT(80).replace('}', ',source="10.0.0.1"}')]).toBe(1)
  })

  test('a metric that is renewed takes over the rules in force for it', async () => {
    const scene = new Scene()
    scene.exporter.filtersChanged(ruleSet(undefined))
    scene.exporter.reconfigure(`${PORTS}:sourceContext=ip`)
    const [free] = scene.exporter.metrics.metrics
    expect(free).toMatchObject({ isFree: true })
    scene.change(() => false, scene.store.end, false)
    scene.exporter.reconfigure(PORTS)
    expect(scene.exporter.metrics.metrics[0]).not.toBe(free)
    expect(scene.exporter.state).toBe(`off by filters: ${PORTS}`)
    await scene.exporter.filtersSettled()
  })

  test('a flow of the history that cannot be looked at stops nothing', async () => {
    const scene = new Scene()
    scene.flows([80, 22, 443])
    scene.change((view) => {
      if (view.dstPort === 22) throw new Error('broken')
      return view.dstPort === 80
    })
    await scene.exporter.filtersSettled()
    expect(await scene.ports()).toEqual({ 80: 1 })
  })
})
