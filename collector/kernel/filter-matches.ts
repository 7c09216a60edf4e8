import { setImmediate as nextTurn } from 'node:timers/promises'
import {
  ConsumerFlag,
  EventKind,
  FILTER_COUNT,
  FILTER_MATCH,
  FILTER_MATCH_KEY,
  FILTER_RULES,
  FilterLimit,
  FilterMatchId,
  RULE_MASK,
} from '../../model/layouts.gen.ts'
import { type BpfMap, possibleCpus } from '../../native/index.ts'
import { deleteWhere, type FilterSet, type MapSource } from './filter-tables.ts'

const KINDS = EventKind.EVENT_KINDS
const FIRST = FilterMatchId.UNDECIDED
/** A read or write of a map between two turns of the event loop: some tenths of a millisecond. */
const SLICE_BYTES = 1 << 16

/**
 * What a set of rules has judged. Arrays of `count` matches, one after another: [0] is FilterMatchId.UNDECIDED, whose events
 * are user space's to decide and whose rules are none; the others are what the kernel has met since resetMatches().
 */
export interface MatchReading {
  readonly count: number
  /** struct rule_mask each: the rules that accept its flows by all but the kind of event. */
  readonly rules: Uint8Array
  /** By match and EventKind: the consumers, with the bits of ConsumerFlag, that its events are for. */
  readonly consumers: Uint32Array
  /** By match and EventKind: events judged, kept and left out; doubles. */
  readonly events: Float64Array
}

/** Reads the matches that have been made. @param used ids given away */
export async function readMatches(source: MapSource, set: FilterSet, used: number): Promise<MatchReading> {
  const count = used + FilterMatchId.FIRST - FIRST
  const rules = new Uint8Array(count * RULE_MASK.SIZE)
  const consumers = new Uint32Array(count * KINDS)
  const events = new Float64Array(count * KINDS)
  await forEachMatch(source.map('filter_matches'), set, count, (words, at, i) => {
    rules.set(new Uint8Array(words.buffer, 4 * at + FILTER_MATCH.rules, RULE_MASK.SIZE), i * RULE_MASK.SIZE)
    for (let kind = 0; kind < KINDS; kind++) {
      consumers[i * KINDS + kind] = words[at + FILTER_MATCH.consumers / 4 + kind]!
    }
  })
  const counts = source.map('filter_counts')
  await forEachMatch(counts, set, count, (words, at, i) => {
    for (let cpu = 0; cpu < possibleCpus(); cpu++) {
      const here = at + (cpu * counts.valueStride + FILTER_COUNT.events) / 4
      for (let kind = 0; kind < KINDS; kind++) {
        events[i * KINDS + kind]! += words[here + 2 * kind + 1]! * 2 ** 32 + words[here + 2 * kind]!
      }
    }
  })
  return { count, rules, consumers, events }
}

/** Visits the values of a set's ids from FIRST on. @param visit words of many values, where this one begins, its number */
async function forEachMatch(
  map: BpfMap,
  set: FilterSet,
  count: number,
  visit: (words: Uint32Array, at: number, index: number) => void,
): Promise<void> {
  const slice = Math.max(1, Math.min(count, Math.floor(SLICE_BYTES / map.valueBytes)))
  const keys = new Uint8Array(slice * 4)
  const values = new Uint8Array(slice * map.valueBytes)
  const words = new Uint32Array(values.buffer)
  const cursor = map.cursor()
  // An array is walked from the index behind the cursor's.
  new DataView(cursor.in.buffer).setUint32(0, set * FilterLimit.MATCHES + FIRST - 1, true)
  cursor.started = true
  for (let first = 0; first < count; ) {
    const wanted = Math.min(slice, count - first)
    const room = wanted * map.valueBytes
    const read = map.readBatch(cursor, keys, values.subarray(0, room))
    for (let i = 0; i < read; i++) visit(words, (i * map.valueBytes) / 4, first + i)
    first += read
    await nextTurn()
  }
}

/** Forgets the matches of a set, and what was counted. @param used ids given away */
export async function resetMatches(source: MapSource, set: FilterSet, used: number): Promise<void> {
  const ids = source.map('filter_match_ids')
  await deleteWhere(ids, (keys, at) => keys.getUint32(at + FILTER_MATCH_KEY.set, true) === set)
  source.map('filter_next').update(new Uint8Array(new Uint32Array([set]).buffer), new Uint8Array(4))
  const counts = source.map('filter_counts')
  const count = used + FilterMatchId.FIRST - FIRST
  const slice = Math.max(1, Math.min(count, Math.floor(SLICE_BYTES / counts.valueBytes)))
  const zeros = new Uint8Array(slice * counts.valueBytes)
  const keys = new Uint32Array(slice)
  for (let first = 0; first < count; first += slice) {
    const wanted = Math.min(slice, count - first)
    for (let i = 0; i < wanted; i++) keys[i] = set * FilterLimit.MATCHES + FIRST + first + i
    counts.updateBatch(new Uint8Array(keys.buffer), zeros, wanted)
    await nextTurn()
  }
}

/** struct filter_match of what the kernel can't decide: for all consumers that an event of its kind concerns. */
export function undecidedMatch(set: FilterSet, rules: Uint8Array): Uint8Array {
  const from = new DataView(rules.buffer, rules.byteOffset, FILTER_RULES.SIZE)
  const match = new Uint8Array(FILTER_MATCH.SIZE)
  const to = new DataView(match.buffer)
  const flags = (1 << ConsumerFlag.UNDECIDED) | (set << ConsumerFlag.SET)
  const inForce = from.getUint32(FILTER_RULES.consumers, true)
  for (let kind = 0; kind < KINDS; kind++) {
    const concerned = inForce & from.getUint32(FILTER_RULES.byKind + 4 * kind, true)
    to.setUint32(FILTER_MATCH.consumers + 4 * kind, (concerned | flags) >>> 0, true)
  }
  return match
}
