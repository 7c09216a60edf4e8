import type { FlowStore, LostRecords } from '../model/contracts.ts'
import type { FlowView } from '../model/flow-view.ts'
import type { FlowEncoder } from './flow-encoder.ts'
import { type FlowQuery, isAfter, isBefore } from './flow-query.ts'
import { FlowRewind } from './flow-rewind.ts'
import { FramedBatch } from './framed-batch.ts'
import { LOST_EVENT_INTERVAL_MS, LostEvents } from './lost-events.ts'
import { FIRST_CHUNK, nextChunk, type SlicedTask, type SliceScheduler } from './slices.ts'

/** A batch is sent when it has reached this size: a few HTTP/2 windows, a fraction of a millisecond of encoding. */
const BATCH_BYTES = 48 * 1024
/** How far out of order the history may be: CPUs race by microseconds, a stepped clock is stamped anew within this. */
const DISORDER_SECS = 1

/** Where a stream's batches go. */
export interface FrameSink {
  /** @param done called when the batch was taken: only then it may be filled again */
  send(batch: FramedBatch, done: () => void): void
  /** Ends the stream with OK. */
  end(): void
  /** Ends the stream with an error. */
  fail(error: unknown): void
}

export interface FlowStreamCounters {
  flowsSent: number
  flowsScanned: number
  /** Overwritten before a slow client took them. */
  flowsLost: number
  lostEventsSent: number
}

export interface FlowStreamParts {
  readonly store: FlowStore
  readonly query: FlowQuery
  readonly encoder: FlowEncoder
  readonly sink: FrameSink
  readonly scheduler: SliceScheduler
  readonly counters: FlowStreamCounters
  /** Wall clock, milliseconds. */
  readonly now: () => number
}

/**
 * One GetFlows call. Steps, each in slices: rewind to the first flow wanted (FlowRewind); walk forward, filter, encode
 * into a batch; send a batch when it is full or the end is reached; wait for the client, for new flows, or end.
 * Two batches alternate: one is filled while the other is under way. A client that does not take its batches holds
 * nothing up: the history runs on, and what it overwrites is counted as lost for that client.
 */
export class FlowStream implements SlicedTask {
  readonly #parts: FlowStreamParts
  readonly #view: FlowView
  readonly #lost: LostEvents
  readonly #subscriptions: Disposable[] = []
  #filling = new FramedBatch(BATCH_BYTES + 16 * 1024)
  #spare: FramedBatch | undefined = new FramedBatch(BATCH_BYTES + 16 * 1024)
  #rewind: FlowRewind | undefined
  /** Flows found by the rewind and not sent yet: they need no second look. */
  #found: Float64Array = new Float64Array(0)
  #foundAt = 0
  #next: number
  /** One past the last flow that a stream that does not follow looks at. */
  readonly #limit: number
  #sent = 0
  #chunk = FIRST_CHUNK
  #isDone = false
  #isClosed = false
  #lostTimer: NodeJS.Timeout | undefined

  constructor(parts: FlowStreamParts) {
    this.#parts = parts
    const { store, query } = parts
    this.#view = store.createView()
    this.#lost = new LostEvents(store.context.nodeName)
    this.#limit = query.isFollow ? Number.POSITIVE_INFINITY : store.end
    this.#next = this.#start()
    if (query.isFollow) {
      this.#subscriptions.push(
        store.onAppend(() => this.#wake()),
        store.onLost((lost) => this.#onLost(lost)),
      )
    }
    this.#wake()
  }

  /** Where to begin; rewinding, when that has to be found, happens in slices. */
  #start(): number {
    const { store, query } = this.#parts
    if (query.since !== undefined)
      return store.lowerBound(Math.max(0, query.since.secs), query.since.secs < 0 ? 0 : query.since.nanos)
    if (query.isFirst) return store.first
    if (query.number === Number.POSITIVE_INFINITY) return query.isFollow ? store.end : store.first
    this.#rewind = new FlowRewind(store, query.predicate, query.number)
    return store.end
  }

  #wake(): void {
    if (!this.#isClosed && !this.#isDone) this.#parts.scheduler.schedule(this)
  }

  #onLost(lost: LostRecords): void {
    this.#lost.addKernel(lost)
    this.#wake()
  }

  run(deadline: number): boolean {
    if (this.#isClosed || this.#isDone) return false
    if (this.#rewind !== undefined && !this.#runRewind(this.#rewind, deadline)) return true
    let before = performance.now()
    for (;;) {
      if (this.#filling.out.at >= BATCH_BYTES && !this.#flush()) return false
      if (!this.#forward()) {
        this.#atEnd()
        return false
      }
      const now = performance.now()
      this.#chunk = nextChunk(this.#chunk, now - before)
      if (now >= deadline) return true
      before = now
    }
  }

  fail(error: unknown): void {
    this.#isDone = true
    this.#parts.sink.fail(error)
  }

  #runRewind(rewind: FlowRewind, deadline: number): boolean {
    const before = rewind.scanned
    const isFound = rewind.run(deadline)
    this.#parts.counters.flowsScanned += rewind.scanned - before
    if (!isFound) return false
    this.#found = rewind.found
    this.#next = rewind.next
    this.#rewind = undefined
    return true
  }

  /** Looks at the next flows. @returns false when there are none for now, or the stream is done */
  #forward(): boolean {
    if (this.#foundAt < this.#found.length) return this.#sendFound()
    const { store, query, counters, encoder } = this.#parts
    if (this.#next < store.first) this.#overtaken(store.first)
    const stop = Math.min(this.#limit, store.end, this.#next + this.#chunk)
    if (this.#next >= stop) return false
    const view = this.#view
    const batch = this.#filling
    const { predicate, since, until, isFollow } = query
    let next = this.#next
    const begin = next
    while (next < stop && batch.out.at < BATCH_BYTES) {
      store.seek(view, next++)
      if (until !== undefined && isAfter(view, until)) {
        if (isFollow || view.timeSecs > until.secs + DISORDER_SECS) {
          this.#isDone = true
          break
        }
        continue
      }
      if (since !== undefined && isBefore(view, since)) continue
      if (predicate !== undefined && !predicate(view)) continue
      batch.begin()
      encoder.write(batch.out, view)
      batch.end()
      if (++this.#sent >= query.number && !isFollow) {
        this.#isDone = true
        break
      }
    }
    counters.flowsScanned += next - begin
    this.#next = next
    return !this.#isDone
  }

  /** Sends what the rewind has found already. */
  #sendFound(): boolean {
    const { store, query, encoder } = this.#parts
    const batch = this.#filling
    const stop = Math.min(this.#found.length, this.#foundAt + this.#chunk)
    let at = this.#foundAt
    let lost = 0
    while (at < stop && batch.out.at < BATCH_BYTES) {
      const sequence = this.#found[at++]!
      if (sequence < store.first) {
        lost++
        continue
      }
      store.seek(this.#view, sequence)
      if (query.until !== undefined && isAfter(this.#view, query.until)) continue
      batch.begin()
      encoder.write(batch.out, this.#view)
      batch.end()
      this.#sent++
    }
    this.#foundAt = at
    if (lost > 0) this.#addLost(lost)
    if (at < this.#found.length) return true
    this.#found = new Float64Array(0)
    this.#foundAt = 0
    return true
  }

  /** The history has overwritten flows that the client was still to get. */
  #overtaken(first: number): void {
    this.#addLost(Math.min(first, this.#limit) - this.#next)
    this.#next = first
  }

  #addLost(count: number): void {
    this.#lost.addOwn(count, this.#parts.now())
    this.#parts.counters.flowsLost += count
  }

  /** A stream that waits for flows still tells of those that it lost. */
  #armLostTimer(): void {
    this.#lostTimer ??= setTimeout(() => {
      this.#lostTimer = undefined
      this.#wake()
    }, LOST_EVENT_INTERVAL_MS).unref()
  }

  /** No more flows for now: send what is there; end when there will be none. */
  #atEnd(): void {
    const isLast = this.#isDone || !this.#parts.query.isFollow
    if (isLast) this.#isDone = true
    // While the other batch is under way, losses cannot be written: onTaken() comes back here.
    if (!this.#flush(isLast)) return
    if (isLast) this.#parts.sink.end()
    else if (this.#lost.hasOwn) this.#armLostTimer()
  }

  /**
   * Sends the batch that is being filled, and goes on with the other one.
   * @returns false when the client has not taken the other one yet; the stream is woken when it has
   */
  #flush(isLast = false): boolean {
    if (this.#spare === undefined) return false
    const batch = this.#filling
    const { counters, now, sink } = this.#parts
    counters.flowsSent += batch.count
    if (this.#lost.hasKernel || this.#lost.hasOwn) {
      const flows = batch.count
      this.#lost.write(batch, now(), isLast)
      counters.lostEventsSent += batch.count - flows
    }
    if (batch.isEmpty) return true
    this.#filling = this.#spare
    this.#spare = undefined
    sink.send(batch, () => this.#onTaken(batch))
    return true
  }

  #onTaken(batch: FramedBatch): void {
    batch.clear()
    this.#spare = batch
    if (this.#isClosed) return
    if (this.#isDone) this.#atEnd()
    else this.#wake()
  }

  /** Frees everything; sends nothing more. */
  [Symbol.dispose](): void {
    if (this.#isClosed) return
    this.#isClosed = true
    clearTimeout(this.#lostTimer)
    for (const subscription of this.#subscriptions) subscription[Symbol.dispose]()
  }
}
