import type { Logger } from '../base/logger.ts'
import {
  type DatapathOptions,
  hubbleReasonAt,
  Interfaces,
  KernelDatapath,
  KernelDropReasons,
  type WatchedInterface,
} from '../collector/kernel/index.ts'
import type { KernelSide } from '../collector/pipeline.ts'
import type { CollectorState, KernelNames } from '../collector/state.ts'
import type { TelemetrySink, TelemetrySource } from '../model/contracts.ts'
import { LedgerCounter } from '../model/layouts.gen.ts'
import type { LedgerLine, StageLedger } from '../model/ledger.ts'
import type { PartStatus } from './agent-info.ts'
import type { Config } from './config.ts'
import { durationMs, sizeBytes } from './config-values.ts'
import { type KernelReading, kernelStage } from './ledger.ts'

/** TCP flags by the names of the configuration, as bits of the header's low byte. */
const FLAG_BITS = { fin: 0x01, syn: 0x02, rst: 0x04, psh: 0x08, ack: 0x10, urg: 0x20, ece: 0x40, cwr: 0x80 } as const

/** The datapath's options from the configuration. */
export function datapathOptions(config: Config, log: Logger): Partial<DatapathOptions> {
  const { kernel, node } = config
  return {
    instance: kernel.instance,
    pinPath: kernel.pinPath,
    netns: node.netns,
    aggregationIntervalMs: durationMs(kernel.aggregationInterval)!,
    perPacket: kernel.aggregation === 'none',
    reportFlags: kernel.aggregationFlags.reduce((bits, flag) => bits | FLAG_BITS[flag], 0),
    ringBytes: sizeBytes(String(kernel.ringSize))!,
    maxFlows: kernel.maxFlows,
    maxEndpoints: kernel.maxEndpoints,
    dnsPorts: kernel.dnsPorts,
    httpPorts: kernel.httpPorts,
    l7PayloadBytes: kernel.l7PayloadBytes,
    l7RatePerSecond: kernel.l7RatePerSecond,
    tcpIdleMs: durationMs(kernel.tcpIdleTimeout)!,
    otherIdleMs: durationMs(kernel.otherIdleTimeout)!,
    closedIdleMs: durationMs(kernel.closedTimeout)!,
    logger: log.child({ part: 'kernel' }),
  }
}

/** Pairs of drop reason and place that are remembered; a kernel frees packets at some hundred places. */
const MAX_PLACES = 4096

/** What the running kernel calls drop reasons, places, and devices that are no pod's. */
export function kernelNames(kernel: KernelPart): KernelNames {
  const places = new Map<number, number>()
  return {
    dropReasonAt: (reason, location) => {
      const key = reason * 2 ** 32 + location
      let known = places.get(key)
      if (known === undefined) {
        known = hubbleReasonAt(kernel.reasons.reason(reason).name, kernel.datapath.symbols.name(location))
        if (places.size < MAX_PLACES) places.set(key, known)
      }
      return known
    },
    kernelDropReason: (reason) => kernel.reasons.reason(reason),
    dropLocation: (location) => kernel.datapath.symbols.name(location),
    interfaceName: (ifindex) => kernel.interfaces.get(ifindex)?.name ?? '',
  }
}

/** The kernel's half, as the rest of the agent sees it: the ring, counters, and the devices told to the collector. */
export class KernelPart implements KernelSide, TelemetrySource, AsyncDisposable {
  readonly datapath: KernelDatapath
  readonly interfaces: Interfaces
  readonly reasons = new KernelDropReasons()
  readonly #counts = new Float64Array(LedgerCounter.LEDGER_COUNTERS)
  readonly #log: Logger
  readonly #readBefore: number
  /** What stage() told last. */
  #toldDelivered = 0

  /** @throws SluiceError SLUICE_KERNEL_LOAD, SLUICE_KERNEL_UNSUPPORTED, SLUICE_PIN_DIR */
  constructor(config: Config, log: Logger) {
    this.#log = log
    this.datapath = KernelDatapath.open(datapathOptions(config, log))
    this.#readBefore = this.#recordsReadBefore()
    const uplinks = config.kernel.uplinks
    this.interfaces = new Interfaces(this.datapath, { uplinks })
  }

  /** Attaches to the devices and keeps the collector's table of them. Resolves when those that are there are attached. */
  async start(state: CollectorState): Promise<void> {
    const { reused, replaced, missingTracepoints } = this.datapath.report
    if (reused.length > 0) this.#log.info({ maps: reused.length }, 'took over the maps of a former agent')
    if (replaced.length > 0) this.#log.info({ maps: replaced }, 'replaced maps of another size or layout')
    if (missingTracepoints.length > 0) {
      this.#log.warn({ tracepoints: missingTracepoints }, 'this kernel lacks tracepoints: what they tell is missing')
    }
    this.interfaces.onEvent((event) => {
      const shown = event.interface
      this.#log.debug({ interface: shown.name, kind: shown.kind, ips: shown.ips }, `device ${event.kind}`)
      if (event.kind === 'removed') state.endpoints.removeInterface(shown.ifindex)
      else if (shown.kind === 'pod')
        state.endpoints.addInterface({ ifindex: shown.ifindex, name: shown.name, ips: shown.ips })
    })
    const attached = this.interfaces.start()
    this.datapath.start()
    await attached
  }

  ringLost(): number {
    return this.datapath.counters.ledger(this.#counts)[LedgerCounter.EVENTS_RING_FULL]!
  }

  ledger(): readonly LedgerLine[] {
    return [this.stage().toJSON()]
  }

  /** Records: wanted by the programs, taken from the ring or waiting in it. */
  stage(): StageLedger {
    const counts = this.datapath.counters.ledger(this.#counts)
    const stage = kernelStage(counts, this.datapath.unreadRecords(), this.#toldDelivered)
    this.#toldDelivered = stage.delivered
    return stage
  }

  /** The kernel's counters around a sweep, for the ledger. @param recordsTaken records the collector took from the ring */
  async reading(recordsTaken: () => number): Promise<KernelReading> {
    await this.datapath.takenOver
    const before = this.datapath.counters.ledger()
    const { entries, openPackets, openBytes } = await this.datapath.sweeper.sweep()
    // What was read and what waits belong together: nothing is drained between these lines.
    const recordsWaiting = this.datapath.unreadRecords()
    const recordsRead = this.#readBefore + recordsTaken()
    const after = this.datapath.counters.ledger()
    return { before, open: { entries, packets: openPackets, bytes: openBytes }, after, recordsRead, recordsWaiting }
  }

  /** Records that former agents read: what was submitted less what was still in the ring when this one came. */
  #recordsReadBefore(): number {
    const { counters } = this.datapath
    for (let attempt = 0; ; attempt++) {
      const before = counters.ledger()[LedgerCounter.EVENTS_SUBMITTED]!
      const waiting = this.datapath.unreadRecords()
      const after = counters.ledger()[LedgerCounter.EVENTS_SUBMITTED]!
      // The programs of a former agent may be writing: a quiet moment is soon found, or an error of one event is told.
      if (before === after || attempt === 1000) return after - waiting
    }
  }

  get watched(): readonly WatchedInterface[] {
    return this.interfaces.list()
  }

  status(): PartStatus {
    const { attachFailures, unwatched, overruns, uninspected } = this.interfaces.counts
    const problems: string[] = []
    if (attachFailures > 0) problems.push(`${attachFailures} devices could not be attached`)
    if (unwatched > 0) problems.push(`${unwatched} devices found the tables full (kernel.maxEndpoints)`)
    if (uninspected > 0) {
      problems.push(
        `the namespaces of ${uninspected} pods could not be entered (CAP_SYS_ADMIN): what is dropped inside them is not told`,
      )
    }
    if (this.datapath.sweeper.failures > 0) problems.push('the sweep of the flow table fails')
    if (this.reasons.failure !== undefined) problems.push(`drop reasons have no names: ${this.reasons.failure}`)
    if (this.datapath.symbols.base === 0n) {
      problems.push('drops are told without their place: the kernel hides its addresses (CAP_SYSLOG)')
    }
    const { entries, pressure } = this.datapath.sweeper.last
    return {
      name: 'kernel',
      state: problems.length > 0 ? 'degraded' : 'ok',
      message: problems.join('; '),
      details: {
        attach: this.datapath.attachments.mode,
        pods: this.watched.filter((one) => one.kind === 'pod').length,
        uplinks: this.watched.filter((one) => one.kind === 'uplink').length,
        flows: entries,
        flows_max: this.datapath.options.maxFlows,
        table_pressure: pressure,
        ring_used_bytes: this.datapath.ring.usedBytes,
        ring_bytes: this.datapath.ring.size,
        link_overruns: overruns,
      },
    }
  }

  collect(sink: TelemetrySink): void {
    const counts = this.datapath.counters.ledger(this.#counts)
    for (const [name, index] of Object.entries(LedgerCounter)) {
      if (name === 'LEDGER_COUNTERS') continue
      sink.counter('sluice_kernel_ledger_total', 'The kernel’s half of the ledger', counts[index]!, {
        counter: name.toLowerCase(),
      })
    }
    const { entries, openPackets, removed } = this.datapath.sweeper.last
    sink.gauge('sluice_flow_table_flows', 'Flows in the kernel’s table', entries)
    sink.gauge(
      'sluice_flow_table_capacity_flows',
      'Flows that fit into the kernel’s table',
      this.datapath.options.maxFlows,
    )
    sink.gauge(
      'sluice_flow_table_open_packets',
      'Packets that no record has carried out yet, at the last sweep',
      openPackets,
    )
    sink.gauge('sluice_flow_table_removed_flows', 'Flows taken out by the last sweep', removed)
    sink.counter('sluice_sweeps_total', 'Sweeps of the flow table', this.datapath.sweeper.sweeps)
    sink.counter('sluice_sweep_failures_total', 'Sweeps that failed', this.datapath.sweeper.failures)
    sink.gauge(
      'sluice_ring_used_bytes',
      'Bytes of the ring that are written and not released',
      this.datapath.ring.usedBytes,
    )
    sink.gauge('sluice_ring_bytes', 'Size of the ring', this.datapath.ring.size)
    sink.counter('sluice_ring_broken_total', 'Times that headers in the ring made no sense', this.datapath.ring.broken)
    const { added, removed: gone, attachFailures, unwatched, overruns, uninspected } = this.interfaces.counts
    sink.gauge('sluice_interfaces', 'Devices watched', this.watched.length)
    const counters = { added, removed: gone, attach_failed: attachFailures, unwatched, overrun: overruns, uninspected }
    for (const [event, value] of Object.entries(counters)) {
      sink.counter('sluice_interface_events_total', 'What happened to devices', value, { event })
    }
    sink.gauge(
      'sluice_interfaces_sharing_slot',
      'Devices without counters of their own',
      this.interfaces.sharingSlotZero,
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.interfaces[Symbol.dispose]()
    await this.datapath[Symbol.asyncDispose]()
  }
}
