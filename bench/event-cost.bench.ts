/**
 * What a record costs user space: from the kernel's ring, read in place, through the collector into the history, and on
 * into the counters of the default metrics or to a line in the log's file.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { configSchema } from '../agent/config.ts'
import { silentLogger } from '../base/logger.ts'
import { JsonLogExporter, resolveJsonLogOptions } from '../exporters/json-log/index.ts'
import { PrometheusExporter } from '../exporters/prometheus/index.ts'
import type { Exporter } from '../model/contracts.ts'
import { type Figure, figure, median } from './figure.ts'
import { MemoryAgent } from './support/memory-agent.ts'
import { load } from './support/processes.ts'
import { FLOWS, PODS } from './support/ring-traffic.ts'

const EVENTS = 1_000_000

/** Nanoseconds of wall and CPU time for each record, by fill of the ring. */
interface Costs {
  readonly wall: number[]
  readonly cpu: number[]
  /** Of it inside the kernel: writes, and pages met for the first time. */
  readonly system: number[]
}

async function measure(exporters: readonly Exporter[], withL7: boolean): Promise<Costs> {
  const agent = new MemoryAgent({ exporters, withL7 })
  const costs: Costs = { wall: [], cpu: [], system: [] }
  // A first million warms up caches and compilers and fills the history, whose pages cost extra when first written.
  for (let n = 0; n < EVENTS; n += agent.records) await agent.fill()
  while (costs.wall.length * agent.records < EVENTS) {
    agent.prepare()
    const cpu = process.cpuUsage()
    const started = process.hrtime.bigint()
    await agent.drain()
    costs.wall.push(Number(process.hrtime.bigint() - started) / agent.records)
    const { user, system } = process.cpuUsage(cpu)
    costs.cpu.push(((user + system) * 1000) / agent.records)
    costs.system.push((system * 1000) / agent.records)
  }
  agent.checkLedger()
  return costs
}

function conditions(what: string, records: number): string {
  return `${what}; ${records.toLocaleString('en-GB')} records of ${FLOWS.toLocaleString('en-GB')} flows between ${PODS} pods, 2 % drops, behind a first million, read from a ring of 16 MiB in the kernel's layout; CPU time of all threads, median of 33 fills of a quarter of it; ledger closes; ${load()}`
}

async function counted(withL7: boolean): Promise<Figure[]> {
  const { metrics } = configSchema.parse({})
  const exporter = new PrometheusExporter({ metrics: metrics.handlers.join(' ') }, { logger: silentLogger })
  const costs = await measure([exporter], withL7)
  exporter.registry.clear()
  const what = withL7 ? 'ring to counted metric, with 2 % DNS answers and 2 % HTTP requests' : 'ring to counted metric'
  const text = conditions(`${what}, default metrics`, EVENTS)
  if (withL7) return [figure('event_cost.ring_to_metric_l7', median(costs.cpu), 'ns/event', '', text)]
  return [
    figure('event_cost.ring_to_metric', median(costs.cpu), 'ns/event', '≤ 300', text),
    figure(
      'event_cost.ring_to_metric_quietest',
      Math.min(...costs.wall),
      'ns/event',
      '',
      `wall time, best fill; ${text}`,
    ),
  ]
}

async function logged(): Promise<Figure[]> {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-bench-event-'))
  try {
    const exporter = new JsonLogExporter(resolveJsonLogOptions({ path: join(directory, 'events.log'), maxBackups: 2 }))
    await exporter.start(new AbortController().signal)
    const costs = await measure([exporter], false)
    await exporter[Symbol.asyncDispose]()
    const text = conditions(`ring to JSON line in the file, all fields, rotation at 50 MiB`, EVENTS)
    return [
      figure('event_cost.ring_to_log', median(costs.cpu), 'ns/event', '≤ 2000', text),
      figure(
        'event_cost.ring_to_log_system',
        median(costs.system),
        'ns/event',
        '',
        `of it in the kernel, which copies lines to the page cache; ${text}`,
      ),
      figure(
        'event_cost.ring_to_log_quietest',
        Math.min(...costs.wall),
        'ns/event',
        '',
        `wall time, best fill; ${text}`,
      ),
    ]
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

export async function run(): Promise<Figure[]> {
  const nothing = await measure([], false)
  return [
    figure('event_cost.ring_to_history', median(nothing.cpu), 'ns/event', '', conditions('no exporter', EVENTS)),
    ...(await counted(false)),
    ...(await counted(true)),
    ...(await logged()),
  ]
}
