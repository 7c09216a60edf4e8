import type { FlowFilterMessage } from '../hubble/message.ts'
import { LIMITS } from './limits.ts'
import { type Problem, wanted } from './problem.ts'
import type { EndpointSpec, FilterSpec } from './schema.ts'
import { selectorText } from './selector.ts'
import {
  addressText,
  closestReason,
  DIRECTIONS,
  dropReasons,
  IP_VERSIONS,
  portNumber,
  tcpFlags,
  VERDICTS,
} from './values.ts'

type Mutable<T> = { -readonly [K in keyof T]: T[K] }
type Path = readonly PropertyKey[]

/** A selector that no flow's end can meet: stands where a filter says something that cannot be. */
const NEVER = 'never,!never'

/**
 * A filter of a resource as Hubble's FlowFilter: what it means is what Hubble would do with it.
 *
 * @param path of the filter in its document
 * @param warn told what the author hardly meant
 */
export function flowFilterOf(spec: FilterSpec, path: Path, warn: (problem: Problem) => void): FlowFilterMessage {
  const message: Mutable<FlowFilterMessage> = {}
  if (spec.protocol !== undefined) message.protocol = spec.protocol.map((name) => name.toLowerCase())
  if (spec.verdict !== undefined) message.verdict = numbers(spec.verdict, VERDICTS)
  if (spec.trafficDirection !== undefined) message.traffic_direction = numbers(spec.trafficDirection, DIRECTIONS)
  if (spec.ipVersion !== undefined) message.ip_version = numbers(spec.ipVersion, IP_VERSIONS)
  if (spec.reply !== undefined) message.reply = [spec.reply]
  if (spec.tcpFlags !== undefined) message.tcp_flags = spec.tcpFlags.map((text) => tcpFlags(text)!)
  if (spec.nodeName !== undefined) message.node_name = spec.nodeName
  if (spec.dnsQuery !== undefined) message.dns_query = spec.dnsQuery
  if (spec.httpMethod !== undefined) message.http_method = spec.httpMethod
  if (spec.httpPath !== undefined) message.http_path = spec.httpPath
  if (spec.httpUrl !== undefined) message.http_url = spec.httpUrl
  if (spec.httpStatusCode !== undefined) message.http_status_code = spec.httpStatusCode.map(String)
  const source = spec.from === undefined ? {} : end(spec.from, [...path, 'from'], warn)
  const target = spec.to === undefined ? {} : end(spec.to, [...path, 'to'], warn)
  assignEnd(message, 'source', source)
  assignEnd(message, 'destination', target)
  if (spec.reason !== undefined) {
    const reasons = reasonNumbers(spec.reason, [...path, 'reason'], warn)
    if (reasons.length > 0 || spec.reason.length === 0) message.drop_reason_desc = reasons
    else message.source_label = [NEVER]
  }
  return message
}

function numbers(words: readonly string[], known: ReadonlyMap<string, number>): number[] {
  return [...new Set(words.map((word) => known.get(word.toLowerCase())!))]
}

function reasonNumbers(reasons: readonly string[], path: Path, warn: (problem: Problem) => void): number[] {
  const found = new Set<number>()
  for (const [index, text] of reasons.entries()) {
    const { numbers: matched, isFamily } = dropReasons(text)
    for (const number of matched) found.add(number)
    if (matched.length === 0) {
      const close = closestReason(text)
      const hint = close === undefined ? 'docs/filters.md lists them' : `did you mean ${close}?`
      warn({ path: [...path, index], text: wanted(text, `no drop reason has this name, it matches nothing; ${hint}`) })
    } else if (isFamily) {
      const what = `no drop reason has this name; it stands for the ${matched.length} whose names begin with it`
      warn({ path: [...path, index], text: wanted(text, what) })
    }
  }
  return [...found]
}

/** What one end of a filter asks, with Hubble's names but for the side. */
interface End {
  pod?: readonly string[]
  label?: readonly string[]
  ip?: readonly string[]
  port?: readonly string[]
  service?: readonly string[]
  workload?: readonly { readonly name?: string | undefined; readonly kind?: string | undefined }[]
  fqdn?: readonly string[]
}

function assignEnd(message: Mutable<FlowFilterMessage>, side: 'source' | 'destination', given: End): void {
  for (const [field, values] of Object.entries(given)) {
    // End has Hubble's names and types but for the side.
    ;(message as Record<string, unknown>)[`${side}_${field}`] = values
  }
}

function end(spec: EndpointSpec, path: Path, warn: (problem: Problem) => void): End {
  const made: End = {}
  if (spec.namespacedPod !== undefined) {
    made.pod = spec.namespacedPod
    warnOfNames(spec.namespacedPod, [...path, 'namespacedPod'], 'pod', warn)
  }
  if (spec.service !== undefined) {
    made.service = spec.service
    warnOfNames(spec.service, [...path, 'service'], 'service', warn)
  }
  if (spec.labelSelector !== undefined) {
    const selector = selectorText(spec.labelSelector, [...path, 'labelSelector'], warn)
    if (selector === undefined) made.label = [NEVER]
    else if (selector !== '') made.label = [selector]
  }
  if (spec.ip !== undefined) made.ip = addresses(spec.ip, [...path, 'ip'], warn)
  if (spec.port !== undefined) made.port = spec.port.map((port) => String(portNumber(port)))
  if (spec.workload !== undefined) made.workload = spec.workload
  if (spec.fqdn !== undefined) made.fqdn = spec.fqdn
  return made
}

/** What Hubble's reading of names makes of a text may be another thing than its author thinks. */
function warnOfNames(names: readonly string[], path: Path, what: string, warn: (problem: Problem) => void): void {
  for (const [index, name] of names.slice(0, LIMITS.values).entries()) {
    const at = [...path, index]
    const star = name.indexOf('*')
    if (star >= 0) {
      const better = name.slice(0, star)
      const hint = better === '' || better === '/' ? `leave the field out to match every ${what}` : `write ${better}`
      warn({ path: at, text: wanted(name, `an asterisk stands for itself here, so no ${what} matches; ${hint}`) })
    } else if (!name.includes('/')) {
      const hint = `write ${name}/ for a namespace, namespace/${name} for another one`
      warn({ path: at, text: wanted(name, `without a slash this is a ${what} of the namespace default; ${hint}`) })
    } else if (name.indexOf('/') !== name.lastIndexOf('/')) {
      warn({ path: at, text: wanted(name, 'what follows the second slash is ignored') })
    }
  }
}

function addresses(values: readonly string[], path: Path, warn: (problem: Problem) => void): string[] {
  return values.map((value, index) => {
    const text = addressText(value)!
    if (text !== value) {
      warn({ path: [...path, index], text: wanted(value, `is compared as ${text}, as flows spell it`) })
    }
    return text
  })
}
