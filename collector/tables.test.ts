import { describe, expect, test } from 'vitest'
import { endpoint, ipBytes } from '../test/helpers/flow-store.ts'
import { Fifo } from './fifo.ts'
import { NameTable, type NameTableOptions } from './names.ts'
import { NAMESPACE_TTL_SECS, NamespaceTable } from './namespaces.ts'
import { RefTable } from './ref-table.ts'
import { ReleaseQueue } from './release-queue.ts'
import { ServiceTable } from './services.ts'

const words = (ip: string) => new Uint32Array(ipBytes(ip).buffer)

describe('NameTable', () => {
  function setUp(options: Partial<NameTableOptions> = {}) {
    const history = { end: 0 }
    const clock = { secs: 1000 }
    const table = new NameTable({ historyEnd: () => history.end, nowSecs: () => clock.secs, ...options })
    const look = (observer: number, ip: string) => table.get(table.lookup(words(ip), 0, observer))
    return { table, history, clock, look }
  }

  test('keeps names per observer, lower case, without trailing dot', () => {
    const { table, look } = setUp()
    table.learn(5, 'API.Example.com.', ['203.0.113.9', 'fd00::9', 'nonsense'], 30)
    table.learn(5, 'www.example.com.', ['203.0.113.9'], 30)
    expect(look(5, '203.0.113.9')).toEqual(['api.example.com', 'www.example.com'])
    expect(look(5, 'fd00::9')).toEqual(['api.example.com'])
    expect([look(6, '203.0.113.9'), look(5, '203.0.113.8')]).toEqual([[], []])
    expect(table.size).toBe(2)
  })

  test('forgets a name when its TTL, but at least the least one, has passed', () => {
    const { table, clock, look } = setUp({ minTtlSecs: 60 })
    table.learn(1, 'short.', ['10.0.0.1'], 1)
    table.learn(1, 'long.', ['10.0.0.1'], 600)
    clock.secs += 61
    table.maintain(0)
    expect(look(1, '10.0.0.1')).toEqual(['long'])
    clock.secs += 600
    table.maintain(0)
    expect([look(1, '10.0.0.1'), table.size]).toEqual([[], 0])
  })

  test('a reference keeps its names while a flow of the history may name it', () => {
    const { table, clock, history } = setUp({ minTtlSecs: 0 })
    table.learn(1, 'a.', ['10.0.0.1'], 1)
    const ref = table.lookup(words('10.0.0.1'), 0, 1)
    history.end = 50
    clock.secs += 2
    table.maintain(0)
    expect([table.size, table.get(ref)]).toEqual([0, ['a']])
    table.maintain(49)
    expect(table.get(ref)).toEqual(['a'])
    // In use again and out of use again: the later flows count.
    table.learn(1, 'a.', ['10.0.0.1'], 1)
    expect(table.lookup(words('10.0.0.1'), 0, 1)).toBe(ref)
    history.end = 90
    clock.secs += 2
    table.maintain(60)
    expect(table.get(ref)).toEqual(['a'])
    table.maintain(90)
    expect([table.get(ref), table.setCount]).toEqual([[], 0])
  })

  test('evicts what was not looked up when it is full, and counts', () => {
    const { table, look } = setUp({ maxLearned: 100 })
    for (let i = 0; i < 100; i++) table.learn(1, `n${i}.`, [`10.0.0.${i}`], 60)
    table.learn(1, 'first-round.', ['10.0.1.1'], 60)
    for (let i = 50; i < 100; i++) look(1, `10.0.0.${i}`)
    for (let i = 0; i < 40; i++) table.learn(1, `m${i}.`, [`10.0.2.${i}`], 60)
    expect([table.size, table.evicted]).toEqual([100, 41])
    for (let i = 60; i < 100; i++) expect(look(1, `10.0.0.${i}`)).toEqual([`n${i}`])
  })

  test('an address has at most eight names', () => {
    const { table, look } = setUp()
    for (let i = 0; i < 20; i++) table.learn(1, `n${i}.`, ['10.0.0.1'], 1000 + i)
    expect(look(1, '10.0.0.1')).toEqual(['n12', 'n13', 'n14', 'n15', 'n16', 'n17', 'n18', 'n19'])
  })
})

describe('ServiceTable', () => {
  const service = (name: string, ips: string[], port = 80) => ({
    namespace: 'shop',
    name,
    ips,
    ports: [{ port, protocol: 'TCP' as const }],
  })

  test('follows changes of a service and keeps its reference', () => {
    const table = new ServiceTable(() => 0)
    table.upsertService(service('a', ['10.96.0.1']))
    const ref = table.lookup(words('10.96.0.1'), 0, 80, 6)
    expect(table.get(ref)).toEqual({ name: 'a', namespace: 'shop' })
    table.upsertService(service('a', ['10.96.0.2'], 81))
    expect(table.lookup(words('10.96.0.1'), 0, 80, 6)).toBe(0)
    expect(table.lookup(words('10.96.0.2'), 0, 81, 6)).toBe(ref)
    expect(table.lookup(words('10.96.0.2'), 0, 81, 17)).toBe(0)
  })

  test('uses a reference again only when no flow can name the old service', () => {
    let end = 100
    const table = new ServiceTable(() => end)
    table.upsertService(service('a', ['10.96.0.1']))
    const ref = table.lookup(words('10.96.0.1'), 0, 80, 6)
    table.deleteService('shop', 'a')
    expect([table.lookup(words('10.96.0.1'), 0, 80, 6), table.get(ref)?.name]).toEqual([0, 'a'])
    table.maintain(99)
    expect(table.get(ref)?.name).toBe('a')
    end = 200
    table.maintain(100)
    expect(table.get(ref)).toBeUndefined()
    table.upsertService(service('b', ['10.96.0.1']))
    expect(table.lookup(words('10.96.0.1'), 0, 80, 6)).toBe(ref)
  })

  test('an address that moved to another service stays with it when the first one is deleted', () => {
    const table = new ServiceTable(() => 0)
    table.upsertService(service('a', ['10.96.0.1']))
    table.upsertService(service('b', ['10.96.0.1']))
    table.deleteService('shop', 'a')
    expect(table.get(table.lookup(words('10.96.0.1'), 0, 80, 6))?.name).toBe('b')
  })

  test('finds each of many frontends, also when hundreds share a hint and go again', () => {
    const table = new ServiceTable(() => 0)
    const ports = Array.from({ length: 60 }, (_, i) => ({ port: 1000 + i, protocol: 'TCP' as const }))
    const names = Array.from({ length: 1000 }, (_, i) => ({ name: `s${i}`, ip: `10.97.${i >> 8}.${i & 255}` }))
    for (const { name, ip } of names) table.upsertService({ ...service(name, [ip]), ports })
    for (const { name, ip } of names) {
      for (const port of [1000, 1059]) expect(table.get(table.lookup(words(ip), 0, port, 6))?.name).toBe(name)
      expect([table.lookup(words(ip), 0, 999, 6), table.lookup(words(ip), 0, 1000, 17)]).toEqual([0, 0])
    }
    for (const { name } of names.slice(1)) table.deleteService('shop', name)
    expect(table.get(table.lookup(words('10.97.0.0'), 0, 1059, 6))?.name).toBe('s0')
    expect(table.lookup(words('10.97.0.1'), 0, 1059, 6)).toBe(0)
  })

  test('refuses frontends beyond the bound and counts', () => {
    const table = new ServiceTable(() => 0, 2)
    table.upsertService(service('a', ['10.96.0.1', '10.96.0.2', '10.96.0.3']))
    expect(table.refused).toBe(1)
  })
})

describe('NamespaceTable', () => {
  const spaces = ['', 'b', 'a', 'c']
  const make = (max?: number) =>
    new NamespaceTable(
      (ref) => endpoint({ namespace: spaces[ref] ?? '', clusterName: ref === 3 ? 'east' : 'default' }),
      max,
    )

  test('lists namespaces of the last hour, sorted by cluster and name', () => {
    const table = make()
    table.tick(0)
    for (const ref of [0, 1, 3, 1]) table.mark(ref)
    table.tick(1800)
    table.mark(2)
    table.mark(1)
    expect(table.list()).toEqual([
      { cluster: '', namespace: 'a' },
      { cluster: '', namespace: 'b' },
      { cluster: 'east', namespace: 'c' },
    ])
    table.tick(NAMESPACE_TTL_SECS)
    expect(table.list().map(({ namespace }) => namespace)).toEqual(['a', 'b'])
    table.tick(1800 + NAMESPACE_TTL_SECS)
    expect(table.list()).toEqual([])
  })

  test('lets go of the one not seen for longest when full', () => {
    const table = make(2)
    table.tick(0)
    for (const ref of [1, 2]) table.mark(ref)
    table.tick(60)
    table.mark(1)
    table.mark(3)
    expect([table.list().map(({ namespace }) => namespace), table.evicted]).toEqual([['b', 'c'], 1])
  })
})

describe('RefTable', () => {
  test('never gives a number twice and frees whole pages', () => {
    const table = new RefTable<string>()
    const refs = Array.from({ length: 1000 }, (_, i) => table.add(`v${i}`))
    expect(new Set(refs).size).toBe(1000)
    expect(refs[0]).toBe(1)
    for (const ref of refs) expect(table.delete(ref)).toBe(true)
    expect([table.size, table.get(500), table.delete(500)]).toEqual([0, undefined, false])
    expect([table.add('next'), table.get(1001)]).toEqual([1001, 'next'])
  })
})

test('Fifo keeps order over many turns', () => {
  const fifo = new Fifo<number>()
  let next = 0
  for (let i = 0; i < 1000; i++) {
    fifo.push(i)
    if (i % 3 !== 0) expect([fifo.peek(), fifo.shift()]).toEqual([next, next++])
  }
  while (fifo.size > 0) expect(fifo.shift()).toBe(next++)
  expect([next, fifo.shift(), fifo.peek()]).toEqual([1000, undefined, undefined])
})

test('ReleaseQueue loses no position when it is full', () => {
  const queue = new ReleaseQueue([0, 100])
  for (let i = 1; i <= 3000; i++) queue.push(i, (source) => i * 10 + source * 100)
  expect(queue.size).toBe(1024)
  expect(queue.oldestEnd).toBe(1)
  for (let i = 0; i < 1023; i++) queue.shift()
  expect([queue.released(0), queue.released(1)]).toEqual([10_230, 10_330])
  expect(queue.oldestEnd).toBe(3000)
  queue.shift()
  expect([queue.released(0), queue.released(1), queue.oldestEnd]).toEqual([30_000, 30_100, Number.POSITIVE_INFINITY])
})
