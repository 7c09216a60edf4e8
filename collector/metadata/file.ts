import { isIP } from 'node:net'
import { isCollection, isMap, isScalar, LineCounter, type Node } from 'yaml'
import { z } from 'zod'
import { SluiceError } from '../../base/errors.ts'
import { parseCidr } from '../../base/ip.ts'
import { refusing, shortened, shownValue, yamlDocument } from '../../base/yaml-document.ts'
import type { CidrFacts, NodeFacts, PodFacts, ServiceFacts } from '../../model/contracts.ts'

/** Entries of each kind in one file; the tables behind it hold as many pods. */
export const MAX_ENTRIES = 65_536
const MAX_MISTAKES = 20

/** All that a metadata file says. */
export interface Metadata {
  readonly pods: readonly PodFacts[]
  readonly nodes: readonly NodeFacts[]
  readonly services: readonly ServiceFacts[]
  readonly cidrs: readonly CidrFacts[]
}

const name = z.string('want text').regex(/^[A-Za-z0-9]([-_.A-Za-z0-9]{0,251}[A-Za-z0-9])?$/, 'want a Kubernetes name')
const ip = z
  .string('want text')
  .refine((text) => isIP(text) !== 0 && !text.includes('%'), 'want an IPv4 or IPv6 address')
const ips = z.array(ip, 'want a list of addresses').max(16, 'want at most 16 addresses')
const labels = z.record(
  z.string().min(1).max(317),
  z.string('want text: write the value in quotes').max(4096),
  'want key: value',
)
const entries = <T extends z.ZodType>(entry: T) => z.array(entry, 'want a list').max(MAX_ENTRIES).default([])

const pod = z.strictObject({
  namespace: name,
  name,
  uid: z.string('want text').max(128).default(''),
  ips,
  labels: labels.default({}),
  namespaceLabels: labels.default({}),
  serviceAccount: z.string('want text').max(253).default(''),
  workload: z.strictObject({ name, kind: name }).optional(),
  nodeName: z.string('want text').max(253).default(''),
  hostNetwork: z.boolean('want true or false').default(false),
})

const node = z.strictObject({ name, ips, labels: labels.default({}) })

const service = z.strictObject({
  namespace: name,
  name,
  ips,
  ports: z
    .array(
      z.strictObject({
        port: z.int('want a whole number').min(1, 'want 1 to 65535').max(65_535, 'want 1 to 65535'),
        protocol: z.enum(['TCP', 'UDP', 'SCTP'], 'want TCP, UDP or SCTP').default('TCP'),
      }),
      'want a list of ports',
    )
    .max(256)
    .default([]),
})

const cidr = z.strictObject({
  cidr: z.string('want text').refine((text) => parseCidr(text) !== undefined, 'want a range such as 203.0.113.0/24'),
  labels: z
    .array(z.string().regex(/^[a-z0-9]+:[^\s]+$/, 'want source:key or source:key=value'), 'want a list of labels')
    .max(64)
    .default([]),
})

const schema = z.strictObject({
  pods: entries(pod),
  nodes: entries(node),
  services: entries(service),
  cidrs: entries(cidr),
})

/**
 * Reads a metadata file's text. Nothing is coerced.
 *
 * @param path named in errors
 * @throws SluiceError SLUICE_METADATA_INVALID with a line for each mistake, up to 20: file, line, key, value, what is
 *   wanted
 */
export function parseMetadata(text: string, path: string): Metadata {
  const lines = new LineCounter()
  const refuse = (problem: string) => invalid(path, [`${path}:1: ${problem}`])
  const document = yamlDocument(text, lines, refuse)
  const broken = document.errors.map((error) => `${path}:${lines.linePos(error.pos[0]).line}: ${error.message}`)
  if (broken.length > 0) throw invalid(path, broken)
  const value: unknown = refusing(() => document.toJS({ maxAliasCount: 100 }), refuse) ?? {}
  const locate = (at: readonly PropertyKey[], key?: string) => lineOf(document.contents, at, lines, key)
  const result = schema.safeParse(value)
  const mistakes = result.success
    ? contradictions(result.data).map(({ at, text }) => `${path}:${locate(at)}: ${keyText(at)}: ${text}`)
    : result.error.issues.flatMap((issue) => describe(issue, value, path, locate))
  if (mistakes.length > 0) throw invalid(path, mistakes)
  const data = result.data!
  return { ...data, pods: data.pods.map((each) => ({ ...each, workload: each.workload })) }
}

function invalid(path: string, mistakes: readonly string[]): SluiceError {
  const shown = mistakes.slice(0, MAX_MISTAKES).map(shortened)
  if (mistakes.length > shown.length) shown.push(`and ${mistakes.length - shown.length} more`)
  return new SluiceError('SLUICE_METADATA_INVALID', `Cannot use metadata file "${path}":\n${shown.join('\n')}`)
}

type Locate = (at: readonly PropertyKey[], key?: string) => number

function describe(issue: z.core.$ZodIssue, root: unknown, path: string, locate: Locate): string[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const at = [...issue.path, key]
      return `${path}:${locate(issue.path, key)}: ${keyText(at)}: unknown key${knownKeys(issue.path)}`
    })
  }
  const value = valueAt(root, issue.path)
  const met = value === undefined ? 'missing' : shownValue(value)
  const text = met.length > 80 ? `${met.slice(0, 80)}...` : met
  return [`${path}:${locate(issue.path)}: ${keyText(issue.path)}: ${text}, ${issue.message}`]
}

const KEYS: Readonly<Record<string, readonly string[]>> = {
  '': Object.keys(schema.shape),
  pods: Object.keys(pod.shape),
  nodes: Object.keys(node.shape),
  services: Object.keys(service.shape),
  cidrs: Object.keys(cidr.shape),
}

function knownKeys(at: readonly PropertyKey[]): string {
  const keys = at.length <= 2 ? KEYS[String(at[0] ?? '')] : undefined
  return keys === undefined ? '' : `, want one of ${keys.join(', ')}`
}

interface Contradiction {
  readonly at: readonly PropertyKey[]
  readonly text: string
}

/** Names and pod addresses have to be unique: which one holds would depend on the order of the file. */
function contradictions(data: z.output<typeof schema>): Contradiction[] {
  const found: Contradiction[] = []
  const once = (seen: Map<string, string>, key: string, at: readonly PropertyKey[], owner: string) => {
    const other = seen.get(key)
    if (other === undefined) seen.set(key, owner)
    else found.push({ at, text: `"${key}" is given twice, first in ${other}` })
  }
  const names = {
    pods: new Map<string, string>(),
    nodes: new Map<string, string>(),
    services: new Map<string, string>(),
  }
  const addresses = new Map<string, string>()
  data.pods.forEach((each, i) => {
    once(names.pods, `${each.namespace}/${each.name}`, ['pods', i, 'name'], `pods[${i}]`)
    if (each.hostNetwork) return
    each.ips.forEach((text, j) => {
      once(addresses, text, ['pods', i, 'ips', j], `pods[${i}]`)
    })
  })
  data.nodes.forEach((each, i) => {
    once(names.nodes, each.name, ['nodes', i, 'name'], `nodes[${i}]`)
  })
  data.services.forEach((each, i) => {
    once(names.services, `${each.namespace}/${each.name}`, ['services', i, 'name'], `services[${i}]`)
  })
  return found
}

/** `pods[3].ips[0]` */
function keyText(at: readonly PropertyKey[]): string {
  let text = ''
  for (const part of at)
    text += typeof part === 'number' ? `[${part}]` : text === '' ? String(part) : `.${String(part)}`
  return text === '' ? 'file' : text
}

function valueAt(root: unknown, at: readonly PropertyKey[]): unknown {
  let value = root
  for (const part of at) value = (value as Record<PropertyKey, unknown> | undefined)?.[part]
  return value
}

/** Line of the node at a path, or of the deepest one that exists; of a key of it when one is given. */
function lineOf(root: unknown, at: readonly PropertyKey[], lines: LineCounter, key?: string): number {
  let current = root as Node | null
  for (const part of at) {
    const next = isCollection(current) ? (current.get(part as string | number, true) as Node | undefined) : undefined
    if (next === undefined || next === null) break
    current = next
  }
  if (key !== undefined && isMap(current)) {
    const pair = current.items.find(({ key: name }) => isScalar(name) && String(name.value) === key)
    if (pair !== undefined) current = pair.key as Node
  }
  return lines.linePos(current?.range?.[0] ?? 0).line
}
