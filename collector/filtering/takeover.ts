import type { FilterMaps } from '../kernel/filter-maps.ts'
import type { FilterSet } from '../kernel/filter-tables.ts'
import type { Subjects } from './subjects.ts'

/**
 * Makes the tables that a former agent left fit for the first rules of this one, before they come into force: its classes
 * have other meanings now. Addresses that nobody has any more go; devices, of which this agent may not have met any yet,
 * are left to user space until they are written.
 *
 * @param set of the rules to come
 * @returns addresses removed
 */
export async function forgetFormer(maps: FilterMaps, subjects: Subjects, set: FilterSet): Promise<number> {
  let bytes: ArrayBufferLike | undefined
  let words: Uint32Array = new Uint32Array(0)
  const removed = await maps.deleteStaleAddresses((keys, at) => {
    if (keys.buffer !== bytes) {
      bytes = keys.buffer
      words = new Uint32Array(bytes)
    }
    return subjects.has(words, (keys.byteOffset + at) >> 2)
  })
  maps.undecideDevices(set)
  return removed
}
