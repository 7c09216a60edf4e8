import type { LostRecords, TelemetrySink } from '../../model/contracts.ts'
import type { FlowView } from '../../model/flow-view.ts'
import { L7Type } from '../../model/l7.ts'
import { EventType } from '../../model/layouts.gen.ts'

/** flow.proto LostEventSource as the metric's label. */
const LOST_SOURCES = ['unknown', 'perf_event_ring_buffer', 'observer_events_queue', 'hubble_ring_buffer'] as const

/** What is counted of all records that come, whatever the metrics' filters: records lost, DNS messages. */
export class EventCounts {
  readonly #lost = new Map<string, number>()
  /** Requests and responses: Retina's node-level pair. */
  #dnsRequests = 0
  #dnsResponses = 0

  countLost(lost: LostRecords): void {
    const source = LOST_SOURCES[lost.source] ?? 'unknown'
    this.#lost.set(source, (this.#lost.get(source) ?? 0) + lost.count)
  }

  count(view: FlowView): void {
    if (view.type !== EventType.DNS) return
    const type = view.l7?.type
    if (type === L7Type.REQUEST) this.#dnsRequests++
    else if (type === L7Type.RESPONSE) this.#dnsResponses++
  }

  collect(sink: TelemetrySink): void {
    for (const source of LOST_SOURCES.slice(1)) {
      const help = 'Number of lost events, each lost record counted'
      sink.counter('hubble_lost_events_total', help, this.#lost.get(source) ?? 0, { source })
    }
    sink.counter('networkobservability_dns_request_count', 'DNS requests captured', this.#dnsRequests)
    sink.counter('networkobservability_dns_response_count', 'DNS responses captured', this.#dnsResponses)
  }
}
