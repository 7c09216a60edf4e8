import { describe, expect, onTestFinished, test } from 'vitest'
import { ApiDouble } from '../test/helpers/api-double.ts'
import { eventually } from '../test/helpers/eventually.ts'
import { ApiClient } from './client.ts'
import { LeaderElector, type LeaderElectorOptions } from './lease.ts'

async function setUp() {
  const api = await ApiDouble.start()
  onTestFinished(() => api[Symbol.asyncDispose]())
  const candidate = (identity: string, more: Partial<LeaderElectorOptions> = {}) => {
    const client = new ApiClient(api.access(), { idleMs: 5000 })
    const told: boolean[] = []
    const elector = new LeaderElector({
      client,
      namespace: 'monitoring',
      name: 'sluice',
      identity,
      leaseMs: 1000,
      renewMs: 100,
      retryMs: 60,
      onChange: (isLeader) => told.push(isLeader),
      ...more,
    })
    onTestFinished(async () => {
      await elector[Symbol.asyncDispose]()
      client[Symbol.dispose]()
    })
    elector.start()
    return { elector, told }
  }
  const spec = () => api.get('leases', 'monitoring', 'sluice')?.['spec'] as Record<string, unknown> | undefined
  return { api, candidate, spec }
}

describe('LeaderElector', () => {
  test('makes one of several the leader, and another when that one stops', async () => {
    const { candidate, spec } = await setUp()
    // Longer than the test takes: who follows has been given the lease.
    const all = ['a', 'b', 'c'].map((name) => candidate(name, { leaseMs: 60_000 }))
    await eventually('a leader', () => all.some(({ elector }) => elector.isLeader))
    await new Promise((resolve) => setTimeout(resolve, 300))
    const leaders = all.filter(({ elector }) => elector.isLeader)
    expect(leaders).toHaveLength(1)
    const first = spec()?.['holderIdentity']
    expect(spec()).toMatchObject({ leaseDurationSeconds: 60, leaseTransitions: expect.any(Number) })
    expect(spec()?.['renewTime']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
    await leaders[0]!.elector[Symbol.asyncDispose]()
    expect(leaders[0]!.told).toEqual([true, false])
    await eventually('the next one', () => all.some(({ elector }) => elector.isLeader))
    expect(spec()?.['holderIdentity']).not.toBe(first)
    expect(spec()?.['leaseTransitions']).toBeGreaterThan(0)
  })

  test('gives the lease up though a renewal was on its way when it stopped', async () => {
    const { candidate, spec } = await setUp()
    for (let i = 0; i < 20; i++) {
      // It renews without a pause: some renewal is always under way.
      const { elector } = candidate('a', { leaseMs: 60_000, renewMs: 1 })
      await eventually('it leads', () => elector.isLeader)
      await new Promise((resolve) => setTimeout(resolve, i))
      await elector[Symbol.asyncDispose]()
      expect(spec()?.['holderIdentity']).toBe('')
    }
  })

  test('ends before another may begin when its renewals fail', async () => {
    const { api, candidate } = await setUp()
    const a = candidate('a')
    await eventually('a leads', () => a.elector.isLeader)
    let now = 1_000_000
    const b = candidate('b', { now: () => now })
    await eventually('b has seen the lease', () => b.elector.holder === 'a')
    const down = api.fault({ verb: 'update' }, { kind: 'status', code: 500 })
    await eventually('a leads no more', () => !a.elector.isLeader)
    await eventually('a is told', () => a.told.at(-1) === false)
    expect(a.elector.lastError).toContain('500')
    down[Symbol.dispose]()
    // By its own clock nothing has passed for b, whatever the time in the lease is: it does not take over.
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(b.elector.isLeader).toBe(false)
    now += 999
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(b.elector.isLeader).toBe(false)
  })

  test('takes over a lease whose holder is gone, after its time by its own clock', async () => {
    const { api, candidate, spec } = await setUp()
    // A holder whose clock is a year ahead: times of others count for nothing.
    const renewTime = '2027-11-24T10:00:00.000000Z'
    api.apply('leases', {
      metadata: { namespace: 'monitoring', name: 'sluice' },
      spec: { holderIdentity: 'dead', leaseDurationSeconds: 60, renewTime, leaseTransitions: 4 },
    })
    let now = 0
    const { elector } = candidate('a', { now: () => now })
    await eventually('the look', () => elector.holder === 'dead')
    await new Promise((resolve) => setTimeout(resolve, 100))
    now = 59_000
    await new Promise((resolve) => setTimeout(resolve, 150))
    expect(spec()?.['holderIdentity']).toBe('dead')
    now = 61_000
    await eventually('the take-over', () => elector.isLeader)
    expect(spec()).toMatchObject({ holderIdentity: 'a', leaseTransitions: 5 })
  })

  test('is the leader again at once after a restart under the same name', async () => {
    const { api, candidate, spec } = await setUp()
    api.apply('leases', {
      metadata: { namespace: 'monitoring', name: 'sluice' },
      spec: { holderIdentity: 'a', leaseDurationSeconds: 60, leaseTransitions: 4 },
    })
    const { elector } = candidate('a')
    await eventually('the lead', () => elector.isLeader)
    expect(spec()).toMatchObject({ leaseTransitions: 4 })
  })

  test('yields when somebody else has written the lease', async () => {
    const { api, candidate, spec } = await setUp()
    const { elector, told } = candidate('a')
    await eventually('the lead', () => elector.isLeader)
    const lease = api.get('leases', 'monitoring', 'sluice')!
    api.apply('leases', { ...lease, spec: { ...spec(), holderIdentity: 'thief', leaseDurationSeconds: 60 } })
    await eventually('the loss', () => !elector.isLeader)
    expect(told).toEqual([true, false])
    await eventually('the look', () => elector.holder === 'thief')
  })

  test('goes on trying where it may not read leases, or the server is down', async () => {
    const { api, candidate } = await setUp()
    api.forbid('leases')
    const { elector } = candidate('a')
    await eventually('the refusals', () => elector.failures > 2)
    expect(elector.lastError).toContain('leases is forbidden')
    api.allow('leases')
    await eventually('the lead', () => elector.isLeader)
    expect(elector.lastError).toBe('')
  })
})
