import type { ReflectorState } from './reflector.ts'

/** As model/contracts.ts has it. */
interface MetricSink {
  counter(name: string, help: string, value: number, labels?: Readonly<Record<string, string>>): void
  gauge(name: string, help: string, value: number, labels?: Readonly<Record<string, string>>): void
}

/** What reflectors tell of themselves at a scrape; `resource` is one of those that the agent follows. */
export function collectReflector(state: ReflectorState, sink: MetricSink): void {
  const labels = { resource: state.resource }
  sink.gauge('sluice_kubernetes_objects', 'Objects known', state.objects, labels)
  const synced = state.synced ? 1 : 0
  sink.gauge('sluice_kubernetes_synced', '1 when everything there is has been listed once', synced, labels)
  sink.gauge('sluice_kubernetes_watching', '1 while changes are followed', state.watching ? 1 : 0, labels)
  sink.counter('sluice_kubernetes_lists_total', 'Lists of all objects begun', state.lists, labels)
  sink.counter('sluice_kubernetes_watches_total', 'Watches begun', state.watches, labels)
  sink.counter('sluice_kubernetes_events_total', 'Changes and bookmarks received', state.events, labels)
  sink.counter('sluice_kubernetes_refused_total', 'Objects that found the table full', state.refused, labels)
  sink.counter('sluice_kubernetes_unreadable_total', 'Objects that could not be read', state.unreadable, labels)
  sink.counter('sluice_kubernetes_handler_errors_total', 'Objects whose use failed', state.handlerErrors, labels)
  for (const [reason, count] of state.failures) {
    const help = 'Requests that failed, by why'
    sink.counter('sluice_kubernetes_failures_total', help, count, { resource: state.resource, reason })
  }
}
