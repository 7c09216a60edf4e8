import { isIP } from 'node:net'
import type { ApiObject, OwnerReference } from '../../kubernetes/index.ts'
import type { BackendFacts, NodeFacts, ServiceFacts } from '../../model/contracts.ts'
import { type ControllerReference, workloadOf } from './workload.ts'

/** A pod that lives or will, as it is kept. */
export interface PodObject {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly ips: readonly string[]
  readonly labels: Readonly<Record<string, string>>
  readonly serviceAccount: string
  readonly nodeName: string
  readonly hostNetwork: boolean
  /** Its workload as names tell it. */
  readonly workload: ControllerReference | undefined
  /** Its controller, where that may have one itself: a ReplicaSet or a Job. */
  readonly controller: ControllerReference | undefined
  readonly isTerminating: boolean
  /** Milliseconds since 1970. */
  readonly createdMs: number
}

export interface NamespaceObject {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
}

/** A ReplicaSet or a Job. */
export interface OwnerObject {
  readonly namespace: string
  readonly name: string
  readonly controller: ControllerReference | undefined
}

export interface ServiceObject extends ServiceFacts {}

/** What of an EndpointSlice is no pod's address. */
export interface SliceObject {
  readonly namespace: string
  readonly name: string
  readonly service: string
  readonly backends: readonly BackendFacts[]
}

const OWNED_KINDS = new Set(['ReplicaSet', 'Job'])
/** Pods in these phases have given their addresses back. */
const FINISHED = new Set(['Succeeded', 'Failed'])

/** @returns undefined for pods that are over: their addresses may be another one's by now */
export function podObject(object: ApiObject): PodObject | undefined {
  const { metadata } = object
  const spec = record(object['spec'])
  const status = record(object['status'])
  if (FINISHED.has(text(status['phase']))) return undefined
  const { namespace = '', name, uid } = metadata
  const labels = textRecord(metadata.labels)
  const controller = controllerOf(metadata.ownerReferences)
  const generateName = text((metadata as { generateName?: unknown }).generateName)
  const hasOwner = controller !== undefined && generateName !== '' && OWNED_KINDS.has(controller.kind)
  return {
    namespace,
    name,
    uid,
    ips: podIps(status),
    labels,
    serviceAccount: text(spec['serviceAccountName']),
    nodeName: text(spec['nodeName']),
    hostNetwork: spec['hostNetwork'] === true,
    workload: workloadOf({ generateName, labels, controller }),
    controller: hasOwner ? controller : undefined,
    isTerminating: metadata.deletionTimestamp !== undefined,
    createdMs: Date.parse(metadata.creationTimestamp ?? '') || 0,
  }
}

function podIps(status: Readonly<Record<string, unknown>>): string[] {
  const ips = list(status['podIPs']).map((each) => text(record(each)['ip']))
  // Servers before 1.20 tell one address only.
  if (ips.length === 0) ips.push(text(status['podIP']))
  return addresses(ips)
}

export function namespaceObject({ metadata }: ApiObject): NamespaceObject {
  return { name: metadata.name, labels: textRecord(metadata.labels) }
}

export function ownerObject({ metadata }: ApiObject): OwnerObject {
  const { namespace = '', name, ownerReferences } = metadata
  return { namespace, name, controller: controllerOf(ownerReferences) }
}

/**
 * A node's addresses: its own, and of each range that its pods get theirs from the first two. Those are the node's too:
 * bridges take the second one, overlay devices the first, and what the node itself sends to pods comes from there.
 */
export function nodeObject(object: ApiObject): NodeFacts {
  const spec = record(object['spec'])
  const own = list(record(object['status'])['addresses'])
    .map(record)
    .filter(({ type }) => type === 'InternalIP' || type === 'ExternalIP')
    .sort((a, b) => Number(b['type'] === 'InternalIP') - Number(a['type'] === 'InternalIP'))
    .map(({ address }) => text(address))
  const ranges = list(spec['podCIDRs']).map(text)
  if (ranges.length === 0) ranges.push(text(spec['podCIDR']))
  const ips = addresses([...own, ...ranges.flatMap(firstTwo)])
  return { name: object.metadata.name, ips, labels: textRecord(object.metadata.labels) }
}

/** `10.1.2.0/24` to `10.1.2.0`, `10.1.2.1`; ranges of less than four addresses are a pod's own. */
function firstTwo(range: string): string[] {
  const [base = '', length = ''] = range.split('/')
  const family = isIP(base)
  if (family === 0 || Number(length) > (family === 4 ? 30 : 126)) return []
  if (family === 4) return [base, base.replace(/\d+$/, (last) => String(Number(last) + 1))]
  return base.endsWith('::') ? [base, `${base}1`] : [base]
}

/** @returns undefined for services without addresses: headless ones, names of what is elsewhere */
export function serviceObject(object: ApiObject): ServiceObject | undefined {
  const spec = record(object['spec'])
  const { namespace = '', name } = object.metadata
  if (text(spec['type']) === 'ExternalName') return undefined
  const clusterIps = list(spec['clusterIPs']).map(text)
  if (clusterIps.length === 0) clusterIps.push(text(spec['clusterIP']))
  const ingress = list(record(record(object['status'])['loadBalancer'])['ingress'])
  const balancers = ingress.map((each) => text(record(each)['ip']))
  const ips = addresses([...clusterIps, ...list(spec['externalIPs']).map(text), ...balancers])
  return { namespace, name, ips, ports: list(spec['ports']).flatMap(portOf) }
}

/**
 * Addresses behind a service that are no pod's own: of services without selector, and of pods with their node's
 * network. The slices of all other pods add nothing to what pods tell.
 *
 * @param isNode whether an address is a node's
 */
export function sliceObject(object: ApiObject, isNode: (ip: string) => boolean): SliceObject | undefined {
  const { namespace = '', name, labels } = object.metadata
  const service = text(labels?.['kubernetes.io/service-name'])
  if (service === '' || object['addressType'] === 'FQDN') return undefined
  const found: string[] = []
  for (const each of list(object['endpoints'])) {
    const endpoint = record(each)
    const isPod = text(record(endpoint['targetRef'])['kind']) === 'Pod'
    for (const ip of addresses(list(endpoint['addresses']).map(text))) if (!isPod || isNode(ip)) found.push(ip)
  }
  if (found.length === 0) return undefined
  const ports = list(object['ports']).flatMap(portOf)
  return { namespace, name, service, backends: found.flatMap((ip) => ports.map((port) => ({ ip, ...port }))) }
}

function portOf(value: unknown): { port: number; protocol: 'TCP' | 'UDP' | 'SCTP' }[] {
  const { port, protocol = 'TCP' } = record(value)
  const isPort = typeof port === 'number' && Number.isInteger(port) && port > 0 && port < 65_536
  return isPort && (protocol === 'TCP' || protocol === 'UDP' || protocol === 'SCTP') ? [{ port, protocol }] : []
}

function controllerOf(references: readonly OwnerReference[] | undefined): ControllerReference | undefined {
  const found = references?.find(({ controller }) => controller === true)
  return found === undefined ? undefined : { kind: found.kind, name: found.name }
}

/** Addresses of a list that are some, each once. */
function addresses(texts: readonly string[]): string[] {
  return [...new Set(texts)].filter((each) => isIP(each) !== 0)
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

const NONE: Readonly<Record<string, string>> = {}

/** The server lets only texts into labels; an object of others would not be used. */
function textRecord(value: unknown): Readonly<Record<string, string>> {
  const entries = record(value)
  for (const key in entries) if (typeof entries[key] !== 'string') return NONE
  return value === undefined || value === null ? NONE : (entries as Record<string, string>)
}
