import { ENDPOINT_CONFIG, FilterClassId } from '../../model/layouts.gen.ts'
import type { BpfMap } from '../../native/index.ts'

/** The maps that say whose a device or a namespace is: `endpoints` (ifindex → endpoint_config), `netns` (cookie → ifindex). */
export class EndpointMaps {
  readonly #endpoints: BpfMap
  readonly #netns: BpfMap
  readonly #key = new DataView(new ArrayBuffer(4))
  readonly #value = new DataView(new ArrayBuffer(ENDPOINT_CONFIG.SIZE))
  readonly #cookie = new DataView(new ArrayBuffer(8))
  readonly #owner = new DataView(new ArrayBuffer(4))

  constructor(endpoints: BpfMap, netns: BpfMap) {
    this.#endpoints = endpoints
    this.#netns = netns
  }

  /**
   * What filters know of a device that is there already stays (filter-maps.ts); a new one is nobody's to them yet, so that
   * user space decides for it.
   *
   * @param kind EndpointKind @throws Error E2BIG when the map is full
   */
  set(ifindex: number, slot: number, kind: number, endpointId = slot): void {
    this.#key.setUint32(0, ifindex, true)
    if (!this.#endpoints.lookup(bytes(this.#key), bytes(this.#value))) {
      bytes(this.#value).fill(0)
      this.#value.setUint16(ENDPOINT_CONFIG.classes, FilterClassId.UNDECIDED, true)
      this.#value.setUint16(ENDPOINT_CONFIG.classes + 2, FilterClassId.UNDECIDED, true)
    }
    this.#value.setUint32(ENDPOINT_CONFIG.slot, slot, true)
    this.#value.setUint32(ENDPOINT_CONFIG.endpointId, endpointId, true)
    this.#value.setUint8(ENDPOINT_CONFIG.kind, kind)
    this.#endpoints.update(bytes(this.#key), bytes(this.#value))
  }

  remove(ifindex: number): void {
    this.#key.setUint32(0, ifindex, true)
    this.#endpoints.delete(bytes(this.#key))
  }

  /**
   * A namespace with several devices stays its first one's, as long as that is watched.
   * @param isWatched of an ifindex
   */
  setNetns(cookie: bigint, ifindex: number, isWatched: (ifindex: number) => boolean): void {
    const owner = this.#ownerOf(cookie)
    if (owner !== undefined && owner !== ifindex && isWatched(owner)) return
    this.#owner.setUint32(0, ifindex, true)
    this.#netns.update(bytes(this.#cookie), bytes(this.#owner))
  }

  removeNetns(cookie: bigint, ifindex: number): void {
    if (this.#ownerOf(cookie) === ifindex) this.#netns.delete(bytes(this.#cookie))
  }

  /** What a former agent left: slots by ifindex. */
  inherited(): Map<number, number> {
    const slots = new Map<number, number>()
    const key = new Uint8Array(4)
    const view = new DataView(key.buffer)
    for (let more = this.#endpoints.nextKey(null, key); more; more = this.#endpoints.nextKey(key, key)) {
      if (this.#endpoints.lookup(key, bytes(this.#value))) {
        slots.set(view.getUint32(0, true), this.#value.getUint32(ENDPOINT_CONFIG.slot, true))
      }
    }
    return slots
  }

  /** Removes what belongs to devices that are not watched. */
  sweep(isWatched: (ifindex: number) => boolean): void {
    for (const ifindex of this.inherited().keys()) if (!isWatched(ifindex)) this.remove(ifindex)
    const stale: Uint8Array[] = []
    const cookie = new Uint8Array(8)
    for (let more = this.#netns.nextKey(null, cookie); more; more = this.#netns.nextKey(cookie, cookie)) {
      if (!this.#netns.lookup(cookie, bytes(this.#owner))) continue
      if (!isWatched(this.#owner.getUint32(0, true))) stale.push(cookie.slice())
    }
    for (const key of stale) this.#netns.delete(key)
  }

  #ownerOf(cookie: bigint): number | undefined {
    this.#cookie.setBigUint64(0, cookie, true)
    return this.#netns.lookup(bytes(this.#cookie), bytes(this.#owner)) ? this.#owner.getUint32(0, true) : undefined
  }
}

function bytes(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
}
