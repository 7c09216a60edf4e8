import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { SluiceError } from '../../base/errors.ts'
import { parseMetadata } from './file.ts'
import { StaticMetadata } from './static.ts'
import { workloadOf } from './workload.ts'

const good = `pods:
  - namespace: shop
    name: cart-0
    uid: u1
    ips: [10.1.0.7, 'fd00::7']
    labels: {app: cart}
    workload: {name: cart, kind: StatefulSet}
nodes:
  - {name: node-1, ips: [192.168.7.1]}
services:
  - namespace: shop
    name: cart
    ips: [10.96.0.20]
    ports: [{port: 80}]
cidrs:
  - cidr: 203.0.113.0/24
    labels: [cidrgroup:partners]
`

function mistakes(text: string): string[] {
  try {
    parseMetadata(text, 'm.yaml')
  } catch (error) {
    if (SluiceError.is(error) && error.code === 'SLUICE_METADATA_INVALID') return error.message.split('\n').slice(1)
    throw error
  }
  return []
}

/** Nine of nine of nine ...: 9^depth nodes. */
function bomb(depth: number): string {
  const rows = Array.from({ length: depth }, (_, i) => {
    const below = Array(9).fill(i === 0 ? 'x' : `*a${i - 1}`)
    return `k${i}: &a${i} [${below.join(', ')}]`
  })
  return rows.join('\n')
}

describe('parseMetadata()', () => {
  test.each([
    ['a value that contains itself', 'pods: &a { x: *a }\n', 'pods: (a value that contains itself), want'],
    ['collections nested too deeply', '- '.repeat(20_000), 'Collections are nested too deeply'],
    ['aliases that grow without bounds', bomb(5), 'Excessive alias count'],
  ])('refuses %s', (_what, text, message) => {
    expect(() => parseMetadata(text, 'm.yaml')).toThrow(message)
    expect(() => parseMetadata(text, 'm.yaml')).toThrow(SluiceError)
  })

  test('reads every kind of entry and fills in what is left out', () => {
    const data = parseMetadata(good, 'm.yaml')
    expect(data.pods).toEqual([
      {
        namespace: 'shop',
        name: 'cart-0',
        uid: 'u1',
        ips: ['10.1.0.7', 'fd00::7'],
        labels: { app: 'cart' },
        namespaceLabels: {},
        serviceAccount: '',
        workload: { name: 'cart', kind: 'StatefulSet' },
        nodeName: '',
        hostNetwork: false,
      },
    ])
    expect(data.services[0]?.ports).toEqual([{ port: 80, protocol: 'TCP' }])
    expect(data.nodes[0]?.labels).toEqual({})
    expect(data.cidrs).toEqual([{ cidr: '203.0.113.0/24', labels: ['cidrgroup:partners'] }])
  })

  test('takes an empty file for no entries', () => {
    expect(parseMetadata('', 'm.yaml')).toEqual({ pods: [], nodes: [], services: [], cidrs: [] })
  })

  test.each([
    [good.replace('10.1.0.7', '10.1.0.700'), ['m.yaml:5: pods[0].ips[0]: "10.1.0.700", want an IPv4 or IPv6 address']],
    [
      good.replace("'fd00::7'", 'fe80::1%eth0'),
      ['m.yaml:5: pods[0].ips[1]: "fe80::1%eth0", want an IPv4 or IPv6 address'],
    ],
    [
      good.replace('    uid: u1', '    uuid: u1'),
      [expect.stringMatching(/^m\.yaml:4: pods\[0\]\.uuid: unknown key, want one of namespace, name, uid, ips/)],
    ],
    [`${good}extra: 1\n`, ['m.yaml:18: extra: unknown key, want one of pods, nodes, services, cidrs']],
    [good.replace('port: 80', 'port: 70000'), ['m.yaml:14: services[0].ports[0].port: 70000, want 1 to 65535']],
    [
      good.replace('app: cart', 'version: 1'),
      ['m.yaml:6: pods[0].labels.version: 1, want text: write the value in quotes'],
    ],
    [good.replace('/24', '/33'), ['m.yaml:16: cidrs[0].cidr: "203.0.113.0/33", want a range such as 203.0.113.0/24']],
    [good.replace('    name: cart-0\n', ''), ['m.yaml:2: pods[0].name: missing, want text']],
    ['pods: 5', ['m.yaml:1: pods: 5, want a list']],
    [
      'pods:\n- {namespace: a, name: b, ips: [10.0.0.1]}\n- {namespace: a, name: b, ips: [10.0.0.1]}\n',
      [
        'm.yaml:3: pods[1].name: "a/b" is given twice, first in pods[0]',
        'm.yaml:3: pods[1].ips[0]: "10.0.0.1" is given twice, first in pods[0]',
      ],
    ],
    ['pods: [', [expect.stringMatching(/^m\.yaml:1: /)]],
    ['pods: []\npods: []', [expect.stringMatching(/^m\.yaml:\d: .*unique/i)]],
  ])('names file, line, key and value of the mistake in %j', (text, expected) => {
    expect(mistakes(text)).toEqual(expected)
  })

  test('tells all mistakes together, up to twenty', () => {
    const text = `nodes:\n${Array.from({ length: 30 }, (_, i) => `- {name: n${i}, ips: [x]}\n`).join('')}`
    const found = mistakes(text)
    expect(found).toHaveLength(21)
    expect(found[19]).toBe('m.yaml:21: nodes[19].ips[0]: "x", want an IPv4 or IPv6 address')
    expect(found[20]).toBe('and 10 more')
  })

  test('answers any text with metadata or a SluiceError', () => {
    const pieces = [
      'pods',
      ':',
      '\n',
      '  ',
      '- ',
      '{',
      '}',
      '[',
      ']',
      'ips',
      '10.0.0.1',
      '&a',
      '*a',
      '!!int',
      '"',
      '\t',
      '? ',
    ]
    const text = fc.oneof(
      fc.string(),
      fc.array(fc.constantFrom(...pieces), { maxLength: 40 }).map((all) => all.join('')),
    )
    fc.assert(
      fc.property(text, (input) => {
        mistakes(input)
      }),
      { seed: 7, numRuns: 2000, interruptAfterTimeLimit: 8000 },
    )
  })
})

describe('StaticMetadata', () => {
  function setUp(text: string) {
    const directory = mkdtempSync(join(tmpdir(), 'sluice-metadata-'))
    const path = join(directory, 'm.yaml')
    writeFileSync(path, text)
    const calls: string[] = []
    const sink = {
      upsertPod: (pod: { name: string }) => calls.push(`+pod ${pod.name}`),
      deletePod: (_: string, name: string) => calls.push(`-pod ${name}`),
      upsertNode: (node: { name: string }) => calls.push(`+node ${node.name}`),
      deleteNode: (name: string) => calls.push(`-node ${name}`),
      upsertService: (service: { name: string }) => calls.push(`+service ${service.name}`),
      deleteService: (_: string, name: string) => calls.push(`-service ${name}`),
      setCidrs: (cidrs: readonly unknown[]) => calls.push(`cidrs ${cidrs.length}`),
    }
    const source = new StaticMetadata({ path, settleMs: 5, pollMs: 20 })
    onTestFinished(async () => {
      await source[Symbol.asyncDispose]()
      rmSync(directory, { recursive: true })
    })
    const replace = (next: string) => {
      writeFileSync(`${path}.next`, next)
      renameSync(`${path}.next`, path)
    }
    const start = () => source.start(sink as never, new AbortController().signal)
    return { source, calls, replace, start, path }
  }

  test('pushes all at start and then only what changed', async () => {
    const { calls, replace, start } = setUp(good)
    await start()
    expect(calls).toEqual(['+node node-1', '+service cart', '+pod cart-0', 'cidrs 1'])
    calls.length = 0
    replace(good.replace('app: cart', 'app: cart2').replace('203.0.113.0/24', '198.51.100.0/24'))
    await vi.waitFor(() => expect(calls).toEqual(['+pod cart-0', 'cidrs 1']))
    calls.length = 0
    replace('nodes: [{name: node-2, ips: []}]')
    await vi.waitFor(() =>
      expect(calls).toEqual(['-node node-1', '+node node-2', '-service cart', '-pod cart-0', 'cidrs 0']),
    )
  })

  test('keeps the last good state when a change has a mistake, and goes on from it', async () => {
    const { source, calls, replace, start } = setUp(good)
    await start()
    calls.length = 0
    replace('pods: 5')
    await vi.waitFor(() => expect(source.failures).toBe(1))
    expect(source.lastError).toContain('pods: 5, want a list')
    expect(calls).toEqual([])
    replace(good.replace('cart-0', 'cart-1'))
    await vi.waitFor(() => expect(calls).toEqual(['-pod cart-0', '+pod cart-1']))
    expect(source.lastError).toBe('')
    expect(source.failures).toBe(1)
  })

  test('refuses to start without a usable file', async () => {
    const { start, path } = setUp('pods: 5')
    await expect(start()).rejects.toMatchObject({ code: 'SLUICE_METADATA_INVALID' })
    rmSync(path)
    await expect(start()).rejects.toThrow('Cannot read metadata file')
  })
})

describe('workloadOf()', () => {
  const pod = (kind: string, name: string, labels: Record<string, string> = {}) => ({
    generateName: 'x-',
    labels,
    controller: { kind, name },
  })
  test.each([
    [pod('ReplicaSet', 'web-5d4f', { 'pod-template-hash': '5d4f' }), { name: 'web', kind: 'Deployment' }],
    [pod('ReplicaSet', 'web-5d4f'), { name: 'web-5d4f', kind: 'ReplicaSet' }],
    [pod('ReplicaSet', '-5d4f', { 'pod-template-hash': '5d4f' }), { name: '-5d4f', kind: 'ReplicaSet' }],
    [pod('ReplicationController', 'web-3', { deploymentconfig: 'web' }), { name: 'web', kind: 'DeploymentConfig' }],
    [pod('ReplicationController', 'web-3'), { name: 'web-3', kind: 'ReplicationController' }],
    [pod('Job', 'backup-28475810'), { name: 'backup', kind: 'CronJob' }],
    [pod('Job', 'backup-1700000000'), { name: 'backup', kind: 'CronJob' }],
    [pod('Job', 'backup-1234567'), { name: 'backup-1234567', kind: 'Job' }],
    [pod('DaemonSet', 'agent'), { name: 'agent', kind: 'DaemonSet' }],
    [{ ...pod('StatefulSet', 'db'), generateName: '' }, undefined],
    [{ ...pod('StatefulSet', 'db'), controller: undefined }, undefined],
  ])('of %j', (input, expected) => {
    expect(workloadOf(input)).toEqual(expected)
  })
})
