import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { TestFlowStore } from '../../test/helpers/flow-store.ts'
import { longestHold } from '../../test/helpers/longest-hold.ts'
import { compile } from '../compile.ts'
import { type CompileResult, compileDocument, compileResource } from './compile.ts'
import { readDocument } from './document.ts'
import { problemText } from './problem.ts'

const head = (kind: string, name: string) => ({ apiVersion: 'acn.azure.com/v1alpha1', kind, metadata: { name } })
const metric = (spec: unknown) => ({ ...head('ContainerNetworkMetric', 'container-network-metric'), spec })
const log = (spec: unknown) => ({ ...head('ContainerNetworkLog', 'x'), spec })
/** A log of one filter, from YAML in one line. */
const filter = (text: string) => log({ includefilters: [parse(text)] })
const flow = (text: string) => metric({ filters: [{ metric: 'flow', ...parse(text) }] })

function result(value: unknown): CompileResult {
  const { resource, mistakes } = readDocument(value)
  return resource === undefined ? { mistakes } : compileResource(resource)
}

function mistakes(value: unknown): string[] {
  return (result(value).mistakes ?? []).map((problem) => problemText(problem, { file: '' }))
}

function warnings(value: unknown): string[] {
  const { warnings: found, mistakes: wrong } = result(value)
  expect(wrong ?? []).toEqual([])
  return found!.map((problem) => problemText(problem, { file: '' }))
}

/** Which flows of a store a log of one filter takes. */
function takes(store: TestFlowStore, value: unknown): boolean[] {
  const wants = compile(result(value).compiled!.groups[0]!.include[0]!.predicate)
  const view = store.createView()
  return Array.from({ length: store.end }, (_, sequence) => {
    store.seek(view, sequence)
    return wants(view)
  })
}

const I = 'spec.includefilters[0]'

describe('readDocument() and compileResource()', () => {
  test.each<[string, unknown, string[]]>([
    ['text', 'x', ['(document) "x": want an object with apiVersion, kind, metadata and spec']],
    [
      'another kind',
      { kind: 'Pod' },
      ['kind "Pod": want one of ContainerNetworkMetric, ContainerNetworkLog, RetinaNetworkFlowLog'],
    ],
    [
      'another version',
      { ...log({ includefilters: [{}] }), apiVersion: 'acn.azure.com/v1' },
      ['apiVersion "acn.azure.com/v1": want acn.azure.com/v1alpha1'],
    ],
    ['no spec', head('ContainerNetworkLog', 'x'), ['spec is missing: want an object']],
    ['no name', { ...log({ includefilters: [{}] }), metadata: {} }, ['metadata.name is missing: want text']],
    [
      'no filter',
      log({ includefilters: [] }),
      ['spec {"includefilters":[]}: want at least one filter to include or to exclude: includefilters, excludefilters'],
    ],
    [
      'a metric without filters',
      metric({ filters: [{ metric: 'dns' }] }),
      [
        'spec.filters[0] {"metric":"dns"}: want at least one filter to include or to exclude: includeFilters, excludeFilters',
      ],
    ],
    [
      'another metric',
      metric({ filters: [{ metric: 'http', includeFilters: [{}] }] }),
      ['spec.filters[0].metric "http": want one of flow, dns, tcp, drop'],
    ],
    [
      'a metric twice',
      metric({
        filters: [
          { metric: 'dns', includeFilters: [{}] },
          { metric: 'dns', includeFilters: [{}] },
        ],
      }),
      [
        'spec.filters[1].metric "dns": metric dns is there twice, first in filters[0]: put the filters of both together',
      ],
    ],
    [
      'the spelling of the other kind',
      log({ includeFilters: [{}] }),
      [
        'spec.includeFilters: unknown field, did you mean includefilters?',
        'spec {"includeFilters":[{}]}: want at least one filter to include or to exclude: includefilters, excludefilters',
      ],
    ],
    ['pod', filter('from: {pod: [a/b]}'), [`${I}.from.pod: unknown field, did you mean namespacedPod?`]],
    [
      'Hubble’s own names',
      filter('source_pod: [a/b]'),
      [`${I}.source_pod: unknown field, did you mean from.namespacedPod?`],
    ],
    ['a port without an end', filter('port: [80]'), [`${I}.port: unknown field, did you mean from.port or to.port?`]],
    ['a slip', filter('verdit: [dropped]'), [`${I}.verdit: unknown field, did you mean verdict?`]],
    [
      'labels without a selector',
      filter('to: {labels: {a: b}}'),
      [`${I}.to.labels: unknown field, did you mean labelSelector.matchLabels?`],
    ],
    [
      'a wrong protocol',
      filter('protocol: [tls]'),
      [`${I}.protocol[0] "tls": want one of icmp, icmpv4, icmpv6, tcp, udp, sctp, vrrp, igmp, dns, http, kafka`],
    ],
    [
      'an address',
      filter('to: {ip: [10.0.0.256]}'),
      [`${I}.to.ip[0] "10.0.0.256": want an IPv4 or IPv6 address, or a range such as 10.0.0.0/8`],
    ],
    [
      'a range',
      filter('to: {ip: ["fd00::/129"]}'),
      [`${I}.to.ip[0] "fd00::/129": want an IPv4 or IPv6 address, or a range such as 10.0.0.0/8`],
    ],
    [
      'an empty pod',
      filter("from: {namespacedPod: ['']}"),
      [`${I}.from.namespacedPod[0] "": want text that is not empty`],
    ],
    [
      'a port',
      filter('to: {port: [65536, x]}'),
      [`${I}.to.port[0] 65536: want a port from 0 to 65535`, `${I}.to.port[1] "x": want a port from 0 to 65535`],
    ],
    [
      'an operator',
      filter('from: {labelSelector: {matchExpressions: [{key: a, operator: Equals, values: [b]}]}}'),
      [`${I}.from.labelSelector.matchExpressions[0].operator "Equals": want In, NotIn, Exists or DoesNotExist`],
    ],
    [
      'values of Exists',
      filter('from: {labelSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}'),
      [`${I}.from.labelSelector.matchExpressions[0].values ["b"]: want no values for the operator Exists`],
    ],
    [
      'In without values',
      filter('from: {labelSelector: {matchExpressions: [{key: a, operator: In}]}}'),
      [`${I}.from.labelSelector.matchExpressions[0].values is missing: want at least one value for the operator In`],
    ],
    [
      'a label key',
      filter('from: {labelSelector: {matchLabels: {"a b": c}}}'),
      [
        `${I}.from.labelSelector.matchLabels.a b "a b": want a label key: [prefix/]name of letters, digits, "-", "_" and "."`,
      ],
    ],
    [
      'a label that is a number',
      filter('from: {labelSelector: {matchLabels: {version: 1}}}'),
      [`${I}.from.labelSelector.matchLabels.version 1: want text: write the value in quotes`],
    ],
    [
      'a regular expression',
      filter("httpPath: ['(']"),
      [`${I}.httpPath: "(": error parsing regexp: missing closing ): \`(\``],
    ],
    [
      'a look-ahead',
      filter("dnsQuery: ['(?=a)']"),
      [`${I}.dnsQuery: "(?=a)": error parsing regexp: invalid or unsupported Perl syntax: \`(?=\``],
    ],
    [
      'a name with signs',
      filter("to: {fqdn: ['a b']}"),
      [`${I}.to.fqdn: ["a b"]: ' ': invalid rune in pattern; want names with '*' as wildcard`],
    ],
    [
      'flags',
      filter('tcpFlags: [SYN+ACK]'),
      [`${I}.tcpFlags[0] "SYN+ACK": want flags with commas between them: FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, NS`],
    ],
    ['a filter that is text', log({ includefilters: ['x'] }), [`${I} "x": want an object`]],
    ['a list that is a number', log({ includefilters: 5 }), ['spec.includefilters 5: want an object']],
    ['null', filter('from: ~'), [`${I}.from null: want an object`]],
  ])('refuses %s', (_what, value, expected) => {
    expect(mistakes(value)).toEqual(expected)
  })

  test('tells all mistakes at once, up to twenty', () => {
    const found = mistakes(log({ includefilters: Array(30).fill({ protocol: ['x'], bad: 1 }) }))
    expect(found).toHaveLength(21)
    expect(found.slice(0, 2)).toEqual([
      expect.stringMatching(/^spec\.includefilters\[0\]\.protocol\[0\] "x": want one of/),
      expect.stringMatching(/^spec\.includefilters\[0\]\.bad: unknown field; want one of name, protocol/),
    ])
    expect(found[20]).toBe('spec: and more of the kind')
  })

  test.each<[string, unknown, string[]]>([
    [
      'an asterisk',
      filter('from: {namespacedPod: [kube-system/*]}'),
      [
        `${I}.from.namespacedPod[0] "kube-system/*": an asterisk stands for itself here, so no pod matches; write kube-system/`,
      ],
    ],
    [
      'an asterisk alone',
      filter("from: {namespacedPod: ['*']}"),
      [
        `${I}.from.namespacedPod[0] "*": an asterisk stands for itself here, so no pod matches; leave the field out to match every pod`,
      ],
    ],
    [
      'a name without slash',
      filter('to: {namespacedPod: [web]}'),
      [
        `${I}.to.namespacedPod[0] "web": without a slash this is a pod of the namespace default; write web/ for a namespace, namespace/web for another one`,
      ],
    ],
    [
      'forwarded drops',
      metric({ filters: [{ metric: 'drop', includeFilters: [{ verdict: ['forwarded'] }] }] }),
      ['spec.filters[0].includeFilters[0]: can never match: no flow has metric drop and verdict forwarded'],
    ],
    [
      'DNS over TCP',
      metric({ filters: [{ metric: 'dns', includeFilters: [{ protocol: ['tcp'] }] }] }),
      ['spec.filters[0].includeFilters[0].protocol: on metric dns this keeps DNS over TCP alone'],
    ],
    [
      'TCP flags of DNS',
      metric({ filters: [{ metric: 'tcp', includeFilters: [{ protocol: ['dns'] }] }] }),
      ['spec.filters[0].includeFilters[0]: can never match: no flow has metric tcp and protocol dns'],
    ],
    [
      'dropped DNS',
      filter('{verdict: [dropped], protocol: [dns]}'),
      [`${I}: can never match: no flow has verdict dropped and protocol dns`],
    ],
    [
      'redirected flows',
      filter('verdict: [audit]'),
      [`${I}: can never match: no flow of this agent has verdict audit`],
    ],
    [
      'HTTP on a metric',
      flow('includeFilters: [{protocol: [http]}]'),
      [
        'spec.filters[0].includeFilters[0].protocol: http matches HTTP messages alone; ACNS knows tcp, udp and dns for metrics',
      ],
    ],
    [
      'both verdicts',
      filter('verdict: [forwarded, Dropped]'),
      [
        `${I}.verdict: flows that are redirected to a proxy have neither of these verdicts; leave the field out to match them too`,
      ],
    ],
    [
      'an include that is excluded',
      flow('{includeFilters: [{from: {namespacedPod: [a/b]}}], excludeFilters: [{from: {namespacedPod: [a/]}}]}'),
      [
        'spec.filters[0].includeFilters[0]: has no effect: spec.filters[0].excludeFilters[0] leaves out all that it matches',
      ],
    ],
    [
      'a filter twice',
      flow('includeFilters: [{protocol: [udp]}, {protocol: [UDP]}]'),
      ['spec.filters[0].includeFilters[1]: is the same as spec.filters[0].includeFilters[0]'],
    ],
    [
      'a shadowed filter',
      flow('includeFilters: [{protocol: [udp], to: {ip: [10.1.2.3]}}, {to: {ip: [10.0.0.0/8]}}]'),
      [
        'spec.filters[0].includeFilters[0]: changes nothing: spec.filters[0].includeFilters[1] matches all that it matches',
      ],
    ],
    [
      'a long address',
      filter('to: {ip: ["FD00:0:0::1"]}'),
      [`${I}.to.ip[0] "FD00:0:0::1": is compared as fd00::1, as flows spell it`],
    ],
    [
      'an empty selector',
      filter('{protocol: [tcp], from: {labelSelector: {}}}'),
      [`${I}.from.labelSelector: an empty selector matches every flow`],
    ],
    [
      'a null selector',
      filter('from: {labelSelector: ~}'),
      [`${I}.from.labelSelector: a null selector matches nothing, and so does the filter; leave the field out instead`],
    ],
    [
      'an unknown reason',
      filter('reason: [Policy denid]'),
      [`${I}.reason[0] "Policy denid": no drop reason has this name, it matches nothing; did you mean Policy denied?`],
    ],
    [
      'the beginning of reasons',
      filter('reason: [Invalid]'),
      [`${I}.reason[0] "Invalid": no drop reason has this name; it stands for the 8 whose names begin with it`],
    ],
    [
      'a filter without conditions',
      log({ includefilters: [{ name: 'all' }, { protocol: ['tcp'] }] }),
      [`${I}: matches every flow: other filters of the list change nothing`],
    ],
    ['a filter without conditions, alone', filter('name: all'), []],
    [
      'a filter whose conditions were forgotten',
      filter('from: {}'),
      [`${I}: matches every flow: other filters of the list change nothing`],
    ],
    [
      'an exclude of everything',
      log({ includefilters: [{ protocol: ['tcp'] }], excludefilters: [{ from: {} }] }),
      ['spec.excludefilters[0]: matches every flow: none is left'],
    ],
    [
      'an empty list',
      filter('{protocol: [], verdict: [dropped]}'),
      [`${I}.protocol: an empty list sets no condition; leave the field out`],
    ],
    [
      'both families',
      filter('{from: {ip: [10.0.0.1]}, to: {ip: ["fd00::/8"]}}'),
      [`${I}: can never match: no flow has addresses of IPv4 and of IPv6`],
    ],
    [
      'ports of ICMP',
      filter('{protocol: [icmp], to: {port: [7]}}'),
      [`${I}: can never match: no flow has ports and protocol icmp`],
    ],
    [
      'a label that flows do not carry',
      filter('from: {labelSelector: {matchLabels: {pod-template-hash: x}}}'),
      [
        `${I}.from.labelSelector.matchLabels.pod-template-hash "pod-template-hash": flows do not carry this label: it differs between the pods of one workload`,
      ],
    ],
  ])('warns of %s', (_what, value, expected) => {
    expect(warnings(value)).toEqual(expected)
  })

  test.each([
    'k8s.io/namespace',
    'io.kubernetes.pod.namespace',
    'kubernetes.io/metadata.name',
    'k8s:io.kubernetes.pod.namespace',
  ])('%s stands for the namespace', (key) => {
    const store = new TestFlowStore()
    const labels = ['k8s:io.kubernetes.pod.namespace=pets']
    store.push({ source: { labels, namespace: 'pets', podName: 'a' } }, { source: { labels: ['k8s:x=pets'] } })
    const value = log({ includefilters: [{ from: { labelSelector: { matchLabels: { [key]: 'pets' } } } }] })
    expect(takes(store, value)).toEqual([true, false])
  })

  test.each<[string, string, boolean[]]>([
    ['In', '{key: env, operator: In, values: [a, b]}', [true, false, false]],
    ['NotIn', '{key: env, operator: NotIn, values: [a]}', [false, true, true]],
    ['Exists', '{key: env, operator: Exists}', [true, true, false]],
    ['DoesNotExist', '{key: env, operator: DoesNotExist}', [false, false, true]],
  ])('the operator %s does as in Kubernetes', (_operator, expression, expected) => {
    const store = new TestFlowStore()
    for (const labels of [['k8s:env=a'], ['k8s:env=c'], ['k8s:x=y']]) store.push({ source: { labels } })
    expect(takes(store, filter(`from: {labelSelector: {matchExpressions: [${expression}]}}`))).toEqual(expected)
  })

  test('a filter that cannot match matches nothing instead of everything', () => {
    const store = new TestFlowStore()
    store.push({ verdict: 2 }, { source: { labels: ['k8s:never=x'] } })
    for (const text of ['reason: [no such]', 'from: {labelSelector: ~}', 'to: {labelSelector: ~}']) {
      expect(takes(store, filter(text))).toEqual([false, false])
    }
  })
})

describe('hostile documents', () => {
  const big = (count: number, make: (i: number) => unknown) => Array.from({ length: count }, (_, i) => make(i))

  test.each<[string, unknown, RegExp]>([
    ['10,000 filters', log({ includefilters: big(10_000, (i) => ({ name: `n${i}` })) }), /want at most 256 filters/],
    [
      '10,000 pods in a list',
      filter(`from: {namespacedPod: [${big(10_000, (i) => `a/${i}`).join(', ')}]}`),
      /from\.namespacedPod .*: want at most 1024 pods/,
    ],
    [
      '40,000 values',
      log({ includefilters: big(256, () => ({ protocol: big(400, () => 'tcp') })) }),
      /more than 40000 values/,
    ],
    ['a long text', filter(`from: {namespacedPod: [${'x'.repeat(600)}]}`), /want at most 512 characters/],
    [
      'millions of characters',
      log({ includefilters: [{ name: 'x'.repeat(2_000_000) }] }),
      /more than 400000 characters/,
    ],
    [
      'expressions that are large together',
      log({ includefilters: big(60, () => ({ httpPath: big(20, () => '[a-z]{90}') })) }),
      /atoms of expressions or more, want at most 10000/,
    ],
    [
      '20,000 values that are within all other bounds',
      log({ includefilters: big(30, (i) => ({ from: { namespacedPod: big(1000, (j) => `${i}/${j}`) } })) }),
      /30000 values or more|values or more, want at most 20000/,
    ],
  ])('refuses %s within a second', (_what, value, message) => {
    const before = process.cpuUsage()
    expect(mistakes(value).join('\n')).toMatch(message)
    expect(process.cpuUsage(before).user / 1000).toBeLessThan(1000)
  })

  test('refuses what is nested deeply, and what holds itself', () => {
    let deep: unknown = {}
    for (let i = 0; i < 100_000; i++) deep = { from: deep }
    expect(mistakes(log(deep))).toEqual(['spec: nested deeper than 16, want less'])
    const loop: Record<string, unknown> = {}
    loop['includefilters'] = [loop]
    expect(mistakes(log(loop))).toEqual(['spec: nested deeper than 16, want less'])
  })

  test('takes the largest document that fits without holding the event loop', async () => {
    const value = log({
      includefilters: big(250, (i) => ({
        from: { namespacedPod: big(70, (j) => `ns-${i}/pod-${j}`), labelSelector: { matchLabels: { app: `a${i}` } } },
        protocol: ['tcp'],
      })),
    })
    const memory = process.memoryUsage().heapUsed
    const { result, longestMs } = await longestHold(() => compileDocument(value))
    expect(result.compiled?.groups[0]?.include).toHaveLength(250)
    expect(process.memoryUsage().heapUsed - memory).toBeLessThan(100e6)
    // Some milliseconds of its own; the rest is the machine's.
    expect(longestMs).toBeLessThan(200)
  })

  test('answers any values with mistakes or filters', () => {
    const leaf = fc.oneof(
      fc.constantFrom(
        'tcp',
        'dropped',
        'a/b',
        '*',
        '10.0.0.1',
        '::1/128',
        '(',
        '',
        'In',
        'Exists',
        '80',
        'Invalid',
        'x'.repeat(600),
      ),
      fc.constantFrom(null, true, 80, -1, 1.5, 65_536),
      fc.string(),
    )
    const keys = fc.constantFrom(
      ...[
        'from',
        'to',
        'namespacedPod',
        'labelSelector',
        'matchLabels',
        'matchExpressions',
        'key',
        'operator',
        'values',
      ],
      ...[
        'ip',
        'port',
        'protocol',
        'verdict',
        'reason',
        'name',
        'includefilters',
        'excludefilters',
        'filters',
        'metric',
      ],
      ...[
        'includeFilters',
        'httpPath',
        'tcpFlags',
        'workload',
        'fqdn',
        'unlisted',
        '__proto__',
        'constructor',
        'toString',
      ],
    )
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(leaf, fc.array(tie('tree'), { maxLength: 4 }), fc.dictionary(keys, tie('tree'), { maxKeys: 6 })),
    }))
    const filterLike = fc.dictionary(keys, tree, { maxKeys: 5 })
    const property = fc.property(fc.oneof(tree, fc.record({ includefilters: fc.array(filterLike) })), (spec) => {
      for (const value of [log(spec), metric({ filters: spec }), metric(spec)]) {
        const { compiled, mistakes: wrong } = result(value)
        if (compiled === undefined) expect(wrong!.length).toBeGreaterThan(0)
        for (const problem of wrong ?? []) expect(problemText(problem, { file: '' }).length).toBeLessThan(2000)
      }
    })
    fc.assert(property, { seed: 20_261_124, numRuns: 300, interruptAfterTimeLimit: 8000 })
  })
})
