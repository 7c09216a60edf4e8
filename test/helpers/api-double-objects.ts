import type { KubeObject } from './api-double-store.ts'

export interface PodSpec {
  readonly namespace: string
  readonly name: string
  readonly ip?: string
  readonly ips?: readonly string[]
  readonly uid?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly nodeName?: string
  readonly phase?: string
  readonly hostNetwork?: boolean
  readonly serviceAccount?: string
  readonly generateName?: string
  readonly owner?: { readonly kind: string; readonly name: string }
  readonly creationTimestamp?: string
  readonly deletionTimestamp?: string
  /** As much as a real pod brings that nobody here needs: volumes, conditions, managed fields; some 6 kB. */
  readonly isFull?: boolean
}

/** A pod as its kubelet tells it. */
export function pod(spec: PodSpec): KubeObject {
  const {
    namespace,
    name,
    nodeName = 'node-1',
    phase = 'Running',
    hostNetwork = false,
    serviceAccount = 'default',
  } = spec
  const ips = spec.ips ?? (spec.ip === undefined ? [] : [spec.ip])
  const owner = spec.owner && { apiVersion: 'apps/v1', uid: `uid-${spec.owner.name}`, controller: true, ...spec.owner }
  return {
    metadata: {
      namespace,
      name,
      ...(spec.uid === undefined ? {} : { uid: spec.uid }),
      ...(spec.generateName === undefined ? {} : { generateName: spec.generateName }),
      ...(spec.creationTimestamp === undefined ? {} : { creationTimestamp: spec.creationTimestamp }),
      ...(spec.deletionTimestamp === undefined ? {} : { deletionTimestamp: spec.deletionTimestamp }),
      labels: spec.labels ?? {},
      ...(owner === undefined ? {} : { ownerReferences: [owner] }),
      ...(spec.isFull === true ? { managedFields: managedFields() } : {}),
    },
    spec: {
      nodeName,
      serviceAccountName: serviceAccount,
      ...(hostNetwork ? { hostNetwork } : {}),
      ...(spec.isFull === true ? podBody() : { containers: [{ name: 'main', image: 'registry.test/app:1' }] }),
    },
    status: {
      phase,
      ...(ips.length === 0 ? {} : { podIP: ips[0], podIPs: ips.map((ip) => ({ ip })) }),
      ...(spec.isFull === true ? { conditions: conditions(), containerStatuses: containerStatuses() } : {}),
    },
  }
}

export function namespace(name: string, labels: Readonly<Record<string, string>> = {}): KubeObject {
  return { metadata: { name, labels: { 'kubernetes.io/metadata.name': name, ...labels } }, status: { phase: 'Active' } }
}

export function node(
  name: string,
  ip: string,
  options: { labels?: object; podCIDRs?: readonly string[] } = {},
): KubeObject {
  const podCIDRs = options.podCIDRs ?? []
  const addresses = [
    { type: 'Hostname', address: name },
    { type: 'InternalIP', address: ip },
  ]
  return {
    metadata: { name, labels: { 'kubernetes.io/os': 'linux', ...options.labels } },
    spec: podCIDRs.length === 0 ? {} : { podCIDR: podCIDRs[0], podCIDRs },
    status: { addresses },
  }
}

export interface ServiceSpec {
  readonly namespace: string
  readonly name: string
  readonly ip?: string
  readonly ips?: readonly string[]
  readonly ports?: readonly { readonly port: number; readonly protocol?: string }[]
  readonly selector?: object
  readonly externalIPs?: readonly string[]
  readonly loadBalancerIps?: readonly string[]
}

export function service(spec: ServiceSpec): KubeObject {
  const clusterIPs = spec.ips ?? [spec.ip ?? 'None']
  const ingress = (spec.loadBalancerIps ?? []).map((ip) => ({ ip }))
  return {
    metadata: { namespace: spec.namespace, name: spec.name },
    spec: {
      clusterIP: clusterIPs[0],
      clusterIPs,
      ports: (spec.ports ?? []).map((port) => ({ protocol: 'TCP', targetPort: port.port, ...port })),
      ...(spec.selector === undefined ? {} : { selector: spec.selector }),
      ...(spec.externalIPs === undefined ? {} : { externalIPs: spec.externalIPs }),
    },
    status: { loadBalancer: ingress.length === 0 ? {} : { ingress } },
  }
}

export interface SliceSpec {
  readonly namespace: string
  readonly name: string
  readonly service: string
  readonly addresses: readonly string[]
  readonly ports: readonly { readonly port: number; readonly protocol?: string }[]
  /** Names of the pods behind the addresses, one for each. */
  readonly pods?: readonly string[]
}

export function endpointSlice(spec: SliceSpec): KubeObject {
  return {
    metadata: { namespace: spec.namespace, name: spec.name, labels: { 'kubernetes.io/service-name': spec.service } },
    addressType: spec.addresses[0]?.includes(':') === true ? 'IPv6' : 'IPv4',
    endpoints: spec.addresses.map((address, i) => ({
      addresses: [address],
      conditions: { ready: true },
      ...(spec.pods?.[i] === undefined
        ? {}
        : { targetRef: { kind: 'Pod', namespace: spec.namespace, name: spec.pods[i] } }),
    })),
    ports: spec.ports.map(({ port, protocol = 'TCP' }) => ({ name: `p${port}`, port, protocol })),
  }
}

/** A ReplicaSet, a Job: an object that a pod names as its controller and that may have one itself. */
export function owner(
  ns: string,
  name: string,
  controller?: { readonly kind: string; readonly name: string },
): KubeObject {
  const reference = controller && {
    apiVersion: 'apps/v1',
    uid: `uid-${controller.name}`,
    controller: true,
    ...controller,
  }
  const references = reference === undefined ? {} : { ownerReferences: [reference] }
  return { metadata: { namespace: ns, name, uid: `uid-${name}`, ...references }, spec: { replicas: 1 } }
}

function podBody(): object {
  const env = Array.from({ length: 12 }, (_, i) => ({ name: `SETTING_${i}`, value: `value of the setting ${i}` }))
  const probe = { httpGet: { path: '/healthz', port: 8080, scheme: 'HTTP' }, timeoutSeconds: 1, periodSeconds: 10 }
  const volumeMounts = ['config', 'cache', 'kube-api-access-7xv2p'].map((name) => ({
    name,
    readOnly: true,
    mountPath: `/var/run/${name}`,
  }))
  const container = {
    name: 'main',
    image: 'registry.test/team/application:v1.24.3',
    ports: [{ containerPort: 8080, protocol: 'TCP', name: 'http' }],
    env,
    resources: { limits: { cpu: '500m', memory: '256Mi' }, requests: { cpu: '100m', memory: '128Mi' } },
    volumeMounts,
    livenessProbe: probe,
    readinessProbe: probe,
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    imagePullPolicy: 'IfNotPresent',
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] }, runAsNonRoot: true },
  }
  const tolerations = ['not-ready', 'unreachable'].map((name) => ({
    key: `node.kubernetes.io/${name}`,
    operator: 'Exists',
    effect: 'NoExecute',
    tolerationSeconds: 300,
  }))
  const volumes = [
    { name: 'config', configMap: { name: 'application', defaultMode: 420 } },
    { name: 'cache', emptyDir: {} },
    { name: 'kube-api-access-7xv2p', projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } },
  ]
  return { volumes, containers: [container], tolerations, restartPolicy: 'Always', schedulerName: 'default-scheduler' }
}

function conditions(): object[] {
  return ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map((type) => ({
    type,
    status: 'True',
    lastProbeTime: null,
    lastTransitionTime: '2026-11-20T10:00:00Z',
  }))
}

function containerStatuses(): object[] {
  const hash = 'sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'
  const state = { running: { startedAt: '2026-11-20T10:00:00Z' } }
  const ids = { image: 'registry.test/team/application:v1.24.3', imageID: `registry.test/team/application@${hash}` }
  return [
    { name: 'main', state, lastState: {}, ready: true, restartCount: 0, ...ids, containerID: `containerd://${hash}` },
  ]
}

function managedFields(): object[] {
  const fields = (prefix: string) =>
    Object.fromEntries(Array.from({ length: 24 }, (_, i) => [`f:${prefix}Field${i}`, { '.': {}, [`f:value${i}`]: {} }]))
  return ['kube-controller-manager', 'kubelet'].map((manager) => ({
    manager,
    operation: 'Update',
    apiVersion: 'v1',
    time: '2026-11-20T10:00:00Z',
    fieldsType: 'FieldsV1',
    fieldsV1: { 'f:metadata': fields('meta'), 'f:spec': fields('spec') },
  }))
}
