import { LedgerCounter } from '../model/layouts.gen.ts'
import { type LedgerLine, StageLedger } from '../model/ledger.ts'

/** Sums over CPUs of the kernel's ledger, index = LedgerCounter. */
export type LedgerCounts = ArrayLike<number>

/** What the flow table still holds, from a sweep. */
export interface OpenFlows {
  readonly entries: number
  readonly packets: number
  readonly bytes: number
}

/** The kernel's half, read before and after the sweep that measured what is open. */
export interface KernelReading {
  readonly before: LedgerCounts
  readonly open: OpenFlows
  readonly after: LedgerCounts
  /** Records taken from the ring: by this agent, and by former ones as far as the ring outlived them. */
  readonly recordsRead: number
  /** Records in the ring that are not read yet. */
  readonly recordsWaiting: number
}

/**
 * One sum that must close. The kernel counts on while it is read, so each side is read twice and the equation closes
 * when the two ranges meet; at rest both readings agree and it closes exactly or not at all.
 */
export interface Equation {
  readonly text: string
  readonly left: number
  readonly right: number
  /** 0 when it closes; else by how much the ranges miss each other, negative when the right side is larger. */
  readonly difference: number
}

export interface LedgerReport {
  readonly kernel: readonly { readonly name: string; readonly value: number }[]
  readonly equations: readonly Equation[]
  readonly stages: readonly LedgerLine[]
  readonly closes: boolean
}

type Term = keyof typeof LedgerCounter

interface Sum {
  readonly text: string
  readonly left: readonly Term[]
  readonly right: readonly Term[]
  /** Added to the right side: what is held somewhere else. */
  readonly held?: (reading: KernelReading) => number
}

const SUMS: readonly Sum[] = [
  {
    text: 'packets seen = in flows + not IP + malformed + table full + closing',
    left: ['PACKETS_SEEN'],
    right: [
      'PACKETS_FLOW',
      'PACKETS_NON_IP',
      'PACKETS_MALFORMED_L2',
      'PACKETS_MALFORMED_L3',
      'PACKETS_MALFORMED_EXT',
      'PACKETS_MALFORMED_L4',
      'PACKETS_TABLE_FULL',
      'PACKETS_CLOSING',
    ],
  },
  {
    text: 'packets in flows = reported + open + unreported + filtered',
    left: ['PACKETS_FLOW'],
    right: ['PACKETS_REPORTED', 'PACKETS_UNREPORTED', 'PACKETS_FILTERED'],
    held: (reading) => reading.open.packets,
  },
  {
    text: 'bytes in flows = reported + open + unreported + filtered',
    left: ['BYTES_FLOW'],
    right: ['BYTES_REPORTED', 'BYTES_UNREPORTED', 'BYTES_FILTERED'],
    held: (reading) => reading.open.bytes,
  },
  {
    text: 'events wanted = submitted + ring full + filtered + over the L7 rate',
    left: ['EVENTS_WANTED'],
    right: ['EVENTS_SUBMITTED', 'EVENTS_RING_FULL', 'EVENTS_FILTERED', 'EVENTS_L7_LIMITED'],
  },
  {
    text: 'events submitted = read + in the ring',
    left: ['EVENTS_SUBMITTED'],
    right: [],
    held: (reading) => reading.recordsRead + reading.recordsWaiting,
  },
  {
    text: 'flows made = removed + in the table',
    left: ['FLOWS_CREATED'],
    right: ['FLOWS_REMOVED'],
    held: (reading) => reading.open.entries,
  },
]

/**
 * The kernel's stage, in records. Counters and ring are read one after the other while programs write: what was written
 * in between is in the ring only, and must not make a counter go back, which Prometheus takes for a new beginning.
 *
 * @param unread records in the ring, read after the counts @param delivered what was told as delivered before
 */
export function kernelStage(counts: LedgerCounts, unread: number, delivered: number): StageLedger {
  const submitted = counts[LedgerCounter.EVENTS_SUBMITTED]!
  const stage = new StageLedger('kernel')
  stage.accepted = counts[LedgerCounter.EVENTS_WANTED]!
  stage.delivered = Math.max(delivered, submitted - unread)
  stage.waiting = submitted - stage.delivered
  stage.filtered = counts[LedgerCounter.EVENTS_FILTERED]!
  stage.lose('ring_full', counts[LedgerCounter.EVENTS_RING_FULL]!)
  stage.lose('l7_rate', counts[LedgerCounter.EVENTS_L7_LIMITED]!)
  return stage
}

/** Adds everything up. */
export function ledgerReport(reading: KernelReading | undefined, lines: readonly LedgerLine[]): LedgerReport {
  const equations = reading ? SUMS.map((sum) => equation(sum, reading)) : []
  return {
    kernel: reading ? namedCounts(reading.after) : [],
    equations,
    stages: lines,
    closes: equations.every((e) => e.difference === 0) && lines.every((line) => line.difference === 0),
  }
}

function equation(sum: Sum, reading: KernelReading): Equation {
  const held = sum.held?.(reading) ?? 0
  const total = (counts: LedgerCounts, terms: readonly Term[]) =>
    terms.reduce((n, term) => n + counts[LedgerCounter[term]]!, 0)
  const leftLow = total(reading.before, sum.left)
  const leftHigh = total(reading.after, sum.left)
  const rightLow = total(reading.before, sum.right) + held
  const rightHigh = total(reading.after, sum.right) + held
  const difference = leftLow > rightHigh ? leftLow - rightHigh : leftHigh < rightLow ? leftHigh - rightLow : 0
  return { text: sum.text, left: leftHigh, right: rightHigh, difference }
}

function namedCounts(counts: LedgerCounts): { name: string; value: number }[] {
  return Object.entries(LedgerCounter)
    .filter(([name]) => name !== 'LEDGER_COUNTERS')
    .map(([name, index]) => ({ name: name.toLowerCase(), value: counts[index]! }))
}
