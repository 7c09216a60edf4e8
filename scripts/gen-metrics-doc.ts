/**
 * The tables of docs/metrics.md, from the code: Hubble's handlers from the handlers themselves, everything that
 * components tell at a scrape from their calls of sink.counter() and sink.gauge(). The prose around them is written by
 * hand; what stands between `<!-- generated: NAME -->` and `<!-- end -->` is replaced.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { silentLogger } from '../base/logger.ts'
import { HANDLERS, type NodeCounters, NodeFamilies, PrometheusExporter } from '../exporters/prometheus/index.ts'
import { MetricSet } from '../exporters/prometheus/metric-set.ts'
import { SocketFamilies } from '../exporters/prometheus/node/socket-families.ts'

export const METRICS_DOCUMENT = 'docs/metrics.md'

const SOURCES = ['agent', 'api', 'collector', 'control', 'exporters', 'filters', 'kubernetes', 'model', 'native']

/** The document with fresh tables. @throws Error when it lacks the place for one */
export function metricsDocument(): string {
  const told = uniqueByName([...runtimeCalls(), ...SOURCES.flatMap(sourceFiles).flatMap(sinkCalls)])
  const tables = {
    handlers: handlerTable(),
    options: optionTable(),
    node: callTable(told.filter(isNodeLevel)),
    own: callTable(told.filter((call) => !isNodeLevel(call))),
  }
  let text = readFileSync(METRICS_DOCUMENT, 'utf8')
  for (const [name, table] of Object.entries(tables)) {
    const place = new RegExp(`(<!-- generated: ${name} -->\n)[^]*?(<!-- end -->)`)
    if (!place.test(text)) throw new Error(`${METRICS_DOCUMENT} has no place for the table "${name}"`)
    text = text.replace(place, (_, start: string, end: string) => `${start}${table}\n${end}`)
  }
  return text
}

function isNodeLevel({ name }: SinkCall): boolean {
  return /^(networkobservability|cilium)_/.test(name)
}

function handlerTable(): string {
  const rows = ['| handler | metric | type | labels | counts |', '| --- | --- | --- | --- | --- |']
  for (const { name, counts, options } of HANDLERS) {
    const all = new Map(Object.keys(options ?? {}).map((key) => [key.toLowerCase(), [] as string[]]))
    const plain = new MetricSet([{ name, options: new Map() }])
    const marked = new MetricSet([{ name, options: new Map([...all, ['labelscontext', ['source_ip']]]) }])
    for (const family of marked.families) {
      const always = plain.families.find((other) => other.name === family.name)
      const labels = family.labelNames.map((label) => {
        if (label === 'source_ip') return 'CTX'
        return always?.labelNames.includes(label) === false ? `[\`${label}\`]` : `\`${label}\``
      })
      const when = always === undefined ? `${counts}; with an option` : counts
      rows.push(`| \`${name}\` | \`${family.name}\` | ${family.type} | ${labels.join(', ')} | ${when} |`)
    }
  }
  return rows.join('\n')
}

function optionTable(): string {
  const rows = ['| handler | option | effect |', '| --- | --- | --- |']
  for (const { name, options } of HANDLERS) {
    for (const [key, effect] of Object.entries(options ?? {})) rows.push(`| \`${name}\` | \`${key}\` | ${effect} |`)
  }
  return rows.join('\n')
}

/** A metric as a component tells it. */
interface SinkCall {
  readonly type: string
  readonly name: string
  readonly help: string
  readonly labels: readonly string[]
  readonly path: string
}

function callTable(calls: readonly SinkCall[]): string {
  const rows = ['| metric | type | labels | meaning | told by |', '| --- | --- | --- | --- | --- |']
  for (const { name, type, labels, help, path } of calls) {
    const shown = labels.map((label) => `\`${label}\``).join(', ')
    rows.push(`| \`${name}\` | ${type} | ${shown} | ${help} | ${path} |`)
  }
  return rows.join('\n')
}

/** What the exporter and the node-level families tell, by asking them; their counters are made up. */
function runtimeCalls(): SinkCall[] {
  const calls: SinkCall[] = []
  const record =
    (type: string, path: string) =>
    (name: string, help: string, _value: number, labels: Readonly<Record<string, string>> = {}) => {
      calls.push({ type, name, help, labels: Object.keys(labels), path })
    }
  const sink = (path: string) => ({ counter: record('counter', path), gauge: record('gauge', path) })
  const pod = { namespace: 'a', podName: 'b', ip: '', workloadKind: '', workloadName: '' }
  const totals = { ingressPackets: 0, ingressBytes: 0, egressPackets: 0, egressBytes: 0 }
  const counters: NodeCounters = {
    podTotals: () => totals,
    forEachPod: (visit) => visit(pod, totals),
    forEachDrop: (visit) => visit({ kernelReason: '', reason: 0, direction: 0, packets: 0, bytes: 0, pod }),
  }
  new NodeFamilies({ counters, logger: silentLogger, version: '' }).collect(sink('kernel counters'))
  SocketFamilies.describe(sink('/proc/net'))
  new PrometheusExporter({}, { logger: silentLogger }).collect(sink('exporters/prometheus'))
  return calls
}

/** The first that tells of a name: those asked come before those read. */
function uniqueByName(calls: readonly SinkCall[]): SinkCall[] {
  const byName = new Map<string, SinkCall>()
  for (const call of calls) if (!byName.has(call.name)) byName.set(call.name, call)
  return [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
}

function sourceFiles(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name)
    if (statSync(path).isDirectory()) return ['build', 'node_modules', 'gen'].includes(name) ? [] : sourceFiles(path)
    return path.endsWith('.ts') && !path.endsWith('.test.ts') ? [path] : []
  })
}

function sinkCalls(path: string): SinkCall[] {
  const text = readFileSync(path, 'utf8')
  const found: SinkCall[] = []
  for (const match of text.matchAll(/\bsink\.(counter|gauge)\(/g)) {
    const [name, help, , labels] = argumentsAt(text, match.index + match[0].length)
    const before = text.slice(0, match.index)
    const names = resolve(before, name ?? '')
    // A name that is put together at run time is told by a helper, whose callers say it.
    if (!/^[a-z_]+$/.test(names)) continue
    found.push({
      type: match[1]!,
      name: names,
      help: resolve(before, help ?? ''),
      labels: labelNames(before, labels),
      path: path.slice(0, path.lastIndexOf('/')),
    })
  }
  return found
}

/** Top-level arguments of the call whose opening bracket ends at `from`. */
function argumentsAt(text: string, from: number): string[] {
  const all: string[] = []
  let depth = 0
  let quote = ''
  let start = from
  for (let i = from; i < text.length; i++) {
    const char = text[i]!
    if (quote !== '') {
      if (char === quote && text[i - 1] !== '\\') quote = ''
    } else if ("'`".includes(char)) quote = char
    else if ('([{'.includes(char)) depth++
    else if (')]}'.includes(char) && depth-- === 0) {
      all.push(text.slice(start, i))
      return all.map((argument) => argument.trim())
    } else if (char === ',' && depth === 0) {
      all.push(text.slice(start, i))
      start = i + 1
    }
  }
  return all
}

/** The text of a string literal, a template over constants, or the last constant of that name before it. */
function resolve(text: string, expression: string): string {
  const literal = /^'(.*)'$/s.exec(expression)
  if (literal) return literal[1]!.replaceAll("\\'", "'")
  const template = /^`(.*)`$/s.exec(expression)
  if (template) return template[1]!.replaceAll(/\$\{(\w+)\}/g, (_, name: string) => constant(text, name))
  return /^\w+$/.test(expression) ? constant(text, expression) : ''
}

function constant(text: string, name: string): string {
  const all = [...text.matchAll(new RegExp(`\\bconst ${name} =\\s*'([^']*)'`, 'g'))]
  return all.at(-1)?.[1] ?? `\${${name}}`
}

/** Keys of an object literal; of a constant of the same file where a name stands for it. */
function labelNames(text: string, expression: string | undefined): string[] {
  if (expression === undefined || expression === '') return []
  const named = /^\w+$/.test(expression)
    ? new RegExp(`\\bconst ${expression} = (\\{[^}]*\\})`).exec(text)?.[1]
    : undefined
  const literal = named ?? expression
  if (!literal.startsWith('{')) return []
  return literal
    .slice(1, -1)
    .split(',')
    .map((part) => /^\s*(\w+)\s*(:|$)/.exec(part)?.[1] ?? '')
    .filter((label) => label !== '')
}
