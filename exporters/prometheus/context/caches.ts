import type { Endpoint } from '../../../model/endpoint.ts'
import type { FlowView } from '../../../model/flow-view.ts'
import { ipText } from '../../../model/flow-view.ts'
import { FLOW_EVENT } from '../../../model/layouts.gen.ts'
import type { ValueTable } from '../series/value-table.ts'

/**
 * 32,768 endpoint versions: more than are in use on a node at a time. 8 bytes each: 256 KB a cache. A cache is direct
 * mapped: when two references meet in a place, the later one stays and the other is worked out again.
 */
const ENDPOINT_PLACES = 32_768
/** 20 bytes each: 160 KB. */
const ADDRESS_PLACES = 8192
const NAME_PLACES = 4096

/** A number per endpoint version, worked out once: the versions of a pod come to the same number by the same text. */
export class EndpointCache {
  readonly #refs = new Uint32Array(ENDPOINT_PLACES)
  readonly #ids = new Uint32Array(ENDPOINT_PLACES)
  readonly #compute: (endpoint: Endpoint) => number

  constructor(compute: (endpoint: Endpoint) => number) {
    this.#compute = compute
  }

  get(view: FlowView, ref: number): number {
    // Reference 0 is nobody; places start with tag 0, so it must not be looked up.
    if (ref === 0) return 0
    const place = ref & (ENDPOINT_PLACES - 1)
    if (this.#refs[place] === ref) return this.#ids[place]!
    const id = this.#compute(view.context.endpoint(ref))
    this.#refs[place] = ref
    this.#ids[place] = id
    return id
  }

  clear(): void {
    this.#refs.fill(0)
  }
}

/** Value numbers of addresses, found by their 16 bytes. */
export class AddressCache {
  readonly #values: ValueTable
  readonly #words = new Uint32Array(4 * ADDRESS_PLACES)
  readonly #ids = new Int32Array(ADDRESS_PLACES).fill(-1)

  constructor(values: ValueTable) {
    this.#values = values
  }

  get(view: FlowView, isSource: boolean): number {
    if (view.ipVersion === 0) return 0
    const bytes = view.bytesArray
    const at = view.byteOffset + (isSource ? FLOW_EVENT.srcIp : FLOW_EVENT.dstIp)
    const a = word(bytes, at)
    const b = word(bytes, at + 4)
    const c = word(bytes, at + 8)
    const d = word(bytes, at + 12)
    const mixed = Math.imul(Math.imul(a ^ (b >>> 7), 31) ^ c, 0x9e3779b1) ^ Math.imul(d, 0x85ebca6b)
    const place = (mixed ^ (mixed >>> 15)) & (ADDRESS_PLACES - 1)
    const words = this.#words
    const first = 4 * place
    const id = this.#ids[place]!
    if (id >= 0 && words[first] === a && words[first + 1] === b && words[first + 2] === c && words[first + 3] === d) {
      return id
    }
    const made = this.#values.intern(ipText(bytes, at))
    words[first] = a
    words[first + 1] = b
    words[first + 2] = c
    words[first + 3] = d
    this.#ids[place] = made
    return made
  }

  clear(): void {
    this.#ids.fill(-1)
  }
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}

/** Value numbers of lists of DNS names. References may be reused, so the list itself is compared. */
export class NamesCache {
  readonly #values: ValueTable
  readonly #lists: (readonly string[] | undefined)[] = new Array(NAME_PLACES)
  readonly #ids = new Uint32Array(NAME_PLACES)

  constructor(values: ValueTable) {
    this.#values = values
  }

  get(view: FlowView, ref: number): number {
    if (ref === 0) return 0
    const list = view.context.names(ref)
    const place = ref & (NAME_PLACES - 1)
    if (this.#lists[place] === list) return this.#ids[place]!
    const id = this.#values.intern(list.join(','))
    this.#lists[place] = list
    this.#ids[place] = id
    return id
  }

  clear(): void {
    this.#lists.fill(undefined)
  }
}

/** The caches of one exporter, each shared by every handler that asks the same question. */
export class ContextCaches {
  readonly values: ValueTable
  readonly addresses: AddressCache
  readonly names: NamesCache
  /** Weakly: metrics come and go while the agent runs, and what none of them asks any more goes with them. */
  readonly #byKey = new Map<string, WeakRef<EndpointCache>>()

  constructor(values: ValueTable) {
    this.values = values
    this.addresses = new AddressCache(values)
    this.names = new NamesCache(values)
  }

  /** @param key names the question; one cache for each */
  endpoint(key: string, compute: (endpoint: Endpoint) => number): EndpointCache {
    const known = this.#byKey.get(key)?.deref()
    if (known !== undefined) return known
    for (const [other, cache] of this.#byKey) if (cache.deref() === undefined) this.#byKey.delete(other)
    const made = new EndpointCache(compute)
    this.#byKey.set(key, new WeakRef(made))
    return made
  }

  /** After a sweep of the values: every number kept may stand for something else. */
  clear(): void {
    this.addresses.clear()
    this.names.clear()
    for (const cache of this.#byKey.values()) cache.deref()?.clear()
  }
}
