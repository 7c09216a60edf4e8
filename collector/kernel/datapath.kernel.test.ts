import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { LedgerCounter } from '../../model/layouts.gen.ts'
import { BpfLink, supportsTcx } from '../../native/index.ts'
import { ChurnNode } from '../../test/helpers/churn-node.ts'
import { eventually } from '../../test/helpers/eventually.ts'
import { describeKernel } from '../../test/helpers/privileged.ts'
import { TestingPrograms } from '../../test/helpers/testing-programs.ts'
import { type DatapathOptions, Interfaces, KernelDatapath, purgeDatapath } from './index.ts'

/** Opens a datapath of small maps, and removes it with all its pins when the test is over. */
function openDatapath(pinPath: string, options: Partial<DatapathOptions> = {}): KernelDatapath {
  const datapath = KernelDatapath.open({ pinPath, maxFlows: 4096, maxEndpoints: 64, ringBytes: 1 << 20, ...options })
  onTestFinished(async () => {
    await datapath[Symbol.asyncDispose]()
    if (existsSync(pinPath)) removePins(pinPath)
  })
  return datapath
}

function removePins(path: string): void {
  rmSync(path, { recursive: true, force: true })
}

function pinPathOf(name: string): string {
  const path = `/sys/fs/bpf/sluice-test-${name}`
  removePins(path)
  return path
}

/** A node with one pod, watched. */
async function watchedNode(datapath: KernelDatapath): Promise<Interfaces> {
  const interfaces = new Interfaces(datapath, { uplinks: [] })
  onTestFinished(() => interfaces[Symbol.dispose]())
  await interfaces.start()
  expect(interfaces.list().map((one) => one.name)).toEqual(['pod1'])
  return interfaces
}

function nodeWithPod(name: string): ChurnNode {
  const node = new ChurnNode(name)
  onTestFinished(() => node[Symbol.dispose]())
  node.addPods([1])
  return node
}

function ping(node: ChurnNode, count = 3): void {
  node.exec(1, 'ping', ['-q', '-c', String(count), '-i', '0.02', node.gateway(1)])
}

/** packets of flows = told in records + waiting in the table + lost with a table that was replaced */
async function expectClosedLedger(datapath: KernelDatapath): Promise<Float64Array> {
  const { openPackets, openBytes } = await datapath.sweeper.sweep()
  const ledger = datapath.counters.ledger()
  const of = (counter: number): number => ledger[counter]!
  expect(of(LedgerCounter.PACKETS_REPORTED) + openPackets + of(LedgerCounter.PACKETS_UNREPORTED)).toBe(
    of(LedgerCounter.PACKETS_FLOW),
  )
  expect(of(LedgerCounter.BYTES_REPORTED) + openBytes + of(LedgerCounter.BYTES_UNREPORTED)).toBe(
    of(LedgerCounter.BYTES_FLOW),
  )
  return ledger
}

function records(datapath: KernelDatapath): number {
  let count = 0
  while (datapath.ring.next() >= 0) count++
  datapath.ring.release(datapath.ring.position)
  return count
}

describeKernel('KernelDatapath', () => {
  it('verify() loads everything and leaves nothing', () => {
    const pinPath = pinPathOf('verify')
    const before = readdirSync('/proc/self/fd').length
    expect(KernelDatapath.verify({ pinPath, maxFlows: 4096 })).toEqual({
      reused: [],
      replaced: [],
      missingTracepoints: [],
    })
    expect(existsSync(pinPath)).toBe(false)
    expect(readdirSync('/proc/self/fd').length).toBe(before)
  })

  it('open() without a pin path leaves nothing in the kernel when it is disposed', async () => {
    const before = readdirSync('/proc/self/fd').length
    const datapath = KernelDatapath.open({ pinPath: undefined, maxFlows: 4096 })
    await datapath.sweeper.sweep()
    await datapath[Symbol.asyncDispose]()
    // The ring's pages go with the garbage collector; they hold no descriptor.
    expect(readdirSync('/proc/self/fd').length).toBe(before)
  })

  it('open() refuses a directory that another agent holds, and one that is on no bpffs', () => {
    const pinPath = pinPathOf('lock')
    openDatapath(pinPath)
    expect(() => KernelDatapath.open({ pinPath })).toThrow(
      expect.objectContaining({
        code: 'SLUICE_PIN_DIR',
        message: `Cannot use pin directory "${pinPath}/default": another agent runs with it`,
      }),
    )
    const folder = mkdtempSync('/tmp/sluice-pins-')
    expect(() => KernelDatapath.open({ pinPath: join(folder, 'pins') })).toThrow(
      expect.objectContaining({ code: 'SLUICE_PIN_DIR', remedy: 'mount -t bpf bpf /sys/fs/bpf' }),
    )
    expect(readdirSync(folder)).toEqual(['pins'])
    rmSync(folder, { recursive: true })
  })

  it('open() says how to get the object when it is not built', () => {
    expect(() => KernelDatapath.open({ pinPath: undefined, objectPath: '/nonexistent.o' })).toThrow(
      expect.objectContaining({ code: 'SLUICE_KERNEL_LOAD', remedy: 'Build the eBPF object with `npm run build`' }),
    )
  })

  it.each([
    ['/nonexistent/netns', /^Cannot open network namespace "\/nonexistent\/netns": ENOENT/],
    ['/proc/self/status', /^Cannot use network namespace "\/proc\/self\/status": .*EINVAL/],
  ])('open() names the namespace "%s" that cannot be used', (netns, message) => {
    expect(() => KernelDatapath.open({ pinPath: undefined, netns })).toThrow(
      expect.objectContaining({ code: 'SLUICE_KERNEL_ATTACH', message: expect.stringMatching(message) }),
    )
  })

  it('a restart goes on with counters, flows, unread records and running programs; meanwhile packets are seen', async () => {
    const node = nodeWithPod('restart')
    const pinPath = pinPathOf('restart')
    const first = openDatapath(pinPath, { netns: node.path })
    const watching = await watchedNode(first)
    ping(node)
    const seen = first.counters.ledger()[LedgerCounter.PACKETS_SEEN]!
    expect(seen).toBeGreaterThanOrEqual(6)
    const programs = tracingPrograms(pinPath)
    watching[Symbol.dispose]()
    await first[Symbol.asyncDispose]()
    ping(node, 5)
    const second = openDatapath(pinPath, { netns: node.path })
    expect(second.report.replaced).toEqual([])
    expect(second.report.reused).toContain('flows')
    const interfaces = await watchedNode(second)
    expect(tracingPrograms(pinPath)).toEqual(programs)
    const ledger = await expectClosedLedger(second)
    expect(ledger[LedgerCounter.PACKETS_SEEN]).toBeGreaterThanOrEqual(seen + 10)
    expect(second.counters.endpoint(interfaces.list()[0]!.slot).egressPackets).toBeGreaterThanOrEqual(8)
    expect(records(second)).toBe(ledger[LedgerCounter.EVENTS_SUBMITTED])
  })

  it('a flow table of another size is counted out, a ring of another size too', async () => {
    const node = nodeWithPod('resize')
    const pinPath = pinPathOf('resize')
    const first = openDatapath(pinPath, { netns: node.path })
    const watching = await watchedNode(first)
    ping(node, 5)
    const { openPackets } = await first.sweeper.sweep()
    expect(openPackets).toBeGreaterThan(0)
    watching[Symbol.dispose]()
    await first[Symbol.asyncDispose]()
    const second = openDatapath(pinPath, { netns: node.path, maxFlows: 8192, ringBytes: 1 << 21 })
    expect([...second.report.replaced].sort()).toEqual([
      'drop_counters',
      'endpoint_counters',
      'endpoints',
      'events',
      'flows',
      'netns',
    ])
    ping(node, 5) // still by the first one's programs, into its maps
    expect(second.unreadRecords()).toBe(second.counters.ledger()[LedgerCounter.EVENTS_SUBMITTED])
    await watchedNode(second)
    await second.takenOver
    ping(node, 5)
    const ledger = await expectClosedLedger(second)
    expect(second.unreadRecords()).toBe(ledger[LedgerCounter.EVENTS_SUBMITTED])
    expect(ledger[LedgerCounter.PACKETS_UNREPORTED]).toBeGreaterThan(openPackets)
    expect(ledger[LedgerCounter.FLOWS_REMOVED]).toBeGreaterThan(0)
    expect(second.counters.unreadRecords).toBeGreaterThan(0)
    expect(records(second) + second.counters.unreadRecords).toBe(ledger[LedgerCounter.EVENTS_SUBMITTED])
  })

  it('other constants replace the tracing programs, and only then', async () => {
    const pinPath = pinPathOf('constants')
    const first = openDatapath(pinPath)
    const before = tracingPrograms(pinPath)
    await first[Symbol.asyncDispose]()
    openDatapath(pinPath, { aggregationIntervalMs: 1234 })
    const after = tracingPrograms(pinPath)
    expect(after.size).toBe(before.size)
    for (const [name, id] of after) expect(id).not.toBe(before.get(name))
  })

  it('what is pinned for another node’s namespace is not taken over', async () => {
    const node = nodeWithPod('othernet')
    const pinPath = pinPathOf('othernet')
    const first = openDatapath(pinPath, { netns: node.path })
    const watching = await watchedNode(first)
    watching[Symbol.dispose]()
    await first[Symbol.asyncDispose]()
    const second = openDatapath(pinPath)
    expect(second.report).toMatchObject({ reused: [], replaced: [] })
    expect(readdirSync(join(pinPath, 'default/links')).filter((name) => name.startsWith('tcx_'))).toEqual([])
  })

  it('remove() takes programs and pins out, the directories too', async () => {
    const node = nodeWithPod('remove')
    const pinPath = pinPathOf('remove')
    const datapath = openDatapath(pinPath, { netns: node.path })
    const watching = await watchedNode(datapath)
    watching[Symbol.dispose]()
    const programs = ['pod_egress', 'pod_ingress', 'packet_dropped'].map((name) => datapath.program(name).info().id)
    expect(programs.map(programExists)).toEqual([true, true, true])
    await datapath.remove()
    expect(existsSync(pinPath)).toBe(false)
    // A program that is attached anywhere lives on without a descriptor.
    await eventually('the programs are gone', () => !programs.some(programExists))
  })
})

describeKernel('purgeDatapath()', () => {
  it.for(['tcx', 'clsact'] as const)('takes out by %s what a killed agent left', async (attach, { skip }) => {
    if (attach === 'tcx' && !tcxHere()) skip('this kernel has no tcx')
    const node = nodeWithPod('purge')
    const pinPath = pinPathOf('purge')
    const datapath = openDatapath(pinPath, { netns: node.path, attach })
    const watching = await watchedNode(datapath)
    watching[Symbol.dispose]()
    expect(() => purgeDatapath({ pinPath, netns: node.path })).toThrow('another agent runs with it')
    const programs = ['pod_egress', 'packet_dropped'].map((name) => datapath.program(name).info().id)
    await datapath[Symbol.asyncDispose]()
    expect(programs.map(programExists)).toEqual([true, true])
    expect(purgeDatapath({ pinPath, netns: node.path })).toBe(true)
    expect(existsSync(pinPath)).toBe(false)
    await eventually('the programs are gone', () => !programs.some(programExists))
    expect(purgeDatapath({ pinPath, netns: node.path })).toBe(false)
  })
})

function tcxHere(): boolean {
  using testing = new TestingPrograms()
  return supportsTcx(testing.program('empty'))
}

function programExists(id: number): boolean {
  return spawnSync('bpftool', ['prog', 'show', 'id', String(id)]).status === 0
}

/** Ids of the programs that run at tracepoints, by pin. */
function tracingPrograms(pinPath: string): Map<string, number> {
  const folder = join(pinPath, 'default/links')
  const programs = new Map<string, number>()
  for (const name of readdirSync(folder).filter((each) => each.startsWith('trace_'))) {
    using link = BpfLink.openPinned(join(folder, name))
    programs.set(name, link.info().programId)
  }
  expect(programs.size).toBe(3)
  return programs
}
