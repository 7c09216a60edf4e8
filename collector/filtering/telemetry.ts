import type { TelemetrySink } from '../../model/contracts.ts'

/** What KernelFilter tells of itself. */
export interface KernelFilterFacts {
  readonly enabled: boolean
  readonly applied: number
  readonly applyMs: number
  readonly longestSliceMs: number
  readonly reevaluations: number
  readonly failures: number
  readonly pending: number
  readonly addresses: number
  readonly addressesRefused: number
  readonly classes: number
  readonly undecidedEndpoints: number
  readonly matches: number
  readonly maxMatches: number
}

export function collectTelemetry(sink: TelemetrySink, facts: KernelFilterFacts): void {
  sink.gauge('sluice_filter_kernel_enabled', 'Whether the kernel judges events', facts.enabled ? 1 : 0)
  sink.counter('sluice_filter_kernel_applied_total', 'Sets of rules that came into force', facts.applied)
  sink.gauge('sluice_filter_kernel_apply_seconds', 'Time that the last set of rules took', facts.applyMs / 1000)
  sink.gauge(
    'sluice_filter_kernel_slice_longest_seconds',
    'Longest hold of the event loop by a change of rules',
    facts.longestSliceMs / 1000,
  )
  sink.counter(
    'sluice_filter_kernel_reevaluations_total',
    'Changes of endpoints that had flows judged again',
    facts.reevaluations,
  )
  sink.counter('sluice_filter_kernel_failures_total', 'Writes that the kernel refused', facts.failures)
  sink.gauge('sluice_filter_kernel_pending', 'Changes of endpoints not written yet', facts.pending)
  sink.gauge('sluice_filter_kernel_addresses', 'Addresses that the kernel tells apart', facts.addresses)
  sink.counter('sluice_filter_kernel_addresses_refused_total', 'Addresses without room', facts.addressesRefused)
  sink.gauge('sluice_filter_kernel_classes', 'Classes of endpoints in use', facts.classes)
  sink.gauge(
    'sluice_filter_kernel_undecided_endpoints',
    'Endpoints whose flows user space decides: the table of classes is full',
    facts.undecidedEndpoints,
  )
  sink.gauge('sluice_filter_kernel_matches', 'Combinations of rules met', facts.matches)
  sink.gauge('sluice_filter_kernel_matches_max', 'Combinations that fit', facts.maxMatches)
}
