import { closeSync, openSync, readFileSync, readSync } from 'node:fs'

const KALLSYMS = '/proc/kallsyms'
/** _stext is among the first symbols: 64 KiB hold 1,500 of them. */
const HEAD_BYTES = 64 << 10
/** More symbols than a kernel with every module has; later lines are left out. 20 bits: see #parse. */
const MAX_SYMBOLS = 1 << 20

/** Address of _stext, from which records count drop locations; 0 where kptr_restrict hides addresses. */
export function kernelBase(path: string = KALLSYMS): bigint {
  const head = Buffer.alloc(HEAD_BYTES)
  let used = 0
  try {
    const fd = openSync(path, 'r')
    try {
      for (;;) {
        const read = readSync(fd, head, used, head.length - used, null)
        if (read === 0) break
        used += read
      }
    } finally {
      closeSync(fd)
    }
  } catch {
    return 0n
  }
  const address = /^([0-9a-f]+) [tT] _stext$/m.exec(head.toString('latin1', 0, used))?.[1]
  return address === undefined ? 0n : BigInt(`0x${address}`)
}

/**
 * The kernel's functions by offset from _stext, for drop locations. Read at the first question or by load(), in about
 * 50 ms, and kept (6 MB for 120,000 symbols); a module that is loaded later shows as an offset from what lies before it.
 */
export class KernelSymbols {
  readonly #path: string
  /** Address that offsets count from. */
  readonly base: bigint
  #loaded = false
  #text = ''
  /** Sorted; and where the name of each starts in the text. */
  #offsets = new Uint32Array(0)
  #names = new Uint32Array(0)

  /** @param base as given to the programs; 0 = this process may not know addresses, and no place has a name */
  constructor(base: bigint, path: string = KALLSYMS) {
    this.base = base
    this.#path = path
  }

  /**
   * `tcp_v4_rcv+0x5c`, or `0x1234` when the address is no function's; empty for 0. Empty too where the kernel hides its
   * addresses: what the programs count from is 0 then, and the offset would tell where the kernel lies.
   */
  name(offset: number): string {
    if (offset === 0 || this.base === 0n) return ''
    this.load()
    const at = lastNotAbove(this.#offsets, offset)
    if (at < 0) return `0x${offset.toString(16)}`
    const start = this.#names[at]!
    const name = /^[^\s]+/.exec(this.#text.slice(start, start + 512))?.[0] ?? ''
    const within = offset - this.#offsets[at]!
    return within === 0 ? name : `${name}+0x${within.toString(16)}`
  }

  load(): void {
    if (this.#loaded) return
    this.#loaded = true
    if (this.base === 0n) return
    try {
      this.#parse(readFileSync(this.#path, 'latin1'))
    } catch {
      // No symbols: hexadecimal.
    }
  }

  /** Lines are `<16 hex digits> <type> <name>`; data, which nobody calls from, is left out. */
  #parse(text: string): void {
    const base = Number(BigInt.asUintN(32, this.base))
    const keys: number[] = []
    const starts: number[] = []
    for (let at = 0; at < text.length && keys.length < MAX_SYMBOLS; ) {
      const end = text.indexOf('\n', at)
      const type = text.charAt(at + 17)
      if (type === 't' || type === 'T' || type === 'w' || type === 'W') {
        // Modulo 2^32, as the programs count: modules may lie below the kernel.
        const offset = (Number.parseInt(text.slice(at + 8, at + 16), 16) - base) >>> 0
        // Offset and line in one double, so that a plain numeric sort orders both: 32 + 20 bits.
        keys.push(offset * MAX_SYMBOLS + starts.length)
        starts.push(at + 19)
      }
      at = end < 0 ? text.length : end + 1
    }
    const sorted = Float64Array.from(keys).sort()
    this.#text = text
    this.#offsets = Uint32Array.from(sorted, (key) => Math.floor(key / MAX_SYMBOLS))
    this.#names = Uint32Array.from(sorted, (key) => starts[key % MAX_SYMBOLS]!)
  }
}

/** Index of the greatest element not above a value, -1 when all are above. */
function lastNotAbove(sorted: Uint32Array, value: number): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (sorted[middle]! <= value) low = middle + 1
    else high = middle
  }
  return low - 1
}
