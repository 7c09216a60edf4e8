import { parseIp } from '../base/ip.ts'
import { Listeners } from '../base/lifetime.ts'
import { AddressTable } from './address-table.ts'

/** Who claims an address, strongest first: a pod, a local interface without a known pod, a node, a service. */
export const CLAIM = { POD: 0, INTERFACE: 1, NODE: 2, SERVICE: 3 } as const
type ClaimKind = (typeof CLAIM)[keyof typeof CLAIM]

/** Addresses that can be known: 128 Ki, about 64,000 dual-stack pods, in at most 12.6 MB of table. */
export const MAX_ADDRESSES = 131_072

/** An address has another endpoint than before. */
export interface AddressChange {
  /** The address's four words begin at 0; valid during the call. */
  readonly words: Uint32Array
  /** 0 when nobody claims it any more. */
  readonly ref: number
}

interface Entry {
  readonly refs: [number, number, number, number]
  readonly owners: [string, string, string, string]
}

/**
 * Which endpoint owns an address. Several things may claim one: a host-network pod's is its node's, a load balancer's
 * may be a node's too, a pod's may be given to the next pod before the first one's deletion is known. The strongest
 * claim holds, among equals the newest; giving up a claim needs the owner's name, so a late deletion hurts nobody.
 */
export class AddressBook {
  /** Claims that found the book full. */
  refused = 0
  readonly #table: AddressTable
  readonly #entries = new Map<string, Entry>()
  readonly #bytes = new Uint8Array(16)
  readonly #words = new Uint32Array(this.#bytes.buffer)
  readonly #changes = new Listeners<AddressChange>()

  constructor(maxAddresses = MAX_ADDRESSES) {
    this.#table = new AddressTable(maxAddresses)
  }

  get size(): number {
    return this.#table.size
  }

  /** Endpoint of an address, 0 when nobody claims it. Allocates nothing. */
  get(words: Uint32Array, at: number): number {
    return this.#table.get(words, at, 0)
  }

  /** @param ip text of an address; texts that are none are ignored @returns false when the book is full */
  claim(kind: ClaimKind, ip: string, owner: string, ref: number): boolean {
    const key = this.#parse(ip)
    if (key === undefined) return false
    let entry = this.#entries.get(key)
    if (entry === undefined) {
      if (!this.#table.set(this.#words, 0, 0, ref)) {
        this.refused++
        return false
      }
      entry = { refs: [0, 0, 0, 0], owners: ['', '', '', ''] }
      this.#entries.set(key, entry)
    }
    entry.refs[kind] = ref
    entry.owners[kind] = owner
    this.#point(strongest(entry))
    return true
  }

  /** Gives up a claim; does nothing when somebody else holds it. */
  unclaim(kind: ClaimKind, ip: string, owner: string): void {
    const key = this.#parse(ip)
    const entry = key === undefined ? undefined : this.#entries.get(key)
    if (key === undefined || entry === undefined || entry.owners[kind] !== owner || entry.refs[kind] === 0) return
    entry.refs[kind] = 0
    entry.owners[kind] = ''
    const ref = strongest(entry)
    if (ref !== 0) {
      this.#point(ref)
    } else {
      this.#table.delete(this.#words, 0, 0)
      this.#entries.delete(key)
      this.#changes.emit({ words: this.#words, ref: 0 })
    }
  }

  /** Called with every change of an address's endpoint, in the middle of it: the listener takes note and returns. */
  onChange(listener: (change: AddressChange) => void): Disposable {
    return this.#changes.add(listener)
  }

  /** Visits all addresses. @param visit the address's words begin at `at` */
  forEach(visit: (words: Uint32Array, at: number, ref: number) => void): void {
    this.#table.forEach(visit)
  }

  #point(ref: number): void {
    this.#table.set(this.#words, 0, 0, ref)
    this.#changes.emit({ words: this.#words, ref })
  }

  /** Who holds a kind of claim on an address; empty when nobody does. */
  owner(kind: ClaimKind, ip: string): string {
    const key = this.#parse(ip)
    return key === undefined ? '' : (this.#entries.get(key)?.owners[kind] ?? '')
  }

  /** One key for all spellings of an address. */
  #parse(ip: string): string | undefined {
    if (parseIp(ip, this.#bytes) === 0) return undefined
    const [a, b, c, d] = this.#words as unknown as [number, number, number, number]
    return `${a},${b},${c},${d}`
  }
}

function strongest(entry: Entry): number {
  const [pod, device, node, service] = entry.refs
  return pod || device || node || service
}
