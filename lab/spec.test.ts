import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { DEMO_LAB, packagePath } from './paths.ts'
import { type LabInput, loadLabSpec, parseLabSpec, parsePodSpec } from './spec.ts'

function file(text: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'lab-spec-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'lab.yaml')
  writeFileSync(path, text)
  return path
}

describe('loadLabSpec()', () => {
  test('reads the demo: at least 12 pods in 4 namespaces, all kinds of work', () => {
    const spec = loadLabSpec(packagePath(DEMO_LAB))
    expect(spec.pods.length).toBeGreaterThanOrEqual(12)
    expect(new Set(spec.pods.map((pod) => pod.namespace)).size).toBeGreaterThanOrEqual(4)
    const kinds = new Set([...spec.pods, ...spec.world].flatMap((pod) => pod.run.map((run) => run.kind)))
    expect([...kinds].sort()).toEqual([
      'dns-client',
      'dns-server',
      'http-client',
      'http-server',
      'ping',
      'tcp-connect',
      'tcp-sink',
      'tcp-stream',
      'udp-client',
      'udp-echo',
    ])
  })

  test('names file, line, key and value of every mistake', () => {
    const path = file(
      'pods:\n  - namespace: Shop\n    name: a\n    colour: red\n  - {namespace: x, name: b, run: [{kind: ping, to: a}]}\n',
    )
    expect(() => loadLabSpec(path)).toThrow(
      expect.objectContaining({
        code: 'SLUICE_LAB_INVALID',
        message: expect.stringMatching(
          /lab\.yaml:2: "pods\[0\]\.namespace" = "Shop"[\s\S]*lab\.yaml:4: "pods\[0\]\.colour" is not a known key[\s\S]*lab\.yaml:5: "pods\[1\]\.run\[0\]\.everyMs" is missing/,
        ),
      }),
    )
  })

  test('says what to do when the file is not there', () => {
    expect(() => loadLabSpec('/no/such/lab.yaml')).toThrow(
      expect.objectContaining({ remedy: expect.stringContaining(DEMO_LAB) }),
    )
  })
})

describe('parseLabSpec()', () => {
  test('fills in one node when none is named', () => {
    expect(parseLabSpec({}).nodes).toEqual([{ name: 'node-1', labels: {} }])
  })

  const pod = { namespace: 'x', name: 'p' }
  const mistakes: [string, LabInput, string][] = [
    ['a pod twice', { pods: [pod, pod] }, 'pods: "x/p" is there twice'],
    [
      'an unknown node',
      { pods: [{ ...pod, node: 'n9' }] },
      'pods[0].node: "n9" is no node of this lab, nodes are node-1',
    ],
    [
      'an unknown pod of a service',
      { services: [{ namespace: 'x', name: 's', pods: ['x/q'] }] },
      'services[0].pods: "x/q" is no pod',
    ],
    [
      'a service address with two pods',
      {
        pods: [pod, { namespace: 'x', name: 'q' }],
        services: [{ namespace: 'x', name: 's', ip: '10.96.0.1', pods: ['x/p', 'x/q'] }],
      },
      'a service with an address has exactly one pod, not 2',
    ],
    [
      'an address twice',
      {
        world: [
          { name: 'a', ips: ['203.0.113.1'] },
          { name: 'b', ips: ['203.0.113.1'] },
        ],
      },
      'addresses: "203.0.113.1" is there twice',
    ],
    [
      'a stale route without a pod',
      { routes: [{ kind: 'stale', to: '10.0.0.1' }] },
      'routes[0].pod: goes with kind "stale"',
    ],
    [
      'a black hole with a pod',
      { pods: [pod], routes: [{ kind: 'blackhole', to: '10.0.0.1', pod: 'x/p' }] },
      'routes[0].pod: goes with kind "stale"',
    ],
    [
      'a rule for no pod',
      { deny: [{ from: 'x/a', to: 'x/b', protocol: 'tcp', port: 1 }] },
      'deny[0].from: "x/a" is no pod',
    ],
    ['a bad address', { world: [{ name: 'a', ips: ['1.2.3'] }] }, 'must be an IPv4 or IPv6 address'],
  ]
  test.each(mistakes)('refuses %s', (_, input, message) => {
    expect(() => parseLabSpec(input)).toThrow(message)
  })

  test('parsePodSpec() refuses an unknown kind of work', () => {
    expect(() => parsePodSpec({ ...pod, run: [{ kind: 'mine-bitcoin' } as never] })).toThrow(/run\[0\]/)
  })
})
