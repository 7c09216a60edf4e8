import { setImmediate } from 'node:timers'
import { TimeSlice } from '../../base/time-slice.ts'
import { traced } from '../../base/tracing.ts'
import type { TelemetrySource } from '../../model/contracts.ts'
import type { StageLedger } from '../../model/ledger.ts'
import { type MetricsRegistry, registryText } from './registry-text.ts'
import { FamilyRenderer, PartPool, ScrapeText } from './render.ts'
import { collectLedger, SampleCollector } from './sample-collector.ts'
import type { Family } from './series/family.ts'
import type { Format } from './series/text.ts'

/** Something that must read before it can tell: files of /proc. */
export interface RefreshingSource extends TelemetrySource {
  refresh(): Promise<void>
}

export interface ScrapeSources {
  readonly families: () => readonly Family[]
  readonly registry: MetricsRegistry
  readonly telemetry: Iterable<TelemetrySource>
  readonly refreshing: Iterable<RefreshingSource>
  readonly ledgers: Iterable<StageLedger>
  /** Told how long a render took and how many bytes it made. */
  readonly onRendered?: (milliseconds: number, bytes: number) => void
  /** Told when a component failed to tell of itself. */
  readonly onFailure?: (error: unknown) => void
}

/**
 * Renders scrapes, one at a time: values and text of a family are changed by one scrape alone. Scrapes that come
 * while one is rendered wait for the next, together where they want the same format, so that an answer never shows
 * less than had been counted when it was asked for.
 */
export class ScrapeQueue {
  readonly #sources: ScrapeSources
  readonly #renderer = new FamilyRenderer()
  readonly #pool = new PartPool()
  readonly #waiting = new Map<Format, Promise<ScrapeText>>()
  #tail: Promise<unknown> = Promise.resolve()
  /** Samples that components told and that were left out, at the last scrape. */
  rejected = 0
  /** Times that a component failed to tell of itself. */
  failures = 0

  constructor(sources: ScrapeSources) {
    this.#sources = sources
  }

  /** @returns the text, held for the caller, who releases it */
  async render(format: Format): Promise<ScrapeText> {
    const text = await (this.#waiting.get(format) ?? this.#enqueue(format))
    text.hold()
    return text
  }

  #enqueue(format: Format): Promise<ScrapeText> {
    const job = this.#tail.then(() => {
      this.#waiting.delete(format)
      return traced('scrape', { 'scrape.format': format }, () => this.#render(format))
    })
    this.#waiting.set(format, job)
    this.#tail = job.then(
      // Every waiter has taken its hold when the queue of promises is empty.
      (text) => setImmediate(() => text.release()),
      () => {},
    )
    return job
  }

  async #render(format: Format): Promise<ScrapeText> {
    const sources = this.#sources
    const startedMs = performance.now()
    const out = new ScrapeText(this.#pool)
    try {
      for (const source of sources.refreshing) await this.#guarded(() => source.refresh())
      const slice = new TimeSlice()
      const families = sources.families()
      await this.#renderer.render(families, format, out, slice)
      this.#renderSamples(families, format, out)
      if (slice.isOver) await slice.yield()
      out.appendText(await registryText(sources.registry, format))
      if (format === 'openmetrics') out.appendText('# EOF\n')
      sources.onRendered?.(performance.now() - startedMs, out.length)
      return out
    } catch (error) {
      out.release()
      throw error
    }
  }

  async #guarded(run: () => Promise<void>): Promise<void> {
    try {
      await run()
    } catch (error) {
      this.#fail(error)
    }
  }

  /** What one component cannot tell is missing; the scrape goes on. */
  #fail(error: unknown): void {
    this.failures++
    this.#sources.onFailure?.(error)
  }

  #renderSamples(families: readonly Family[], format: Format, out: ScrapeText): void {
    const { registry, refreshing, telemetry, ledgers } = this.#sources
    const reserved = new Set(families.map((family) => family.name))
    for (const metric of registry.getMetricsAsArray()) reserved.add(metric.name)
    const collector = new SampleCollector(reserved)
    for (const source of joined(refreshing, telemetry)) {
      try {
        source.collect(collector)
      } catch (error) {
        this.#fail(error)
      }
    }
    for (const ledger of ledgers) collectLedger(ledger, collector)
    this.rejected = collector.rejected
    for (const piece of collector.text(format)) out.appendText(piece)
  }
}

/** Both, read anew each time, so that either may grow. */
export function joined<T>(first: Iterable<T>, second: Iterable<T>): Iterable<T> {
  return {
    *[Symbol.iterator]() {
      yield* first
      yield* second
    },
  }
}
