import type { HttpRecord } from '../../model/l7.ts'
import type { FlowPredicate } from '../predicate.ts'
import type { Regex } from '../regex.ts'
import { requestPath } from '../request-uri.ts'

export function dnsQueryTest(patterns: readonly Regex[]): FlowPredicate {
  return (view) => {
    const dns = view.l7?.dns
    return dns !== undefined && matchesAny(patterns, dns.query)
  }
}

export function httpStatusTest(full: readonly number[], prefixes: readonly string[]): FlowPredicate {
  return httpTest((http) => {
    if (http.code === 0) return false
    if (full.includes(http.code)) return true
    if (prefixes.length === 0) return false
    const code = String(http.code).padStart(3, '0')
    return prefixes.some((prefix) => code.startsWith(prefix))
  })
}

export function httpMethodTest(methods: readonly string[]): FlowPredicate {
  const wanted = new Set(methods.map((method) => method.toLowerCase()))
  return httpTest((http) => http.method !== '' && wanted.has(http.method.toLowerCase()))
}

export function httpPathTest(patterns: readonly Regex[]): FlowPredicate {
  return httpTest((http) => {
    const path = requestPath(http.url)
    return path !== undefined && matchesAny(patterns, path)
  })
}

export function httpUrlTest(patterns: readonly Regex[]): FlowPredicate {
  return httpTest((http) => http.url !== '' && matchesAny(patterns, http.url))
}

export function httpHeaderTest(headers: readonly { readonly key: string; readonly value: string }[]): FlowPredicate {
  return httpTest((http) =>
    http.headers.some((header) => headers.some((wanted) => wanted.key === header.key && wanted.value === header.value)),
  )
}

/** Flows without trace context have the id ''. */
export function traceIdTest(values: readonly string[]): FlowPredicate {
  const wanted = new Set(values)
  return (view) => wanted.has(view.l7?.traceId ?? '')
}

function httpTest(test: (http: HttpRecord) => boolean): FlowPredicate {
  return (view) => {
    const http = view.l7?.http
    return http !== undefined && test(http)
  }
}

function matchesAny(patterns: readonly Regex[], text: string): boolean {
  for (const pattern of patterns) if (pattern.test(text)) return true
  return false
}
