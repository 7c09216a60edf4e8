import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { Lab } from '../../lab/index.ts'
import { runSluice, sluiceCommand, TEST_PIN_ROOT } from '../helpers/agent.ts'
import { describeKernel } from '../helpers/privileged.ts'

const directory = mkdtempSync(join(tmpdir(), 'sluice-config-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

function file(name: string, text: string): string {
  const path = join(directory, name)
  writeFileSync(path, text)
  return path
}

describe('sluice agent with a configuration that cannot be used', () => {
  const cases: [what: string, args: string[], env: Record<string, string>, message: RegExp][] = [
    [
      'an unknown key',
      ['--config', file('unknown.yaml', 'log:\n  path: /tmp/x.log\n  maxBackup: 3\n')],
      {},
      /unknown\.yaml:3.*log.*maxBackup/s,
    ],
    [
      'a value out of range',
      ['--config', file('range.yaml', 'kernel:\n  maxFlows: 12\n')],
      {},
      /range\.yaml:2.*kernel\.maxFlows.*12.*1024/s,
    ],
    [
      'several mistakes, all told at once',
      ['--config', file('several.yaml', 'metrics:\n  listen: nowhere\napi:\n  maxStreams: many\n')],
      {},
      /several\.yaml:2.*metrics\.listen.*several\.yaml:4.*api\.maxStreams/s,
    ],
    ['no such file', ['--config', join(directory, 'absent.yaml')], {}, /absent\.yaml.*ENOENT|no such file/s],
    ['text that is no YAML', ['--config', file('broken.yaml', 'log: [\n')], {}, /broken\.yaml:\d/],
    ['a flag for an unknown key', ['--set', 'log.pth=/tmp/x'], {}, /log\.pth.*not a known key/s],
    ['a flag without a value', ['--set', 'log.path'], {}, /log\.path.*key=value/s],
    [
      'a bad value in the environment',
      [],
      { SLUICE_KERNEL_RING_SIZE: '3 bananas' },
      /kernel\.ringSize.*3 bananas.*16MiB/s,
    ],
  ]

  test.each(cases)('%s: exit code 2, what is wrong and where', async (_, args, env, message) => {
    // --dry-run: should one of these be taken for good, nothing is attached.
    const { code, stdout, stderr } = await runSluice(['agent', '--dry-run', ...args], { env })
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(message)
    expect(stderr).toMatch(/^fix: {3}\S/m)
  })
})

describeKernel('sluice agent', () => {
  /** What the node's devices have attached, and what is pinned. */
  const traces = (netns: string, instance: string) => ({
    attached: JSON.parse(tool('nsenter', `--net=${netns}`, '--', 'bpftool', '-j', 'net', 'show')) as unknown,
    qdiscs: tool('nsenter', `--net=${netns}`, '--', 'tc', '-json', 'qdisc', 'show', 'clsact'),
    pins: existsSync(TEST_PIN_ROOT) ? readdirSync(TEST_PIN_ROOT).filter((name) => name === instance) : [],
    files: readdirSync(directory).filter((name) => name.startsWith('dry')),
  })

  test('--dry-run loads and verifies, attaches and pins nothing, and listens nowhere', async () => {
    await using lab = await Lab.up({ pods: [{ namespace: 'shop', name: 'web' }] })
    const instance = `dry-${process.pid}`
    const { netnsPath } = lab.node()
    const before = traces(netnsPath, instance)
    const settings = {
      'node.netns': netnsPath,
      'kernel.instance': instance,
      'kernel.pinPath': TEST_PIN_ROOT,
      'log.path': join(directory, 'dry', 'events.log'),
      'api.listen': `unix://${join(directory, 'dry.sock')}`,
    }
    const flags = Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${value}`])
    const { code, stderr } = await runSluice(['agent', '--dry-run', ...flags])
    expect([code, stderr]).toEqual([0, expect.stringContaining('programs are good, nothing was attached')])
    expect(traces(netnsPath, instance)).toEqual(before)
  })

  test('says which address is taken, ends with 1 and leaves nothing attached', async () => {
    await using lab = await Lab.up({ pods: [{ namespace: 'shop', name: 'web' }] })
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', () => resolve()))
    const { port } = taken.address() as { port: number }
    const instance = `dry-taken-${process.pid}`
    const settings = {
      'node.netns': lab.node().netnsPath,
      'kernel.instance': instance,
      'kernel.pinPath': TEST_PIN_ROOT,
      'log.path': join(directory, 'taken.log'),
      'api.listen': `127.0.0.1:${port}`,
      'metrics.listen': '127.0.0.1:0',
      'health.listen': '127.0.0.1:0',
    }
    try {
      const flags = Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${value}`])
      const { code, stderr } = await runSluice(['agent', ...flags])
      expect(code).toBe(1)
      expect(stderr).toMatch(new RegExp(`SLUICE_API_LISTEN.*127\\.0\\.0\\.1:${port}.*EADDRINUSE|EADDRINUSE.*:${port}`))
      expect(traces(lab.node().netnsPath, '').attached).toEqual(
        expect.arrayContaining([expect.objectContaining({ tc: [] })]),
      )
    } finally {
      taken.close()
      rmSync(join(TEST_PIN_ROOT, instance), { recursive: true, force: true })
      if (readdirSync(TEST_PIN_ROOT).length === 0) rmSync(TEST_PIN_ROOT, { recursive: true })
    }
  })
})

function tool(command: string, ...args: string[]): string {
  const path = `${process.env['PATH']}:/usr/sbin:/sbin`
  return execFileSync(command, args, { encoding: 'utf8', env: { ...process.env, PATH: path } })
}

describeKernel('sluice agent without capabilities', () => {
  test('says what it needs instead of what the kernel answered alone', () => {
    const bare = ['--bounding-set', '-all', '--inh-caps', '-all', '--', ...sluiceCommand()]
    const { status, stderr } = spawnSync('setpriv', [...bare, 'agent', '--dry-run', '--log-format', 'text'], {
      encoding: 'utf8',
    })
    expect(stderr).toMatch(/agent cannot run {2}code=SLUICE_KERNEL_LOAD remedy=.*CAP_BPF.* err=.*EPERM/)
    expect(status).toBe(1)
  })
})
