import { RecordClock } from '../../collector/clock.ts'
import { KernelFilter } from '../../collector/filtering/index.ts'
import { Collector } from '../../collector/pipeline.ts'
import { CollectorState } from '../../collector/state.ts'
import { Judge } from '../../filters/judge.ts'
import { compileSelector } from '../../filters/label-selector.ts'
import type { Predicate } from '../../filters/predicate.ts'
import { ALL_KINDS, type FilterConsumer, type FilterRule, type RuleEffect, type RuleSet } from '../../filters/rules.ts'
import type { Exporter, PodFacts } from '../../model/contracts.ts'
import { EndpointKind } from '../../model/layouts.gen.ts'
import { bootToWallOffset } from '../../native/index.ts'
import { KernelPrograms } from '../../test/helpers/kernel-programs.ts'

/** Test runs are on the loopback device. */
const IFINDEX = 1
const NODE = 'node-1'

export const POD_IP = '10.0.0.1'
export const PEER_IP = '10.0.0.2'

/** The programs, the filters and the collector as the agent connects them, with one pod that packets are put to. */
export class FilterNode implements AsyncDisposable {
  readonly k: KernelPrograms
  readonly state: CollectorState
  readonly judge: Judge
  readonly filter: KernelFilter
  collector: Collector | undefined

  /** @param isEach whether every packet is an event */
  constructor(isEach: boolean, k: KernelPrograms = programs(isEach)) {
    this.k = k
    this.k.watch(IFINDEX, 1, EndpointKind.POD)
    const uuidSeed = new Uint32Array([1, 2, 3, 4])
    this.state = new CollectorState({ nodeName: NODE, uuidSeed, history: { capacity: 100_000 } })
    this.state.endpoints.addInterface({ ifindex: IFINDEX, name: 'veth', ips: [POD_IP] })
    this.state.upsertPod(podFacts('shop', 'client-1', POD_IP, {}, NODE))
    this.state.upsertPod(podFacts('shop', 'web-1', PEER_IP, { app: 'web' }))
    this.judge = new Judge({ historyEnd: () => this.state.history.end })
    this.filter = new KernelFilter({ maps: this.k, ring: this.k.ring, state: this.state, judge: this.judge })
  }

  /** From now on records go from the ring into the history, and on. */
  collect(exporters: readonly Exporter[]): void {
    this.collector = new Collector({
      state: this.state,
      clock: new RecordClock({ readOffset: () => bootToWallOffset().offsetNs }),
      sources: [{ name: 'kernel', reader: this.k.ring }],
      exporters,
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.filter[Symbol.asyncDispose]()
    this.k[Symbol.dispose]()
  }
}

function programs(isEach: boolean): KernelPrograms {
  return new KernelPrograms({
    programs: ['pod_egress', 'flow_sweep'],
    constants: { per_packet: isEach ? 1 : 0 },
    maxEntries: { events: 16 << 20, flows: 262_144 },
  })
}

export function podFacts(
  namespace: string,
  name: string,
  ip: string,
  labels: Readonly<Record<string, string>>,
  nodeName = 'node-2',
): PodFacts {
  return {
    ...{ namespace, name, uid: `${namespace}/${name}`, ips: [ip], labels, namespaceLabels: {}, nodeName },
    ...{ serviceAccount: '', workload: undefined, hostNetwork: false },
  }
}

export function makeRule(id: string, effect: RuleEffect, predicate: Predicate): FilterRule {
  return { id, effect, predicate, origin: { kind: 'configuration', name: 'bench', path: '', label: '', text: id } }
}

export function makeConsumer(name: string, bit: number, rules: readonly FilterRule[]): FilterConsumer {
  return { name, bit, kinds: ALL_KINDS, isOn: true, rules }
}

/** That many rules of each of two consumers, by labels, pods and ports; none is about the pod's packets. */
export function rulesOf(count: number): RuleSet {
  const rules = Array.from({ length: count }, (_, i) => {
    const pods: Predicate = { op: 'pod', side: 'source', names: [{ namespace: `other-${i}`, prefix: '' }] }
    if (i % 3 === 0) return makeRule(`r${i}`, 'include', pods)
    const selectors = [compileSelector(`app=app-${i}`)]
    const labels: Predicate = { op: 'label', side: 'destination', selectors }
    if (i % 3 === 1) return makeRule(`r${i}`, 'include', labels)
    const ports: Predicate = { op: 'port', side: 'destination', ports: [1000 + i] }
    return makeRule(`r${i}`, 'include', { op: 'all', of: [pods, ports] })
  })
  return { consumers: [makeConsumer('metric/flow', 0, rules), makeConsumer('log', 15, rules)] }
}
