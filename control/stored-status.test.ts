import { describe, expect, test } from 'vitest'
import type { ResourceStatus, StatusCondition } from './resource.ts'
import { digestOf, NO_STATUS, statusOver, storedStatus } from './stored-status.ts'

const EARLIER = '2026-11-24T10:00:00Z'
const LATER = '2026-11-24T11:00:00Z'

function condition(status: 'True' | 'False', lastTransitionTime: string): StatusCondition {
  const common = { reason: 'Configured', message: 'm', observedGeneration: 1 } as const
  return { type: 'Applied', status, lastTransitionTime, ...common }
}

const configured = (timestamp: string, change: Partial<ResourceStatus> = {}): ResourceStatus => ({
  state: 'CONFIGURED',
  reason: 'Configured',
  message: 'm',
  warnings: [],
  observedGeneration: 1,
  filters: 1,
  timestamp,
  conditions: [condition('True', timestamp)],
  ...change,
})

describe('statusOver()', () => {
  test.each<[name: string, status: ResourceStatus, expected: ResourceStatus]>([
    ['keeps the times of what is the same', configured(LATER), configured(EARLIER)],
    [
      'takes the time of another state',
      configured(LATER, { state: 'FAILED', conditions: [condition('False', LATER)] }),
      configured(LATER, { state: 'FAILED', conditions: [condition('False', LATER)] }),
    ],
    [
      'takes the time of another generation, and keeps that of a condition that still holds',
      configured(LATER, { observedGeneration: 2 }),
      configured(LATER, { observedGeneration: 2, conditions: [condition('True', EARLIER)] }),
    ],
  ])('%s', (_name, status, expected) => {
    expect(statusOver(storedStatus(configured(EARLIER)), status)).toEqual(expected)
  })

  test('is as it is told where nothing is stored', () => {
    expect(statusOver(NO_STATUS, configured(LATER))).toEqual(configured(LATER))
  })

  test('cuts what the API server would refuse', () => {
    const long = configured(LATER, {
      message: 'x'.repeat(40_000),
      warnings: Array.from({ length: 30 }, () => 'y'.repeat(3000)),
    })
    const { message, warnings } = statusOver(NO_STATUS, long) as ResourceStatus
    expect([message.length, warnings.length, warnings[0]?.length]).toEqual([32_768, 21, 2048])
  })
})

describe('storedStatus()', () => {
  test.each([undefined, null, 7, 'text', [], {}, { conditions: 'none' }, { conditions: [null, 7, { type: 5 }] }])(
    'takes %j for no known state',
    (value) => {
      expect(storedStatus(value)).toMatchObject({ state: '', timestamp: '', observedGeneration: -1 })
      expect(storedStatus(value).conditions.size).toBe(0)
    },
  )

  test('looks at some conditions of many', () => {
    const conditions = Array.from({ length: 1000 }, (_, i) => ({ type: `t${i}`, status: 'True' }))
    expect(storedStatus({ conditions }).conditions.size).toBe(8)
  })
})

test('digestOf() is the same for the same value in another order, and another for others', () => {
  expect(digestOf({ a: [1, { b: 2, c: 3 }], d: null })).toBe(digestOf({ d: null, a: [1, { c: 3, b: 2 }] }))
  const others = [{}, [], null, undefined, { a: [2, 1] }, { a: [1, 2] }, { a: '1,2' }]
  expect(new Set(others.map(digestOf)).size).toBe(others.length)
})
