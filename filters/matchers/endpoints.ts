import { endpointTest, valueTest } from '../caches.ts'
import { type LabelSelector, parseLabels } from '../label-selector.ts'
import type { NamePattern } from '../names.ts'
import type { FlowPredicate, NamespacedName, Side, WorkloadEntry } from '../predicate.ts'

export function identityTest(side: Side, values: readonly number[], slots: number): FlowPredicate {
  const wanted = new Set(values)
  return endpointTest(side, slots, (endpoint) => wanted.has(endpoint.identity))
}

export function podTest(side: Side, names: readonly NamespacedName[], slots: number): FlowPredicate {
  return endpointTest(side, slots, (endpoint) => isNamed(names, endpoint.namespace, endpoint.podName))
}

export function workloadTest(side: Side, entries: readonly WorkloadEntry[], slots: number): FlowPredicate {
  return endpointTest(side, slots, (endpoint) =>
    endpoint.workloads.some((workload) =>
      entries.some(
        (entry) =>
          (entry.name === '' || entry.name === workload.name) && (entry.kind === '' || entry.kind === workload.kind),
      ),
    ),
  )
}

export function labelTest(side: Side, selectors: readonly LabelSelector[], slots: number): FlowPredicate {
  return endpointTest(side, slots, (endpoint) => {
    const labels = parseLabels(endpoint.labels)
    return selectors.some((selector) => selector.matches(labels))
  })
}

export function clusterNameTest(side: Side, names: readonly string[], slots: number): FlowPredicate {
  const wanted = new Set(names)
  return endpointTest(side, slots, (endpoint) => wanted.has(endpoint.clusterName))
}

export function serviceTest(side: Side, names: readonly NamespacedName[], slots: number): FlowPredicate {
  return valueTest(
    slots,
    side === 'source' ? (view) => view.sourceServiceRef : (view) => view.destinationServiceRef,
    (context, ref) => context.service(ref),
    (service) => isNamed(names, service.namespace, service.name),
  )
}

export function fqdnTest(side: Side, pattern: NamePattern, slots: number): FlowPredicate {
  return valueTest(
    slots,
    side === 'source' ? (view) => view.sourceNamesRef : (view) => view.destinationNamesRef,
    (context, ref) => context.names(ref),
    (names) => names.some((name) => pattern.matches(name)),
  )
}

/** Namespace exact, name by prefix; what has neither matches nothing. */
function isNamed(wanted: readonly NamespacedName[], namespace: string, name: string): boolean {
  if (namespace === '' && name === '') return false
  return wanted.some(
    (one) =>
      (one.namespace === '' || one.namespace === namespace) && (one.prefix === '' || name.startsWith(one.prefix)),
  )
}
