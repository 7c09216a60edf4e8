import { onTestFinished } from 'vitest'
import { KernelFilter } from '../../collector/filtering/index.ts'
import { CollectorState } from '../../collector/state.ts'
import { Judge } from '../../filters/judge.ts'
import { compileSelector } from '../../filters/label-selector.ts'
import type { Predicate } from '../../filters/predicate.ts'
import { ALL_KINDS, type FilterConsumer, type FilterRule, type RuleSet } from '../../filters/rules.ts'
import type { PodFacts } from '../../model/contracts.ts'
import { EndpointKind, FLOW_EVENT } from '../../model/layouts.gen.ts'
import { KernelPrograms } from './kernel-programs.ts'
import { ethernet, ipv4, packet, TcpFlag, tcp } from './packets.ts'

/** Test runs are on the loopback device. */
export const IFINDEX = 1
export const NODE = 'node-1'
export const WITNESS = 29

export const pod = (namespace: string, prefix: string, side: 'source' | 'destination' = 'source'): Predicate => ({
  op: 'pod',
  side,
  names: [{ namespace, prefix }],
})
export const identity = (side: 'source' | 'destination', ...values: number[]): Predicate => ({
  op: 'identity',
  side,
  values,
})

export function rule(id: string, predicate: Predicate, effect: 'include' | 'exclude' = 'include'): FilterRule {
  return { id, effect, predicate, origin: { kind: 'query', name: 'test', path: '', label: '', text: id } }
}

export function consumer(bit: number, ...rules: FilterRule[]): FilterConsumer {
  return { name: `consumer/${bit}`, bit, kinds: ALL_KINDS, isOn: true, rules }
}

/** With one that takes everything, so that there is a record of every packet. */
export function setOf(...consumers: FilterConsumer[]): RuleSet {
  return { consumers: [...consumers, consumer(WITNESS)] }
}

export function facts(namespace: string, name: string, ip: string, fields: Partial<PodFacts> = {}): PodFacts {
  return {
    ...{ namespace, name, uid: `${namespace}/${name}`, ips: [ip], labels: {}, namespaceLabels: {} },
    ...{ serviceAccount: '', workload: undefined, nodeName: 'node-2', hostNetwork: false },
    ...fields,
  }
}

export function newState(): CollectorState {
  return new CollectorState({ nodeName: NODE, uuidSeed: new Uint32Array(4), history: { capacity: 16 } })
}

/** A node with one device, whose pod is shop/client at 10.0.0.1, and every packet in a record. */
export function makeNode(
  k = new KernelPrograms({ programs: ['pod_egress', 'flow_sweep'], constants: { per_packet: 1 } }),
) {
  k.watch(IFINDEX, 1, EndpointKind.POD)
  const state = newState()
  state.endpoints.addInterface({ ifindex: IFINDEX, name: 'veth', ips: ['10.0.0.1'] })
  state.upsertPod(facts('shop', 'client', '10.0.0.1', { nodeName: NODE }))
  const judge = new Judge({ historyEnd: () => state.history.end })
  const filter = new KernelFilter({ maps: k, ring: k.ring, state, judge })
  onTestFinished(async () => {
    await filter[Symbol.asyncDispose]()
    k[Symbol.dispose]()
  })
  return { k, state, judge, filter, send: (ip: string, port = 80) => send(k, ip, port) }
}

/** Sends a packet of the pod's. @returns flow_event.consumers of its record, below the witness's; undefined for none */
export function send(k: KernelPrograms, dst: string, port = 80): number | undefined {
  const l4 = tcp({ flags: TcpFlag.ACK, srcPort: 40_000, dstPort: port })
  k.run('pod_egress', packet(ethernet(), ipv4({ src: '10.0.0.1', dst }), l4))
  let bits: number | undefined
  for (let at = k.ring.next(); at >= 0; at = k.ring.next()) bits = k.ring.u32[(at + FLOW_EVENT.consumers) >> 2]!
  k.ring.release(k.ring.position)
  return bits === undefined ? undefined : bits & ((1 << WITNESS) - 1)
}

export function selector(key: string, value: string) {
  return compileSelector(`${key}=${value}`)
}
