import type { TelemetrySink } from '../model/contracts.ts'
import { DECODE_FAILURES } from './decode.ts'
import type { Collector } from './pipeline.ts'

/** What the collector tells of itself at a scrape; the ledger's stages are told by whoever owns the scrape. */
export function collectTelemetry(collector: Collector, sink: TelemetrySink): void {
  const { state, clock, decodeLedger } = collector
  const { history, endpoints, services, learnedNames } = state
  sink.gauge('sluice_history_flows', 'Flows in the history', history.end - history.first)
  sink.gauge('sluice_history_capacity_flows', 'Flows that fit into the history', history.capacity)
  sink.gauge(
    'sluice_history_shortened_flows',
    'Flows let go early as their L7 message was overwritten',
    history.shortened,
  )
  sink.counter('sluice_history_flows_total', 'Flows admitted to the history', history.end)
  sink.gauge('sluice_l7_store_bytes', 'Bytes of L7 messages held', history.l7.used)
  sink.counter('sluice_l7_messages_total', 'L7 messages stored', history.l7.stored)
  sink.counter('sluice_l7_oversize_total', 'L7 messages too large to store', history.l7.oversize)
  for (const reason of [...DECODE_FAILURES, 'internal_error']) {
    const count = decodeLedger.lostByReason.get(reason) ?? 0
    sink.counter('sluice_decode_failures_total', 'Records that could not be read', count, { reason })
  }
  sink.counter('sluice_decode_unrecognised_total', 'L7 payloads that were no message', decodeLedger.filtered)
  sink.counter('sluice_clock_moved_total', 'Flows moved by nanoseconds to have a time of their own', clock.moved)
  sink.counter(
    'sluice_ring_released_unsettled_total',
    'Flows whose records were released before every exporter had them safe',
    collector.releasedUnsettled,
  )
  sink.gauge('sluice_turn_longest_seconds', 'Longest turn of the drain since start', collector.longestTurnMs / 1000)
  sink.gauge('sluice_endpoint_versions', 'Versions of endpoints that flows may name', endpoints.versions.size)
  sink.gauge('sluice_endpoint_addresses', 'Addresses with a known endpoint', endpoints.addresses.size)
  sink.gauge('sluice_endpoint_pods', 'Pods known, with those that went within a minute', endpoints.podCount)
  sink.counter('sluice_identity_collisions_total', 'Label sets whose number was taken', endpoints.identities.collisions)
  sink.gauge('sluice_services', 'Services known', services.size)
  sink.gauge('sluice_dns_names', 'Pairs of pod and address with DNS names', learnedNames.size)
  const refused = {
    pods: endpoints.podsRefused,
    nodes: endpoints.cluster.nodesRefused,
    services: endpoints.cluster.servicesRefused + services.refused,
    interfaces: endpoints.interfacesRefused,
    cidrs: endpoints.cluster.cidrsRefused,
    addresses: endpoints.addresses.refused,
  }
  for (const [table, count] of Object.entries(refused)) {
    sink.counter('sluice_metadata_refused_total', 'Entries that found their table full', count, { table })
  }
  const forgotten = {
    endpoint_versions: endpoints.versions.forgotten,
    dns_names: learnedNames.evicted,
    dns_name_sets: learnedNames.forgotten,
    dns_requests: collector.l7.dns.evicted,
    http_requests: collector.l7.http.evicted,
    namespaces: state.namespaces.evicted,
  }
  for (const [table, count] of Object.entries(forgotten)) {
    sink.counter('sluice_forgotten_total', 'Entries that made room before their time', count, { table })
  }
}
