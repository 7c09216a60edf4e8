import { FLOW_ENTRY, FLOW_KEY } from '../../model/layouts.gen.ts'
import type { BpfMap } from '../../native/index.ts'

const BATCH = 1024

/**
 * What a flow table that nobody uses any more holds and no record has told: it is lost, and becomes part of the ledger.
 * unreported[] packs packets << 40 | bytes (bpf/maps.h).
 */
export function retireFlows(map: BpfMap): { packets: number; bytes: number; flows: number } {
  const keys = new Uint8Array(BATCH * FLOW_KEY.SIZE)
  const values = new Uint8Array(BATCH * FLOW_ENTRY.SIZE)
  const words = new Uint32Array(values.buffer)
  const cursor = map.cursor()
  const sum = { packets: 0, bytes: 0, flows: 0 }
  while (!cursor.done) {
    const read = map.readBatch(cursor, keys, values)
    sum.flows += read
    for (let i = 0; i < read; i++) {
      for (let direction = 0; direction < 2; direction++) {
        const at = (i * FLOW_ENTRY.SIZE + FLOW_ENTRY.unreported + 8 * direction) / 4
        sum.packets += words[at + 1]! >>> 8
        sum.bytes += (words[at + 1]! & 0xff) * 4294967296 + words[at]!
      }
    }
  }
  return sum
}
