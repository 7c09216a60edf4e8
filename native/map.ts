import { addon, type MapInfo } from './addon.ts'
import { Descriptor } from './descriptor.ts'

/** enum bpf_map_type, as far as it is used here. */
export const MapType = {
  HASH: 1,
  ARRAY: 2,
  PERCPU_HASH: 5,
  PERCPU_ARRAY: 6,
  LRU_HASH: 9,
  LRU_PERCPU_HASH: 10,
  RINGBUF: 27,
} as const

const PER_CPU: ReadonlySet<number> = new Set([MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH])

export const UpdateFlag = { ANY: 0, NOEXIST: 1, EXIST: 2 } as const

/** Where a walk in batches stands. */
export class BatchCursor {
  readonly in: Uint8Array
  readonly out: Uint8Array
  started = false
  done = false

  constructor(size: number) {
    this.in = new Uint8Array(size)
    this.out = new Uint8Array(size)
  }
}

/** What a new map is to be. */
export interface MapSpec {
  readonly type: number
  readonly name: string
  readonly keySize: number
  readonly valueSize: number
  readonly maxEntries: number
  readonly flags?: number
}

let cpus = 0

/** How many values a per-CPU map has for each key. */
export function possibleCpus(): number {
  if (cpus === 0) cpus = addon().possibleCpus()
  return cpus
}

/**
 * A map. Keys and values are bytes as the kernel has them. A value of a per-CPU map is possibleCpus() values one
 * after another, each rounded up to 8 bytes: `valueBytes` in all.
 */
export class BpfMap extends Descriptor {
  readonly info: MapInfo
  /** Bytes of one value as user space sees it, all CPUs. */
  readonly valueBytes: number
  /** Bytes from one CPU's value to the next; valueSize where there is one only. */
  readonly valueStride: number

  constructor(fd: number) {
    super(fd)
    this.info = addon().mapInfo(fd)
    const perCpu = PER_CPU.has(this.info.type)
    this.valueStride = perCpu ? (this.info.valueSize + 7) & ~7 : this.info.valueSize
    this.valueBytes = perCpu ? this.valueStride * possibleCpus() : this.info.valueSize
  }

  static openPinned(path: string): BpfMap {
    return new BpfMap(addon().openPinned(path))
  }

  static create(spec: MapSpec): BpfMap {
    return new BpfMap(
      addon().mapCreate(spec.type, spec.name, spec.keySize, spec.valueSize, spec.maxEntries, spec.flags ?? 0),
    )
  }

  pin(path: string): void {
    addon().pin(this.fd, path)
  }

  /** @returns whether the key is there, its value then being in `value` */
  lookup(key: Uint8Array, value: Uint8Array): boolean {
    this.#need(key, this.info.keySize, 'key')
    this.#need(value, this.valueBytes, 'value')
    return addon().mapLookup(this.fd, key, value)
  }

  /** @throws Error E2BIG when the map is full, EEXIST or ENOENT as the flag says */
  update(key: Uint8Array, value: Uint8Array, flag: number = UpdateFlag.ANY): void {
    this.#need(key, this.info.keySize, 'key')
    this.#need(value, this.valueBytes, 'value')
    addon().mapUpdate(this.fd, key, value, flag)
  }

  /** @returns whether the key was there */
  delete(key: Uint8Array): boolean {
    this.#need(key, this.info.keySize, 'key')
    return addon().mapDelete(this.fd, key)
  }

  /** The key after `key`, or the first one, into `next`. @returns false at the end */
  nextKey(key: Uint8Array | null, next: Uint8Array): boolean {
    if (key) this.#need(key, this.info.keySize, 'key')
    this.#need(next, this.info.keySize, 'next')
    return addon().mapNextKey(this.fd, key, next)
  }

  cursor(): BatchCursor {
    return new BatchCursor(Math.max(4, this.info.keySize))
  }

  /**
   * Reads, and removes if asked, as many entries as both buffers hold; `cursor.done` is set with the last ones.
   * @returns the number of entries read, which may be 0
   * @throws Error ENOSPC when not even one bucket of a hash fits: offer room for 32 entries and more
   */
  readBatch(cursor: BatchCursor, keys: Uint8Array, values: Uint8Array, remove = false): number {
    if (cursor.done) return 0
    const room = Math.min(Math.floor(keys.length / this.info.keySize), Math.floor(values.length / this.valueBytes))
    if (room === 0) throw new RangeError(`The buffers of a batch hold no entry of map "${this.info.name}"`)
    const read = addon().mapBatch(this.fd, cursor.started ? cursor.in : null, cursor.out, keys, values, room, remove)
    cursor.started = true
    cursor.in.set(cursor.out)
    if (read >= 0) return read
    cursor.done = true
    return -1 - read
  }

  /**
   * Writes entries of one buffer after another, 0.1 to 0.3 µs each. @returns entries written: fewer than `count` when the next
   * one found the map full
   */
  updateBatch(keys: Uint8Array, values: Uint8Array, count: number): number {
    this.#need(keys, count * this.info.keySize, 'keys')
    this.#need(values, count * this.valueBytes, 'values')
    return addon().mapUpdateBatch(this.fd, keys, values, count)
  }

  /** @returns how many of the keys were there */
  deleteBatch(keys: Uint8Array, count: number): number {
    this.#need(keys, count * this.info.keySize, 'keys')
    return addon().mapDeleteBatch(this.fd, keys, this.info.keySize, count)
  }

  /** The kernel reads and writes as many bytes as the map says, whatever it is given. */
  #need(bytes: Uint8Array, size: number, name: string): void {
    if (bytes.length < size)
      throw new RangeError(`Argument "${name}" of map "${this.info.name}" has ${bytes.length} bytes, needs ${size}`)
  }
}

/** A ring buffer's pages in this process; they stay mapped as long as anything refers to them. */
export interface RingPages {
  /** Consumer position, u64 at 0: ours to write. */
  readonly consumer: ArrayBuffer
  /** Producer position, u64 at 0. Writing to it, or to data, ends the process. */
  readonly producer: ArrayBuffer
  /** The data, twice in a row, so that what wraps is contiguous: 2 × size bytes. */
  readonly data: ArrayBuffer
  /** Bytes of data, a power of two. */
  readonly size: number
}

/** Maps a ring buffer of type RINGBUF. */
export function mapRing(map: BpfMap): RingPages {
  if (map.info.type !== MapType.RINGBUF) throw new RangeError(`Map "${map.info.name}" is not a ring buffer`)
  const size = map.info.maxEntries
  const [consumer, producer, data] = addon().ringMap(map.fd, size)
  return { consumer, producer, data, size }
}
