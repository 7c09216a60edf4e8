import type { LostRecords } from '../../model/contracts.ts'
import { JsonMembers } from './json-text.ts'

/** flow.proto LostEventSource. */
const SOURCES = ['UNKNOWN_LOST_EVENT_SOURCE', 'PERF_EVENT_RING_BUFFER', 'OBSERVER_EVENTS_QUEUE', 'HUBBLE_RING_BUFFER']
const HISTORY = 3
/** 128 lines of at most 500 bytes fit into half of the smallest chunk; more CPUs are added up without their number. */
const MAX_ENTRIES = 128

/**
 * What was lost before it became a line, to be written as Hubble's lost_events: added up per source and CPU until the
 * next chunk goes out, so that a disk that stands still does not make a queue of them.
 */
export class LostLines {
  readonly #entries = new Map<string, LostRecords>()

  get isEmpty(): boolean {
    return this.#entries.size === 0
  }

  add(lost: LostRecords): void {
    if (lost.count === 0) return
    const isFull = this.#entries.size >= MAX_ENTRIES
    const named = `${lost.source}/${lost.cpu ?? ''}`
    const key = isFull && !this.#entries.has(named) ? `${lost.source}/` : named
    const known = this.#entries.get(key)
    this.#entries.set(key, {
      source: lost.source,
      cpu: key === named ? lost.cpu : undefined,
      count: lost.count + (known?.count ?? 0),
      firstMs: Math.min(lost.firstMs, known?.firstMs ?? Number.POSITIVE_INFINITY),
      lastMs: Math.max(lost.lastMs, known?.lastMs ?? 0),
    })
  }

  /** Flows of the history that this log lost: they were overwritten before the disk took them. */
  addOverrun(count: number, nowMs: number): void {
    this.add({ source: HISTORY, count, cpu: undefined, firstMs: nowMs, lastMs: nowMs })
  }

  /** Takes all entries out, one line each. @param nodeName bare node name, as Hubble's exporter has it here */
  take(nodeName: string): string[] {
    const lines: string[] = []
    for (const { source, count, cpu, firstMs, lastMs } of this.#entries.values()) {
      const event = new JsonMembers()
      const name = SOURCES[source]
      if (source !== 0) event.raw('source', name === undefined ? String(source) : `"${name}"`)
      event.long('num_events_lost', count)
      if (cpu !== undefined) event.raw('cpu', String(cpu))
      event.string('first', timeText(firstMs)).string('last', timeText(lastMs))
      const line = new JsonMembers().raw('lost_events', event.toString()).string('node_name', nodeName)
      lines.push(`${line.string('time', timeText(lastMs))}\n`)
    }
    this.#entries.clear()
    return lines
  }
}

/** protojson's Timestamp of whole milliseconds. */
function timeText(timeMs: number): string {
  return new Date(Math.floor(timeMs)).toISOString().replace('.000Z', 'Z')
}
