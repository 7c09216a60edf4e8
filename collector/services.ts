import { parseIp } from '../base/ip.ts'
import type { ServiceFacts } from '../model/contracts.ts'
import type { Service } from '../model/endpoint.ts'
import { AddressTable } from './address-table.ts'
import { Fifo } from './fifo.ts'

/** References are 16 bits wide in a record; 0 means none. */
const LAST_REF = 65_535
/** Frontends (address, port, protocol) that are kept: about four for each of the most services that fit. */
export const MAX_FRONTENDS = 131_072

const HINTS = 65_536

const PROTOCOL_NUMBERS = { TCP: 6, UDP: 17, SCTP: 132 } as const

interface Known {
  readonly ref: number
  facts: ServiceFacts
}

/**
 * Which Service owns an address and port. A service's reference is its for as long as a flow of the history may name
 * it; then the number is used again, as there are only 65,535.
 */
export class ServiceTable {
  /** Services and frontends that found no room. */
  refused = 0
  readonly #historyEnd: () => number
  readonly #frontends: AddressTable
  readonly #byName = new Map<string, Known>()
  readonly #byRef: (Service | undefined)[] = [undefined]
  readonly #free: number[] = []
  readonly #retired = new Fifo<{ readonly ref: number; readonly end: number }>()
  /** Frontends by a hash of address and port, saturating: most ends of flows are no service's, and end here. */
  readonly #hints = new Uint8Array(HINTS)
  readonly #bytes = new Uint8Array(16)
  readonly #words = new Uint32Array(this.#bytes.buffer)

  /** @param historyEnd one past the newest flow of the history */
  constructor(historyEnd: () => number, maxFrontends: number = MAX_FRONTENDS) {
    this.#historyEnd = historyEnd
    this.#frontends = new AddressTable(maxFrontends)
  }

  get size(): number {
    return this.#byName.size
  }

  /** Reference of a service by its name, 0 when it is not known. */
  refOf(namespace: string, name: string): number {
    return this.#byName.get(`${namespace}/${name}`)?.ref ?? 0
  }

  get(ref: number): Service | undefined {
    return this.#byRef[ref]
  }

  /** Reference of the service at an address and port, 0 when there is none. Allocates nothing. */
  lookup(words: Uint32Array, at: number, port: number, protocol: number): number {
    if (this.#hints[hint(words[at + 3]!, port)] === 0) return 0
    return this.#frontends.get(words, at, frontend(port, protocol))
  }

  upsertService(facts: ServiceFacts): void {
    const key = `${facts.namespace}/${facts.name}`
    let known = this.#byName.get(key)
    if (known === undefined) {
      const ref = this.#free.pop() ?? (this.#byRef.length <= LAST_REF ? this.#byRef.length : 0)
      if (ref === 0) {
        this.refused++
        return
      }
      this.#byRef[ref] = Object.freeze({ name: facts.name, namespace: facts.namespace })
      known = { ref, facts }
      this.#byName.set(key, known)
    } else {
      this.#removeFrontends(known)
      known.facts = facts
    }
    const { ref } = known
    this.#eachFrontend(facts, (extra, at) => {
      const isNew = this.#frontends.get(this.#words, 0, extra) === 0
      if (!this.#frontends.set(this.#words, 0, extra, ref)) this.refused++
      else if (isNew && this.#hints[at]! < 255) this.#hints[at]!++
    })
  }

  deleteService(namespace: string, name: string): void {
    const key = `${namespace}/${name}`
    const known = this.#byName.get(key)
    if (known === undefined) return
    this.#byName.delete(key)
    this.#removeFrontends(known)
    this.#retired.push({ ref: known.ref, end: this.#historyEnd() })
  }

  /** Makes references usable again that no flow can name. */
  maintain(historyFirst: number): void {
    for (let next = this.#retired.peek(); next !== undefined && next.end <= historyFirst; next = this.#retired.peek()) {
      this.#retired.shift()
      this.#byRef[next.ref] = undefined
      this.#free.push(next.ref)
    }
  }

  /** Those that another service has taken over stay. */
  #removeFrontends({ facts, ref }: Known): void {
    this.#eachFrontend(facts, (extra, at) => {
      if (this.#frontends.get(this.#words, 0, extra) !== ref) return
      this.#frontends.delete(this.#words, 0, extra)
      // A saturated count is not known any more and stays.
      if (this.#hints[at]! < 255) this.#hints[at]!--
    })
  }

  #eachFrontend(facts: ServiceFacts, visit: (extra: number, hintAt: number) => void): void {
    for (const ip of facts.ips) {
      if (parseIp(ip, this.#bytes) === 0) continue
      for (const { port, protocol } of facts.ports) {
        visit(frontend(port, PROTOCOL_NUMBERS[protocol]), hint(this.#words[3]!, port))
      }
    }
    for (const { ip, port, protocol } of facts.backends ?? []) {
      if (parseIp(ip, this.#bytes) === 0) continue
      visit(frontend(port, PROTOCOL_NUMBERS[protocol]), hint(this.#words[3]!, port))
    }
  }
}

function frontend(port: number, protocol: number): number {
  return ((port << 8) | protocol) >>> 0
}

function hint(word: number, port: number): number {
  return Math.imul(word ^ (port << 12), 0x9e3779b1) >>> 16
}
