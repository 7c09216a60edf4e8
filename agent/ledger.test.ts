import { describe, expect, test } from 'vitest'
import { LedgerCounter } from '../model/layouts.gen.ts'
import { StageLedger } from '../model/ledger.ts'
import { type KernelReading, kernelStage, ledgerReport } from './ledger.ts'

function counts(fields: Partial<Record<keyof typeof LedgerCounter, number>>): Float64Array {
  const array = new Float64Array(LedgerCounter.LEDGER_COUNTERS)
  for (const [name, value] of Object.entries(fields)) array[LedgerCounter[name as keyof typeof LedgerCounter]] = value
  return array
}

const rest = {
  PACKETS_SEEN: 100,
  PACKETS_FLOW: 90,
  PACKETS_NON_IP: 7,
  PACKETS_MALFORMED_L3: 1,
  PACKETS_TABLE_FULL: 2,
  PACKETS_REPORTED: 60,
  PACKETS_UNREPORTED: 4,
  PACKETS_FILTERED: 6,
  BYTES_FLOW: 9000,
  BYTES_REPORTED: 6000,
  BYTES_UNREPORTED: 400,
  BYTES_FILTERED: 600,
  EVENTS_WANTED: 14,
  EVENTS_SUBMITTED: 9,
  EVENTS_RING_FULL: 3,
  EVENTS_FILTERED: 2,
  FLOWS_CREATED: 5,
  FLOWS_REMOVED: 3,
}

function reading(before: Float64Array, after = before, packets = 20): KernelReading {
  return { before, after, open: { entries: 2, packets, bytes: packets * 100 }, recordsRead: 8, recordsWaiting: 1 }
}

describe('ledgerReport()', () => {
  test('closes when every sum does', () => {
    const report = ledgerReport(reading(counts(rest)), [])
    expect(report.equations.map((e) => e.difference)).toEqual([0, 0, 0, 0, 0, 0])
    expect(report.closes).toBe(true)
  })

  test('tells a single packet that is missing at rest', () => {
    const report = ledgerReport(reading(counts({ ...rest, PACKETS_SEEN: 101 })), [])
    expect(report.equations[0]).toMatchObject({ left: 101, right: 100, difference: 1 })
    expect(report.closes).toBe(false)
  })

  test('allows for what passed between two readings, and for no more', () => {
    const before = counts(rest)
    const after = counts({
      ...rest,
      PACKETS_SEEN: 110,
      PACKETS_FLOW: 100,
      PACKETS_REPORTED: 65,
      BYTES_FLOW: 10_000,
      BYTES_REPORTED: 6500,
    })
    expect(ledgerReport(reading(before, after, 23), []).closes).toBe(true)
    expect(ledgerReport(reading(before, after, 31), []).closes).toBe(false)
  })

  test('does not close when a stage lost flows without saying so', () => {
    const stage = new StageLedger('json-log')
    stage.accepted = 10
    stage.delivered = 8
    stage.lose('disk_full', 1)
    const report = ledgerReport(undefined, [stage.toJSON()])
    expect(report.stages[0]).toMatchObject({ difference: 1, lost: { disk_full: 1 } })
    expect(report.closes).toBe(false)
  })
})

describe('kernelStage()', () => {
  test('closes, and takes nothing back that it told as delivered', () => {
    const told = kernelStage(counts({ EVENTS_WANTED: 110, EVENTS_SUBMITTED: 100, EVENTS_RING_FULL: 10 }), 0, 0)
    expect(told.toJSON()).toMatchObject({ delivered: 100, waiting: 0, lost: { ring_full: 10 }, difference: 0 })
    // 40 records came while the ring was looked at: they are in it and not in the counts.
    const next = kernelStage(counts({ EVENTS_WANTED: 120, EVENTS_SUBMITTED: 110, EVENTS_RING_FULL: 10 }), 50, 100)
    expect(next.toJSON()).toMatchObject({ delivered: 100, waiting: 10, difference: 0 })
  })
})
