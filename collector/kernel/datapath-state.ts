import { createHash } from 'node:crypto'
import {
  ADDRESS_ENTRY,
  ConsumerFlag,
  DROP_KEY,
  DROP_VALUE,
  ENDPOINT_CONFIG,
  ENDPOINT_COUNTERS,
  EVENT_VERSION,
  EventKind,
  FILTER_CLASS,
  FILTER_COUNT,
  FILTER_MATCH,
  FILTER_MATCH_KEY,
  FILTER_PORT_KEY,
  FILTER_RULES,
  FILTER_STATE,
  FilterClassId,
  FilterLimit,
  FilterMatchId,
  FilterUse,
  FLOW_ENTRY,
  FLOW_EVENT,
  FLOW_KEY,
  LEDGER,
  LedgerCounter,
  NETWORK_KEY,
  RULE_MASK,
  SubjectFlag,
} from '../../model/layouts.gen.ts'
import { BpfMap, MapType } from '../../native/index.ts'

export const STATE_MAP = 'datapath'

/** Members of the pinned map `datapath`, each a u64: what a new agent must know of what it finds pinned. */
const Member = {
  /** Hash of all layouts: other layouts, other maps. */
  LAYOUTS: 0,
  /** Hash of programs and constants: the same ones need no replacing. */
  PROGRAMS: 1,
  /** Whose devices the ifindexes are of. */
  NETNS_COOKIE: 2,
  /** What left with a flow table that was replaced by one of another size; counted as unreported. */
  RETIRED_PACKETS: 3,
  RETIRED_BYTES: 4,
  RETIRED_FLOWS: 5,
  /** Records that lay unread in a ring that was replaced. */
  RETIRED_RECORDS: 6,
} as const

const MEMBERS = 8
const KEY = new Uint8Array(4)

/** What left the kernel's half uncounted by its own ledger, because user space took a map away. */
export interface Retired {
  packets: number
  bytes: number
  flows: number
  records: number
}

/** The pinned note of one agent to the next. */
export class DatapathState implements Disposable {
  readonly map: BpfMap
  readonly #words = new BigUint64Array(MEMBERS)
  readonly #bytes = new Uint8Array(this.#words.buffer)

  /** @param map an existing one; undefined makes a new one, all zero */
  constructor(map: BpfMap | undefined) {
    this.map =
      map ?? BpfMap.create({ type: MapType.ARRAY, name: STATE_MAP, keySize: 4, valueSize: 8 * MEMBERS, maxEntries: 1 })
    this.map.lookup(KEY, this.#bytes)
  }

  /** Whether a map found under this name is one of these. */
  static fits(map: BpfMap): boolean {
    return map.info.type === MapType.ARRAY && map.info.keySize === 4 && map.info.valueSize === 8 * MEMBERS
  }

  get layouts(): bigint {
    return this.#words[Member.LAYOUTS]!
  }

  get programs(): bigint {
    return this.#words[Member.PROGRAMS]!
  }

  get netnsCookie(): bigint {
    return this.#words[Member.NETNS_COOKIE]!
  }

  get retired(): Retired {
    return {
      packets: Number(this.#words[Member.RETIRED_PACKETS]!),
      bytes: Number(this.#words[Member.RETIRED_BYTES]!),
      flows: Number(this.#words[Member.RETIRED_FLOWS]!),
      records: Number(this.#words[Member.RETIRED_RECORDS]!),
    }
  }

  write(facts: { layouts: bigint; programs: bigint; netnsCookie: bigint }): void {
    this.#words[Member.LAYOUTS] = facts.layouts
    this.#words[Member.PROGRAMS] = facts.programs
    this.#words[Member.NETNS_COOKIE] = facts.netnsCookie
    this.map.update(KEY, this.#bytes)
  }

  addRetired(retired: Retired): void {
    this.#words[Member.RETIRED_PACKETS]! += BigInt(retired.packets)
    this.#words[Member.RETIRED_BYTES]! += BigInt(retired.bytes)
    this.#words[Member.RETIRED_FLOWS]! += BigInt(retired.flows)
    this.#words[Member.RETIRED_RECORDS]! += BigInt(retired.records)
    this.map.update(KEY, this.#bytes)
  }

  [Symbol.dispose](): void {
    this.map[Symbol.dispose]()
  }
}

/** Changes with any layout that a pinned map holds. */
export function layoutsHash(): bigint {
  const layouts = [
    EVENT_VERSION,
    FLOW_EVENT,
    FLOW_KEY,
    FLOW_ENTRY,
    ENDPOINT_CONFIG,
    ENDPOINT_COUNTERS,
    DROP_KEY,
    DROP_VALUE,
    LEDGER,
    ADDRESS_ENTRY,
    NETWORK_KEY,
    RULE_MASK,
    FILTER_STATE,
    FILTER_RULES,
    FILTER_CLASS,
    FILTER_PORT_KEY,
    FILTER_MATCH_KEY,
    FILTER_MATCH,
    FILTER_COUNT,
    // Numbers that these hold.
    EventKind,
    ConsumerFlag,
    SubjectFlag,
    FilterClassId,
    FilterMatchId,
    FilterUse,
    FilterLimit,
    LedgerCounter,
  ]
  return hash64(JSON.stringify(layouts))
}

/** First 64 bits of a SHA-256. */
export function hash64(...parts: readonly (string | Uint8Array)[]): bigint {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest().readBigUInt64LE(0)
}
