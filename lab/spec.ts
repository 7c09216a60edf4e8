import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { z } from 'zod'
import { errorText, SluiceError } from '../base/errors.ts'
import { describeIssues, parseYaml } from '../base/yaml-document.ts'
import { DEMO_LAB } from './paths.ts'
import { runSchema } from './workloads/roles.ts'

const dnsLabel = z.string().regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, 'must be a DNS label: a-z, 0-9 and -')
const dnsName = z.string().regex(/^[a-z0-9]([-.a-z0-9]{0,250}[a-z0-9])?$/, 'must be a DNS name: a-z, 0-9, - and .')
const address = z.string().refine((text) => isIP(text) !== 0, 'must be an IPv4 or IPv6 address')
const address4 = z.string().refine((text) => isIP(text) === 4, 'must be an IPv4 address')
const cidr = z.string().refine((text) => isIP(text.split('/')[0]!) !== 0, 'must be an address or a CIDR')
const labels = z.record(z.string(), z.string()).default({})
/** `namespace/name` of a pod of the same file. */
const podRef = z.string().regex(/^[-a-z0-9]+\/[-.a-z0-9]+$/, 'must be namespace/pod')
const port = z.int().min(1).max(65535)

const podSchema = z.strictObject({
  namespace: dnsLabel,
  name: dnsName,
  /** Default: the first node. */
  node: dnsName.optional(),
  labels,
  serviceAccount: z.string().default('default'),
  workload: z.strictObject({ name: dnsName, kind: z.string().min(1) }).optional(),
  run: z.array(runSchema).default([]),
})

const serviceSchema = z.strictObject({
  namespace: dnsLabel,
  name: dnsLabel,
  /** Pods behind it. With `ip`, exactly one: the address is routed to it, there is no load balancer here. */
  pods: z.array(podRef).min(1),
  /** Cluster address. Without one the service is headless: its name resolves to its pods. */
  ip: address4.optional(),
  ports: z.array(z.strictObject({ port, protocol: z.enum(['TCP', 'UDP', 'SCTP']).default('TCP') })).default([]),
})

const worldSchema = z.strictObject({
  /** DNS name; the lab's DNS server answers for it. */
  name: dnsName,
  ips: z.array(address).min(1),
  run: z.array(runSchema).default([]),
})

/** A route of every node that loses packets on purpose: each gives another drop reason of the kernel. */
const routeSchema = z.strictObject({
  to: cidr,
  /** `stale`: on the link of a pod, to an address that nobody there answers for. */
  kind: z.enum(['blackhole', 'unreachable', 'prohibit', 'stale']),
  pod: podRef.optional(),
})

/** Packets that a firewall of the node drops (needs `nft`). */
const denySchema = z.strictObject({ from: podRef, to: podRef, protocol: z.enum(['tcp', 'udp']), port })

/** A rate limit (tc tbf) on the node's side of a pod's link, towards the pod. */
const shapeSchema = z.strictObject({
  pod: podRef,
  rate: z.string().regex(/^\d+(k|m|g)?bit$/, 'must be like 2mbit'),
  burst: z.string().default('16kb'),
  limit: z.string().default('24kb'),
})

const labSchema = z.strictObject({
  cluster: dnsLabel.default('default'),
  nodes: z
    .array(z.strictObject({ name: dnsName, labels }))
    .min(1)
    .max(200)
    .default([{ name: 'node-1', labels: {} }]),
  namespaces: z.record(dnsLabel, z.strictObject({ labels })).default({}),
  pods: z.array(podSchema).default([]),
  services: z.array(serviceSchema).default([]),
  world: z.array(worldSchema).default([]),
  cidrs: z.array(z.strictObject({ cidr, labels: z.array(z.string()) })).default([]),
  routes: z.array(routeSchema).default([]),
  deny: z.array(denySchema).default([]),
  shape: z.array(shapeSchema).default([]),
})

/** A lab as it is described: nodes, pods and what runs in them. All defaults are filled in. */
export type LabSpec = z.output<typeof labSchema>
/** The same before defaults: what tests write. */
export type LabInput = z.input<typeof labSchema>
export type PodSpec = LabSpec['pods'][number]
export type PodInput = z.input<typeof podSchema>

/** Longest lab file. 200 nodes of 245 pods at 200 bytes each are 10 MB. */
const MAX_FILE_BYTES = 16 << 20

/**
 * Checks a lab that code describes.
 *
 * @throws SluiceError SLUICE_LAB_INVALID with every mistake, each with its path
 */
export function parseLabSpec(input: LabInput): LabSpec {
  return crossCheck(parsed(labSchema, input, 'the lab'), 'the lab')
}

/** Checks one more pod for a lab that is up. @throws SluiceError SLUICE_LAB_INVALID */
export function parsePodSpec(input: PodInput): PodSpec {
  return parsed(podSchema, input, 'the pod')
}

/**
 * Reads a lab file (YAML).
 *
 * @throws SluiceError SLUICE_LAB_INVALID with every mistake: file, line, key and value
 */
export function loadLabSpec(path: string): LabSpec {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new SluiceError('SLUICE_LAB_INVALID', `Cannot read lab file "${path}": ${errorText(cause)}`, {
      cause,
      remedy: `Give the path of a lab file, for example ${DEMO_LAB}`,
    })
  }
  const spec = parseYaml(text, labSchema, { file: path, code: 'SLUICE_LAB_INVALID', maxBytes: MAX_FILE_BYTES })
  return crossCheck(spec, `lab file "${path}"`)
}

function parsed<T extends z.ZodType>(schema: T, input: unknown, what: string): z.output<T> {
  const result = schema.safeParse(input)
  if (result.success) return result.data
  throw invalid(
    what,
    describeIssues(result.error.issues, input).map((problem) => problem.text),
  )
}

function invalid(what: string, problems: readonly string[]): SluiceError {
  return new SluiceError('SLUICE_LAB_INVALID', `Cannot use ${what}: ${problems.join('; ')}`)
}

/** What a schema alone cannot say: names that must exist, or must not exist twice. */
function crossCheck(spec: LabSpec, what: string): LabSpec {
  const problems: string[] = []
  const once = (what: string, names: string[]) => {
    const seen = new Set<string>()
    for (const name of names) {
      if (seen.has(name)) problems.push(`${what}: "${name}" is there twice`)
      seen.add(name)
    }
    return seen
  }
  const nodes = once(
    'nodes',
    spec.nodes.map((node) => node.name),
  )
  const pods = once(
    'pods',
    spec.pods.map((pod) => `${pod.namespace}/${pod.name}`),
  )
  once(
    'services',
    spec.services.map((service) => `${service.namespace}/${service.name}`),
  )
  once('addresses', [...spec.services.flatMap((s) => s.ip ?? []), ...spec.world.flatMap((host) => host.ips)])
  const pod = (path: string, ref: string | undefined) => {
    if (ref !== undefined && !pods.has(ref)) problems.push(`${path}: "${ref}" is no pod of this lab`)
  }
  spec.pods.forEach((each, i) => {
    if (each.node !== undefined && !nodes.has(each.node)) {
      problems.push(`pods[${i}].node: "${each.node}" is no node of this lab, nodes are ${[...nodes].join(', ')}`)
    }
  })
  spec.services.forEach((service, i) => {
    for (const ref of service.pods) pod(`services[${i}].pods`, ref)
    if (service.ip !== undefined && service.pods.length !== 1) {
      problems.push(`services[${i}].pods: a service with an address has exactly one pod, not ${service.pods.length}`)
    }
  })
  spec.routes.forEach((route, i) => {
    pod(`routes[${i}].pod`, route.pod)
    if ((route.kind === 'stale') !== (route.pod !== undefined)) {
      problems.push(`routes[${i}].pod: goes with kind "stale" and only with it`)
    }
  })
  spec.deny.forEach((rule, i) => {
    pod(`deny[${i}].from`, rule.from)
    pod(`deny[${i}].to`, rule.to)
  })
  spec.shape.forEach((shape, i) => {
    pod(`shape[${i}].pod`, shape.pod)
  })
  if (problems.length > 0) throw invalid(what, problems)
  return spec
}
