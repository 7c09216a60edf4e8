import { open } from 'node:fs/promises'

/** Largest of the small files: netstat has about 8 KB. */
const SMALL_MAX_BYTES = 262_144
/** Names taken from one line of netstat; Linux 6.12 has about 140. */
const NAMES_MAX = 512
/** Sockets looked at; a line has 150 bytes, so that a million are 150 MB read in pieces of 64 KB. */
const SOCKETS_MAX = 1_000_000
const PIECE_BYTES = 65_536

/** Socket states by the number that /proc/net/tcp shows, named as in Retina, where a closed socket has no name. */
export const TCP_STATES: readonly string[] = [
  'UNKNOWN',
  'ESTABLISHED',
  'SYN_SENT',
  'SYN_RECV',
  'FIN_WAIT1',
  'FIN_WAIT2',
  'TIME_WAIT',
  '',
  'CLOSE_WAIT',
  'LAST_ACK',
  'LISTEN',
  'CLOSING',
  // A request socket: the kernel's NEW_SYN_RECV.
  'SYN_RECV',
]

/** Reads a small file of /proc. @returns its text, cut at 256 KB; empty when it is not there */
export async function readSmall(path: string): Promise<string> {
  try {
    const file = await open(path)
    try {
      const buffer = Buffer.alloc(SMALL_MAX_BYTES)
      let length = 0
      while (length < buffer.length) {
        const { bytesRead } = await file.read(buffer, length, buffer.length - length)
        if (bytesRead === 0) break
        length += bytesRead
      }
      return buffer.toString('latin1', 0, length)
    } finally {
      await file.close()
    }
  } catch {
    return ''
  }
}

/**
 * Pairs of lines as in netstat and snmp: `TcpExt: name name …` and `TcpExt: value value …`. Lines that do not fit
 * together and values that are no decimal are left out.
 *
 * @returns section to name to value
 */
export function parsePairs(text: string): Map<string, Map<string, number>> {
  const sections = new Map<string, Map<string, number>>()
  const lines = text.split('\n')
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const [section, ...names] = lines[i]!.trim().split(/\s+/)
    const [same, ...values] = lines[i + 1]!.trim().split(/\s+/)
    if (section === undefined || section !== same || !section.endsWith(':') || names.length !== values.length) continue
    const entries = new Map<string, number>()
    for (let j = 0; j < Math.min(names.length, NAMES_MAX); j++) {
      if (/^\w+$/.test(names[j]!) && /^-?\d{1,20}$/.test(values[j]!)) entries.set(names[j]!, Number(values[j]))
    }
    sections.set(section.slice(0, -1), entries)
  }
  return sections
}

/** `UDP: inuse 3 mem 2` of sockstat and sockstat6. @returns the number behind a key of a protocol, 0 when not there */
export function sockstat(text: string, protocol: string, key: string): number {
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${protocol}: `))
  const words = line?.trim().split(/\s+/) ?? []
  const at = words.indexOf(key)
  const value = at < 0 ? undefined : words[at + 1]
  return value !== undefined && /^\d{1,15}$/.test(value) ? Number(value) : 0
}

/** Names of the sixteen columns of /proc/net/dev, as ethtool and sysfs name them. */
const DEV_COLUMNS = [
  'rx_bytes',
  'rx_packets',
  'rx_errors',
  'rx_dropped',
  'rx_fifo_errors',
  'rx_frame_errors',
  'rx_compressed',
  'multicast',
  'tx_bytes',
  'tx_packets',
  'tx_errors',
  'tx_dropped',
  'tx_fifo_errors',
  'collisions',
  'tx_carrier_errors',
  'tx_compressed',
] as const

/** Sums of /proc/net/dev over all devices but the loopback. */
export function parseDev(text: string): Map<string, number> {
  const sums = new Map<string, number>(DEV_COLUMNS.map((name) => [name, 0]))
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':')
    if (colon < 0 || line.slice(0, colon).trim() === 'lo') continue
    const values = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/)
    if (values.length !== DEV_COLUMNS.length || !values.every((value) => /^\d{1,20}$/.test(value))) continue
    DEV_COLUMNS.forEach((name, i) => {
      sums.set(name, sums.get(name)! + Number(values[i]))
    })
  }
  return sums
}

/** Sockets by number of their state, read from /proc/net/tcp or tcp6 in pieces. @param counts added to, by state */
export async function countTcpStates(path: string, counts: Uint32Array): Promise<void> {
  let file: Awaited<ReturnType<typeof open>>
  try {
    file = await open(path)
  } catch {
    return
  }
  try {
    const counter = new TcpStateCounter(counts)
    const buffer = Buffer.alloc(PIECE_BYTES)
    while (counter.sockets < SOCKETS_MAX) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length)
      if (bytesRead === 0) break
      counter.add(buffer.subarray(0, bytesRead))
    }
  } finally {
    await file.close()
  }
}

const NEWLINE = 10
const SPACE = 32
const STATE_COLUMN = 3

/**
 * Finds the fourth column of each line but the first, whatever the pieces:
 *
 *      0: 0100007F:37A5 00000000:0000 0A 00000000:00000000 ...
 */
export class TcpStateCounter {
  sockets = 0
  readonly #counts: Uint32Array
  #column = -1
  #inWord = false
  #state = 0
  #digits = 0
  #isHeader = true

  /** @param counts by state; what is no state of the table goes to 0 */
  constructor(counts: Uint32Array) {
    this.#counts = counts
  }

  add(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i]!
      if (byte === NEWLINE) {
        this.#endLine()
      } else if (byte === SPACE) {
        this.#inWord = false
      } else {
        if (!this.#inWord) this.#column++
        this.#inWord = true
        if (this.#column === STATE_COLUMN) this.#addDigit(byte)
      }
    }
  }

  #addDigit(byte: number): void {
    const digit = Number.parseInt(String.fromCharCode(byte), 16)
    this.#state = Number.isNaN(digit) ? 0 : (this.#state << 4) | digit
    this.#digits++
  }

  #endLine(): void {
    if (!this.#isHeader && this.#digits > 0) {
      const known = this.#digits <= 2 && this.#state < TCP_STATES.length && this.#state < this.#counts.length
      const state = known ? this.#state : 0
      this.#counts[state] = this.#counts[state]! + 1
      this.sockets++
    }
    this.#isHeader = false
    this.#column = -1
    this.#inWord = false
    this.#state = 0
    this.#digits = 0
  }
}
