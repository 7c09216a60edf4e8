/**
 * Default for all families together, time series as Prometheus counts them (a histogram's label set is 14 of them).
 * A series costs about 200 bytes of rendered line with its slack and 100 of key, value and places: 100,000 are 30 MB, and
 * one scrape of them is 15 to 20 MB of text.
 */
export const DEFAULT_MAX_SERIES = 100_000

/** Default for one family: no family can take the room of all others. */
export const DEFAULT_MAX_SERIES_PER_FAMILY = 50_000

/** Series that may still be made, shared by the families of one exporter. */
export class SeriesBudget {
  readonly limit: number
  used = 0

  constructor(limit: number) {
    this.limit = limit
  }

  take(count: number): boolean {
    if (!this.hasRoom(count)) return false
    this.used += count
    return true
  }

  hasRoom(count: number): boolean {
    return this.used + count <= this.limit
  }

  give(count: number): void {
    this.used -= count
  }
}
