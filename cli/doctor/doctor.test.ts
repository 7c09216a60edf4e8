import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { examine } from './index.ts'
import { checkKernel, checkMemlock, checkObject, type NativeFacts } from './kernel.ts'
import { checkBpffs, checkCapabilities, checkLab, checkLogDirectory, checkNode, checkPort } from './machine.ts'

const FACTS: NativeFacts = {
  hasKernelBtf: () => true,
  hasTracepoint: () => true,
  kernelEnum: () => new Map([['SKB_DROP_REASON_NO_SOCKET', 3]]),
  supportsMapType: () => true,
  supportsProgramType: () => true,
  ProgramType: { SCHED_CLS: 3, TRACING: 26, SYSCALL: 31 },
}

const missingOf = (findings: readonly { state: string; name: string; fix: string }[]) =>
  findings.filter(({ state }) => state === 'missing').map(({ name }) => name)

describe('checkKernel()', () => {
  test('finds nothing missing on a kernel that has all', () => {
    expect(missingOf(checkKernel(FACTS, { canProbe: true, release: '6.12.9-amd64' }))).toEqual([])
    expect(
      checkKernel(FACTS, { canProbe: true, release: '6.12.9-amd64' }).find(({ name }) => name === 'attach')?.detail,
    ).toBe('tcx links')
    expect(
      checkKernel(FACTS, { canProbe: true, release: '6.1.0-31-amd64' }).find(({ name }) => name === 'attach')?.detail,
    ).toMatch(/^clsact filters/)
  })

  const cases: [string, Partial<NativeFacts>, string, string[]][] = [
    ['an old kernel', {}, '5.10.0', ['release']],
    ['no BTF', { hasKernelBtf: () => false }, '6.1.0', ['BTF']],
    ['no ring buffer', { supportsMapType: () => false }, '6.1.0', ['ring buffer']],
    ['no tc programs', { supportsProgramType: (type) => type !== 3 }, '6.1.0', ['tc programs']],
    ['no kfree_skb', { hasTracepoint: (name) => name !== 'kfree_skb' }, '6.1.0', ['tp_btf/kfree_skb']],
    ['no drop reasons', { kernelEnum: () => undefined }, '6.1.0', ['drop reasons']],
    ['no retransmit tracepoint: only a warning', { hasTracepoint: (name) => name === 'kfree_skb' }, '6.1.0', []],
  ]
  test.each(cases)('names %s, with a fix', (_, facts, release, names) => {
    const findings = checkKernel({ ...FACTS, ...facts }, { canProbe: true, release })
    expect(missingOf(findings)).toEqual(names)
    for (const { state, fix } of findings) expect(fix === '').toBe(state === 'ok')
  })

  test('does not take a refusal for want of permission for a lack of the kernel', () => {
    const refuses = { ...FACTS, supportsMapType: () => false, supportsProgramType: () => false }
    const findings = checkKernel(refuses, { canProbe: false, release: '6.1.0' })
    expect(missingOf(findings)).toEqual([])
    expect(findings.map(({ name }) => name)).toContain('tp_btf/kfree_skb')
  })

  test('looks at the rest when the addon cannot be loaded', () => {
    expect(checkKernel(undefined, { canProbe: true, release: '6.1.0' }).map(({ name }) => name)).toEqual([
      'release',
      'BTF',
      'attach',
      'BPF JIT',
    ])
  })
})

describe('checkCapabilities()', () => {
  const bits = (...numbers: number[]) =>
    `CapEff:\t${numbers.reduce((all, bit) => all | (1n << BigInt(bit)), 0n).toString(16)}\n`
  const cases: [string, string, string[]][] = [
    ['nothing held', 'CapEff:\t0000000000000000\n', ['CAP_BPF', 'CAP_NET_ADMIN', 'CAP_PERFMON']],
    ['the three', bits(12, 38, 39), []],
    ['CAP_SYS_ADMIN stands for two of them', bits(12, 21), []],
    ['but not for CAP_NET_ADMIN', bits(21), ['CAP_NET_ADMIN']],
  ]
  test.each(cases)('%s', (_, status, names) => {
    expect(missingOf(checkCapabilities(status))).toEqual(names)
  })
})

describe('other checks', () => {
  const directory = () => {
    const path = mkdtempSync(join(tmpdir(), 'doctor-'))
    onTestFinished(() => rmSync(path, { recursive: true }))
    return path
  }

  test('checkMemlock() matters before 5.11 only', () => {
    const limits = 'Max locked memory         65536                65536                bytes\n'
    expect(checkMemlock('5.10.0', limits)).toMatchObject({ state: 'missing', detail: '65536 bytes' })
    expect(checkMemlock('5.10.0', limits.replace(/65536/g, 'unlimited')).state).toBe('ok')
    expect(checkMemlock('6.1.0', limits).state).toBe('ok')
  })

  test('checkBpffs() refuses another file system and says what to mount', () => {
    expect(checkBpffs(join(directory(), 'pins'))).toMatchObject({
      state: 'missing',
      fix: expect.stringMatching(/^mount -t bpf bpf/),
    })
  })

  test('checkLogDirectory() looks at the nearest directory that exists', () => {
    expect(checkLogDirectory(join(directory(), 'a/b/events.log')).state).not.toBe('missing')
    expect(checkLogDirectory('/dev/null/sub/events.log')).toMatchObject({
      state: 'missing',
      detail: '"/dev/null" is not a directory',
    })
  })

  test('checkPort() tells a taken port from a free one', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void server.close())
    const { port } = server.address() as { port: number }
    expect(await checkPort('metrics', 'metrics.listen', `127.0.0.1:${port}`)).toMatchObject({
      state: 'missing',
      fix: expect.stringContaining('metrics.listen'),
    })
    expect((await checkPort('metrics', 'metrics.listen', '127.0.0.1:0')).state).toBe('ok')
    expect((await checkPort('gRPC', 'api.listen', '192.0.2.1:4244')).state).toBe('missing')
  })

  test('checkNode(), checkObject() and checkLab() name package and command', () => {
    expect(checkNode('20.18.3').state).toBe('missing')
    expect(checkNode('20.19.0').state).toBe('ok')
    expect(checkNode('24.0.0').state).toBe('ok')
    expect(checkObject('/no/such.o')).toMatchObject({ state: 'missing', fix: expect.stringContaining('npm run build') })
    expect(checkLab('', false).find(({ name }) => name === 'root')?.state).toBe('warning')
  })

  test('examine() looks at everything and changes nothing', async () => {
    const findings = await examine({
      pinPath: '/sys/fs/bpf/sluice',
      logPath: '/var/log/acns/hubble/events.log',
      ports: [],
    })
    expect(new Set(findings.map(({ group }) => group))).toEqual(new Set(['Kernel', 'Permissions', 'Files', 'Lab']))
    for (const { state, fix, name } of findings) expect([name, fix !== '']).toEqual([name, state !== 'ok'])
  })
})
