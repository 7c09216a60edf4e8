import { readFileSync } from 'node:fs'
import { kernelEnum } from '../../native/index.ts'

/** skb_drop_reason of the running kernel, number to name without its prefix. */
export function dropReasonNames(): ReadonlyMap<number, string> {
  const members = kernelEnum('skb_drop_reason') ?? new Map<string, number>()
  return new Map([...members].map(([name, value]) => [value, name.replace(/^SKB_(DROP_REASON_)?/, '')]))
}

/** Text symbols of the running kernel, to tell where a record says that a packet was dropped. */
export class KernelSymbols {
  /** Address of _stext: what drop_location counts from. */
  readonly base: bigint
  readonly #addresses: bigint[] = []
  readonly #names: string[] = []

  constructor() {
    const lines: [bigint, string][] = []
    for (const line of readFileSync('/proc/kallsyms', 'utf8').split('\n')) {
      const [address, type, name] = line.split(/\s/)
      if (name !== undefined && /^[tT]$/.test(type!)) lines.push([BigInt(`0x${address}`), name])
    }
    lines.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    this.base = lines.find(([, name]) => name === '_stext')?.[0] ?? 0n
    for (const [address, name] of lines) {
      this.#addresses.push(address)
      this.#names.push(name)
    }
  }

  /** The function that an offset from the base lies in, empty when there is none. */
  at(offset: number): string {
    const address = this.base + BigInt(offset)
    let low = 0
    let high = this.#addresses.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#addresses[middle]! <= address) low = middle + 1
      else high = middle
    }
    return this.#names[low - 1] ?? ''
  }
}
