import { RecordClock } from '../../collector/clock.ts'
import { Collector } from '../../collector/pipeline.ts'
import { CollectorState } from '../../collector/state.ts'
import type { Exporter } from '../../model/contracts.ts'
import { bootToWallOffset } from '../../native/index.ts'
import { addPods, RingTraffic } from './ring-traffic.ts'

/** A turn of the event loop between two drains lets writes of the log go on, as the agent's timer does. */
const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve))
const SETTLE_MS = 60_000

/** Collector, history and exporters as the agent connects them, with a ring in memory in the kernel's place. */
export class MemoryAgent {
  readonly state: CollectorState
  readonly collector: Collector
  readonly #ring: RingTraffic
  readonly #exporters: readonly Exporter[]

  constructor(options: { exporters?: readonly Exporter[]; withL7?: boolean } = {}) {
    this.#exporters = options.exporters ?? []
    // Boot time and monotonic time are the same on a machine that never slept; near enough elsewhere.
    this.#ring = new RingTraffic({ withL7: options.withL7 === true, startNs: process.hrtime.bigint() })
    const uuidSeed = new Uint32Array([1, 2, 3, 4])
    this.state = new CollectorState({ nodeName: 'node-1', clusterName: 'default', uuidSeed })
    addPods(this.state)
    this.collector = new Collector({
      state: this.state,
      clock: new RecordClock({ readOffset: () => bootToWallOffset().offsetNs }),
      sources: [{ name: 'kernel', reader: this.#ring.reader }],
      exporters: this.#exporters,
    })
  }

  /** Records of one fill of the ring. */
  get records(): number {
    return this.#ring.records
  }

  /** Fills the ring; drain() takes it. */
  prepare(): void {
    this.#ring.refill()
  }

  /** Takes everything from the ring, until each exporter has settled it and the ring is given back. */
  async drain(): Promise<void> {
    while (this.collector.drain()) await nextTurn()
    // Waits without work of its own: turns made meanwhile would be counted as the event's cost.
    for (const exporter of this.#exporters) await exporter.flush(SETTLE_MS)
    const { end } = this.state.history
    if (this.#exporters.some(({ settled }) => settled < end)) throw new Error('Exporters do not settle what they took')
    this.collector.drain()
  }

  async fill(): Promise<void> {
    this.prepare()
    await this.drain()
  }

  /** @throws Error when a stage does not add up, or lost anything */
  checkLedger(): void {
    for (const line of this.collector.ledger()) {
      if (line.difference !== 0 || Object.keys(line.lost).length > 0) {
        throw new Error(`Ledger does not close without loss: ${JSON.stringify(line)}`)
      }
    }
    const { releasedUnsettled } = this.collector
    if (releasedUnsettled > 0) throw new Error(`${releasedUnsettled} flows were released before they were settled`)
  }
}
