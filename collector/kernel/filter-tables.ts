import { setImmediate as nextTurn } from 'node:timers/promises'
import type { BpfMap } from '../../native/index.ts'

/** One of the two sets of tables: the lowest bit of the generation in whose force it is. */
export type FilterSet = 0 | 1

/** What has the maps: a KernelDatapath. */
export interface MapSource {
  map(name: string): BpfMap
}

/** Entries of a walk or a batch between two turns of the event loop: some tenths of a millisecond. */
export const SLICE = 1024

/** Walks a hash in slices and deletes what is chosen by its key. @returns how many */
export async function deleteWhere(map: BpfMap, isChosen: (keys: DataView, at: number) => boolean): Promise<number> {
  const { keySize } = map.info
  const keys = new Uint8Array(SLICE * keySize)
  const values = new Uint8Array(SLICE * map.valueBytes)
  const view = new DataView(keys.buffer)
  const chosen: Uint8Array[] = []
  const cursor = map.cursor()
  while (!cursor.done) {
    const read = map.readBatch(cursor, keys, values)
    for (let i = 0; i < read; i++) {
      if (isChosen(view, i * keySize)) chosen.push(keys.slice(i * keySize, (i + 1) * keySize))
    }
    await nextTurn()
  }
  let deleted = 0
  for (let first = 0; first < chosen.length; first += SLICE) {
    const slice = chosen.slice(first, first + SLICE)
    deleted += map.deleteBatch(Buffer.concat(slice), slice.length)
    await nextTurn()
  }
  return deleted
}
