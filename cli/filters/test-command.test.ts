import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { run } from '../../test/helpers/run-cli.ts'

let directory = ''
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'sluice-filters-test-'))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

function file(name: string, text: string): string {
  const path = join(directory, name)
  writeFileSync(path, text)
  return path
}

const metric = (filters: string, name = 'container-network-metric'): string =>
  `apiVersion: acn.azure.com/v1alpha1\nkind: ContainerNetworkMetric\nmetadata:\n  name: ${name}\nspec:\n  filters:\n${filters}`

/** The example of the product's announcement. */
const ANNOUNCED = metric(
  `    - metric: flow
      includeFilters:
        - verdict: [dropped]
          from: {namespacedPod: [traffic/http]}
      excludeFilters:
        - from: {namespacedPod: [traffic/fortio]}
`,
)
const LOG = `apiVersion: acn.azure.com/v1alpha1
kind: ContainerNetworkLog
metadata:
  name: denied
spec:
  includefilters:
    - name: denied
      reason: [Policy denied]
`

describe('sluice filters test', () => {
  test('accepts files and shows rules and where they are decided', async () => {
    const path = file('announced.yaml', `${ANNOUNCED}---\n${LOG}`)
    const { code, stdout, stderr } = await run(['filters', 'test', '-f', path])
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(/metric\/flow +include +from pod traffic\/http, verdict dropped +kernel\n/)
    expect(stdout).toMatch(/metric\/flow +exclude +from pod traffic\/fortio +kernel\n/)
    expect(stdout).toMatch(/metric\/dns +- +no rule: takes everything/)
    expect(stdout).toMatch(
      /log +include +denied: reason Policy denied +partly \(drop reasons are known in user space\)/,
    )
  })

  test.each([
    [
      'a metric that is none',
      metric('    - metric: http\n      includeFilters: [{}]\n'),
      /bad\.yaml:7: .*want one of flow/,
    ],
    [
      'a field that is none',
      metric('    - metric: flow\n      includeFilters:\n        - from: {pod: [a/b]}\n'),
      /:9: .*did you mean namespacedPod\?/,
    ],
    ['no filters', 'kind: ContainerNetworkLog\nmetadata: {name: a}\nspec: {}\n', /bad\.yaml/],
    [
      'another kind',
      'kind: ContainerNetworkMetrics\nmetadata: {name: a}\n',
      /bad\.yaml:1: kind "ContainerNetworkMetrics"/,
    ],
    ['no document', '# nothing\n', /there is no filter resource in it/],
    ['text that is no YAML', 'a: [', /bad\.yaml/],
    ['a resource that is there twice', `${LOG}---\n${LOG}`, /ContainerNetworkLog\/denied is there twice/],
  ])('refuses %s with 1, naming the place', async (_, text, message) => {
    const { code, stdout, stderr } = await run(['filters', 'test', '-f', file('bad.yaml', text)])
    expect(stderr).toMatch(message)
    expect(code).toBe(1)
    expect(stdout).toBe('')
  })

  test('warnings end with 1 only when told so', async () => {
    const path = file(
      'star.yaml',
      metric('    - metric: dns\n      excludeFilters:\n        - from: {namespacedPod: [kube-system/*]}\n'),
    )
    const accepted = await run(['filters', 'test', '-f', path])
    expect([accepted.code, accepted.stderr]).toEqual([0, expect.stringMatching(/warning: .*star\.yaml:9: .*asterisk/)])
    expect((await run(['filters', 'test', '-f', path, '--fail-on-warning'])).code).toBe(1)
  })

  test('a metric resource of another name counts with --merge only', async () => {
    const path = file('other.yaml', metric('    - metric: drop\n      excludeFilters: [{protocol: [udp]}]\n', 'other'))
    const ignored = await run(['filters', 'test', '-f', path])
    expect(ignored.stderr).toMatch(/ContainerNetworkMetric\/other is ignored/)
    expect(ignored.stdout).toMatch(/metric\/drop +- +no rule/)
    const merged = await run(['filters', 'test', '-f', path, '--merge'])
    expect(merged.stdout).toMatch(/metric\/drop +exclude +protocol udp +kernel/)
  })

  test('explains one flow of flags as a tree', async () => {
    const path = file('announced.yaml', ANNOUNCED)
    const flow = ['--from-pod', 'traffic/http-1', '--to-pod', 'traffic/db-0', '--to-port', '5432']
    const forwarded = await run(['filters', 'test', '-f', path, ...flow])
    expect(forwarded.stdout).toBe(`traffic/http-1:40000 -> traffic/db-0:5432 to-stack FORWARDED
  metric/flow: left out, no include rule matches
    no  include ContainerNetworkMetric/container-network-metric spec.filters[0].includeFilters[0]
      no  all of
        no  verdict dropped (is FORWARDED)
        yes from pod traffic/http
    no  exclude ContainerNetworkMetric/container-network-metric spec.filters[0].excludeFilters[0]
      no  from pod traffic/fortio (is traffic/http-1)
  metric/dns: not concerned, it is about DNS messages only
  metric/tcp: kept, it has no rule and takes everything
  metric/drop: not concerned, it is about drops only
  log: off, no ContainerNetworkLog asks for a log

`)
    const dropped = await run(['filters', 'test', '-f', path, ...flow, '--verdict', 'dropped'])
    expect(dropped.stdout).toMatch(/metric\/flow: kept, include rule spec\.filters\[0\]\.includeFilters\[0\] matches/)
  })

  /** What each published idea does with flows: the fates of metric/flow, dns, tcp, drop and the log. */
  const cases: [string, string, string[], string][] = [
    [
      'an exclude beats an include',
      metric(
        '    - metric: flow\n      includeFilters: [{protocol: [tcp]}]\n      excludeFilters: [{to: {port: [80]}}]\n',
      ),
      ['--from-pod', 'a/b'],
      'metric/flow=left-out',
    ],
    [
      'an include list of another port',
      metric('    - metric: flow\n      includeFilters: [{to: {port: [443]}}]\n'),
      ['--from-pod', 'a/b'],
      'metric/flow=left-out',
    ],
    [
      'labels',
      metric('    - metric: tcp\n      includeFilters: [{from: {labelSelector: {matchLabels: {app: web}}}}]\n'),
      ['--from-pod', 'a/b', '--from-label', 'app=web'],
      'metric/tcp=kept',
    ],
    [
      'the namespace as a label',
      metric(
        '    - metric: tcp\n      includeFilters: [{from: {labelSelector: {matchLabels: {k8s.io/namespace: pets}}}}]\n',
      ),
      ['--from-pod', 'pets/b'],
      'metric/tcp=kept',
    ],
    [
      'dns',
      metric('    - metric: dns\n      excludeFilters: [{from: {namespacedPod: [kube-system/coredns]}}]\n'),
      ['--from-pod', 'kube-system/coredns-1', '--protocol', 'dns'],
      'metric/dns=left-out',
    ],
    [
      'an address',
      metric('    - metric: drop\n      includeFilters: [{to: {ip: [10.9.0.0/16]}}]\n'),
      ['--to-ip', '10.9.1.1', '--reason', 'POLICY_DENIED'],
      'metric/drop=kept',
    ],
    ['http', LOG.replace('reason: [Policy denied]', 'httpPath: ["^/api"]'), ['--http-path', '/api/v1'], 'log=kept'],
    ['a reason', LOG, ['--reason', 'policy denied'], 'log=kept'],
    [
      'unlisted metrics',
      metric('    - metric: flow\n      includeFilters: [{}]\n'),
      ['--from-pod', 'a/b', '--unlisted', 'drop'],
      'metric/tcp=off',
    ],
  ]
  test.each(cases)('%s', async (_, text, flow, expectation) => {
    const path = file('case.yaml', text)
    const met = await run(['filters', 'test', '-f', path, ...flow, '--expect', expectation])
    expect(met.code).toBe(0)
    const [consumer, fate] = expectation.split('=')
    const opposite = `${consumer}=${fate === 'kept' ? 'left-out' : 'kept'}`
    const unmet = await run(['filters', 'test', '-f', path, ...flow, '--expect', opposite])
    expect(unmet.code).toBe(1)
    expect(unmet.stdout).toMatch(new RegExp(`not as expected: ${consumer} is ${fate}`))
  })

  const mistakes: [string[], RegExp][] = [
    [[], /required option '-f, --filename <path>' not specified/],
    [['-f', '/no/such/file.yaml'], /Cannot read "\/no\/such\/file\.yaml"/],
    [['-f', '-', '--from-pod', 'web'], /Cannot use --from-pod "web": want namespace\/name/],
    [['-f', '-', '--to-port', '70000'], /Cannot use --to-port "70000"/],
    [['-f', '-', '--protocol', 'quic'], /Cannot use --protocol "quic": want one of tcp, udp/],
    [['-f', '-', '--protocol', 'udp', '--http-path', '/'], /want http/],
    [['-f', '-', '--verdict', 'lost'], /Cannot use --verdict "lost": want one of forwarded, dropped/],
    [['-f', '-', '--reason', 'bad luck'], /Cannot use --reason "bad luck"/],
    [['-f', '-', '--from-ip', '10.0.0.1', '--to-ip', 'fd00::1'], /want two IPv4 or two IPv6 addresses/],
    [['-f', '-', '--from-ip', '10.0.0.256'], /Cannot use --from-ip "10\.0\.0\.256"/],
    [['-f', '-', '--tcp-flags', 'syn,boo'], /Cannot use --tcp-flags "syn,boo"/],
    [['-f', '-', '--from-label', 'web'], /Cannot use --from-label "web": want key=value/],
    [['-f', '-', '--expect', 'log=kept'], /Cannot use --expect without a flow/],
    [['-f', '-', '--from-pod', 'a/b', '--expect', 'log'], /Cannot use --expect "log": want consumer=kept/],
    [['-f', '-', '--from-pod', 'a/b', '--expect', 'logs=kept'], /Cannot use --expect "logs": want one of metric\/flow/],
    [['-f', '-', '--flow', '-'], /Cannot use standard input for filters and for flows/],
    [['-f', '-', '--from-pod', 'a/b', '--flow', 'x.json'], /want one of them/],
  ]
  test.each(mistakes)('%j is wrong usage', async (args, message) => {
    const result = await run(['filters', 'test', ...args], { stdin: LOG })
    expect(result.stderr).toMatch(message)
    expect(result.code).toBe(2)
  })

  test('counts what each rule does with the flows of a file', async () => {
    const lines = Array.from({ length: 10 }, (_, i) =>
      JSON.stringify({
        flow: {
          verdict: i < 4 ? 'DROPPED' : 'FORWARDED',
          drop_reason_desc: i < 3 ? 'POLICY_DENIED' : 'DROP_REASON_UNKNOWN',
          IP: { source: '10.0.0.1', destination: '10.0.0.2', ipVersion: 'IPv4' },
          l4: { TCP: { source_port: 1, destination_port: 80, flags: { ACK: true } } },
          source: { namespace: 'traffic', pod_name: i % 2 === 0 ? 'http-1' : 'fortio-1' },
        },
      }),
    )
    const path = file('both.yaml', `${ANNOUNCED}---\n${LOG}`)
    const flows = file('events.log', `${lines.join('\n')}\n`)
    const { stdout, code } = await run(['filters', 'test', '-f', path, '--input-file', flows])
    expect(code).toBe(0)
    expect(stdout).toMatch(/^10 flows\n/)
    expect(stdout).toMatch(/metric\/flow +on +10 +2 +8\n/)
    expect(stdout).toMatch(/metric\/drop +on +4 +4 +0\n/)
    expect(stdout).toMatch(/metric\/flow +exclude +from pod traffic\/fortio +5 +0 +5 *\n/)
    expect(stdout).toMatch(/log +include +reason Policy denied +3 +3 +0 *\n/)
    const json = await run(['filters', 'test', '-f', path, '--input-file', flows, '-o', 'json'])
    expect(JSON.parse(json.stdout)).toMatchObject({
      accepted: true,
      counts: { flows: 10, consumers: [{ consumer: 'metric/flow', kept: 2, left_out: 8 }, {}, {}, {}, {}] },
    })
  })

  test('takes flows from standard input and all files of a directory', async () => {
    mkdirSync(join(directory, 'filters.d'), { recursive: true })
    file('filters.d/a.yaml', ANNOUNCED)
    file('filters.d/b.yml', LOG)
    file('filters.d/notes.txt', 'nothing to see')
    const args = ['filters', 'test', '-f', join(directory, 'filters.d'), '--flow', '-', '-o', 'json']
    const { stdout } = await run(args, { stdin: '{"flow":{"verdict":"FORWARDED","IP":{"source":"10.0.0.1"}}}\n' })
    const data = JSON.parse(stdout)
    expect(data.rules.map((rule: { kind: string }) => rule.kind)).toContain('ContainerNetworkLog')
    expect(data.flows[0].consumers.map((one: { fate: string }) => one.fate)).toEqual([
      'left out',
      'not concerned',
      'not concerned',
      'not concerned',
      'left out',
    ])
  })

  test('a hostile file is refused soon', async () => {
    const aliases = Array.from(
      { length: 26 },
      (_, i) =>
        `${String.fromCharCode(98 + i)}: &${String.fromCharCode(98 + i)} [${Array(9)
          .fill(`*${String.fromCharCode(97 + i)}`)
          .join(',')}]`,
    )
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${aliases.slice(0, 12).join('\n')}\nkind: ContainerNetworkLog\n`
    const began = performance.now()
    expect((await run(['filters', 'test', '-f', file('bomb.yaml', bomb)])).code).toBe(1)
    expect((await run(['filters', 'test', '-f', file('deep.yaml', `${'['.repeat(20_000)}`)])).code).toBe(1)
    expect((await run(['filters', 'test', '-f', file('huge.yaml', 'x'.repeat(4_000_000))])).code).toBe(2)
    expect(performance.now() - began).toBeLessThan(20_000)
  })
})
