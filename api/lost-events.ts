import type { LostRecords } from '../model/contracts.ts'
import { writeTime } from './flow-parts.ts'
import type { FramedBatch } from './framed-batch.ts'

/** flow.proto LostEventSource */
const HUBBLE_RING_BUFFER = 3
/** A stream hears of flows lost to itself at most this often; Hubble's hubble-lost-event-send-interval. */
export const LOST_EVENT_INTERVAL_MS = 1000
/** Kernel losses that wait for a stream, by source and CPU; further CPUs are added up without naming one. */
const MAX_PENDING = 64

interface Loss {
  source: number
  cpu: number | undefined
  count: number
  firstMs: number
  lastMs: number
}

/** Losses that one stream has still to be told of. */
export class LostEvents {
  readonly #nodeName: string
  #own: Loss | undefined
  readonly #kernel = new Map<number, Loss>()

  constructor(nodeName: string) {
    this.#nodeName = nodeName
  }

  /** Flows that were overwritten before the stream's client took them. */
  addOwn(count: number, nowMs: number): void {
    if (this.#own === undefined) {
      this.#own = { source: HUBBLE_RING_BUFFER, cpu: undefined, count, firstMs: nowMs, lastMs: nowMs }
      return
    }
    this.#own.count += count
    this.#own.lastMs = nowMs
  }

  /** Records lost before the history. */
  addKernel(lost: LostRecords): void {
    let { cpu } = lost
    let key = lost.source * 65536 + (cpu === undefined ? 65535 : cpu)
    if (!this.#kernel.has(key) && this.#kernel.size >= MAX_PENDING) {
      cpu = undefined
      key = lost.source * 65536 + 65535
    }
    const known = this.#kernel.get(key)
    if (known === undefined) {
      this.#kernel.set(key, { source: lost.source, cpu, count: lost.count, firstMs: lost.firstMs, lastMs: lost.lastMs })
      return
    }
    known.count += lost.count
    known.lastMs = Math.max(known.lastMs, lost.lastMs)
    known.firstMs = Math.min(known.firstMs, lost.firstMs)
  }

  get hasOwn(): boolean {
    return this.#own !== undefined
  }

  get hasKernel(): boolean {
    return this.#kernel.size > 0
  }

  /**
   * Writes what is due: kernel losses at once, the stream's own when a second has passed since the first of them.
   * @param isLast the stream ends: write everything
   */
  write(batch: FramedBatch, nowMs: number, isLast: boolean): void {
    for (const loss of this.#kernel.values()) writeLoss(batch, loss, nowMs, this.#nodeName)
    this.#kernel.clear()
    const own = this.#own
    if (own === undefined || (!isLast && nowMs - own.firstMs < LOST_EVENT_INTERVAL_MS)) return
    writeLoss(batch, own, nowMs, this.#nodeName)
    this.#own = undefined
  }
}

/** A GetFlowsResponse with lost_events; its time is when the loss is told. */
function writeLoss(batch: FramedBatch, loss: Loss, nowMs: number, nodeName: string): void {
  batch.begin()
  const { out } = batch
  out.ensure(256)
  out.tag(3, 2)
  const event = out.begin()
  out.uint(1, loss.source)
  out.tag(2, 0)
  out.varint53(loss.count)
  if (loss.cpu !== undefined) {
    out.tag(3, 2)
    const cpu = out.begin()
    out.uint(1, loss.cpu)
    out.end(cpu)
  }
  out.tag(4, 2)
  writeMillis(batch, loss.firstMs)
  out.tag(5, 2)
  writeMillis(batch, loss.lastMs)
  out.end(event)
  out.text(1000, nodeName)
  out.ensure(32)
  out.tag(1001, 2)
  writeMillis(batch, nowMs)
  batch.end()
}

function writeMillis(batch: FramedBatch, timeMs: number): void {
  const secs = Math.floor(timeMs / 1000)
  writeTime(batch.out, secs, Math.round((timeMs - secs * 1000) * 1e6))
}
