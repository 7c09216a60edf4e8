import { describe, expect, test } from 'vitest'
import { finish } from '../../base/steps.ts'
import { EndpointIndex, PAIR_BYTES } from '../../filters/kernel/index.ts'
import { FilterClassId } from '../../model/layouts.gen.ts'
import { endpoint } from '../../test/helpers/flow-store.ts'
import { ClassTable } from './class-table.ts'

const pod = (podName: string) => endpoint({ namespace: 'shop', podName })
const world = endpoint({ identity: 2, labels: ['reserved:world'] })
const host = endpoint({ identity: 1, labels: ['reserved:host'] })

/** One rule for each name, and one for the host. */
function make(names: readonly string[], options: { limit?: number } = {}) {
  const rules = names.map((prefix, bit) => ({
    bit,
    from: [podTest(prefix)],
    to: [],
  }))
  const identity = { op: 'identity', side: 'source', values: [1] } as const
  const hostRule = {
    bit: names.length,
    from: [{ op: 'field', dimension: 'source-endpoint', test: identity, negated: false } as const],
    to: [],
  }
  const clock = { now: 0 }
  const table = new ClassTable(finish(EndpointIndex.of([...rules, hostRule])), world, host, {
    ...options,
    now: () => clock.now,
  })
  const written = new Map<number, string>()
  const flush = () =>
    table.flush((first, masks) => {
      for (let at = 0; at < masks.length; at += PAIR_BYTES) {
        written.set(first + at / PAIR_BYTES, Buffer.from(masks.subarray(at, at + 1)).toString('hex'))
      }
    })
  return { table, clock, written, flush }
}

function podTest(prefix: string) {
  const test = { op: 'pod', side: 'source', names: [{ namespace: 'shop', prefix }] } as const
  return { op: 'field', dimension: 'source-endpoint', test, negated: false } as const
}

describe('ClassTable', () => {
  test('gives endpoints that the same rules accept one class, and writes its masks once', () => {
    const { table, written, flush } = make(['web', 'db'])
    const ids = ['web-1', 'web-2', 'db', 'other'].map((name) => table.acquire(pod(name)))
    expect(ids).toEqual([3, 3, 4, FilterClassId.WORLD])
    flush()
    // Bit 0 is web's, 1 db's, 2 the host's.
    expect(Object.fromEntries(written)).toEqual({ 0: '00', 1: '04', 3: '01', 4: '02' })
    written.clear()
    table.acquire(pod('web-3'))
    flush()
    expect(written.size).toBe(0)
    expect(table.size).toBe(5)
  })

  test('gives a number to another class when nobody has used it for a second', () => {
    const { table, clock, written, flush } = make(['a', 'b', 'c'], { limit: 4 })
    const a = table.acquire(pod('a'))
    expect(table.acquire(pod('b'))).toBe(FilterClassId.UNDECIDED)
    expect(table.undecided).toBe(1)
    table.release(FilterClassId.UNDECIDED)
    table.release(a)
    expect([table.undecided, table.size]).toEqual([0, 3])
    clock.now = 500
    expect(table.acquire(pod('b'))).toBe(FilterClassId.UNDECIDED)
    clock.now = 1500
    flush()
    expect(table.acquire(pod('b'))).toBe(a)
    flush()
    expect(written.get(a)).toBe('02')
  })

  test('finds a class again that was given up and not given to another', () => {
    const { table, clock } = make(['a', 'b'], { limit: 5 })
    const [a, b] = [table.acquire(pod('a')), table.acquire(pod('b'))]
    for (let i = 0; i < 1000; i++) {
      table.release(a)
      clock.now += 50
      expect(table.acquire(pod('a'))).toBe(a)
    }
    table.release(a)
    clock.now += 2000
    // The many times that it was given up before say nothing of who has it now.
    expect(table.acquire(pod('a'))).toBe(a)
    table.release(b)
    clock.now += 2000
    expect([table.acquire(pod('b')), table.size]).toEqual([b, 5])
  })
})
