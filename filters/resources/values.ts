import { DROP_REASONS } from '../../model/drop-reasons.ts'
import { ipText } from '../../model/flow-view.ts'
import { TRAFFIC_DIRECTION_NAMES, VERDICT_NAMES } from '../../model/names.ts'
import { parseAddress, parsePrefix } from '../address.ts'
import type { TcpFlagsMessage } from '../hubble/message.ts'
import { closest } from './closest.ts'

/** Values of single fields: which texts are one, and what they stand for. Texts are in any case unless said otherwise. */

/** `forwarded` and so on to flow.proto's number. */
export const VERDICTS: ReadonlyMap<string, number> = new Map(
  VERDICT_NAMES.map((name, number) => [number === 0 ? 'unknown' : name.toLowerCase(), number]),
)

export const DIRECTIONS: ReadonlyMap<string, number> = new Map(
  TRAFFIC_DIRECTION_NAMES.map((name, number) => [number === 0 ? 'unknown' : name.toLowerCase(), number]),
)

/** flow.proto's IPVersion: 1 IPv4, 2 IPv6. */
export const IP_VERSIONS: ReadonlyMap<string, number> = new Map([
  ['ipv4', 1],
  ['ipv6', 2],
])

export const TCP_FLAGS = [
  'FIN',
  'SYN',
  'RST',
  'PSH',
  'ACK',
  'URG',
  'ECE',
  'CWR',
  'NS',
] satisfies (keyof TcpFlagsMessage)[]

/** `SYN`, `SYN,ACK`: all of them set. @returns undefined when a part is no flag */
export function tcpFlags(text: string): TcpFlagsMessage | undefined {
  const message: { -readonly [K in keyof TcpFlagsMessage]: true } = {}
  for (const part of text.split(',')) {
    const flag = TCP_FLAGS.find((name) => name === part.trim().toUpperCase())
    if (flag === undefined) return undefined
    message[flag] = true
  }
  return message
}

/** A number from 0 to 65535, or its decimals. @returns undefined for anything else */
export function portNumber(value: number | string): number | undefined {
  const number = typeof value === 'number' ? value : /^[0-9]{1,5}$/.test(value) ? Number(value) : Number.NaN
  return Number.isInteger(number) && number >= 0 && number <= 65_535 ? number : undefined
}

/** An address as flows spell it, or a range as it is; undefined when the text is neither. */
export function addressText(text: string): string | undefined {
  if (text.includes('/')) return parsePrefix(text) === undefined ? undefined : text
  const address = parseAddress(text)
  return address === undefined ? undefined : ipText(address.bytes, 0)
}

/** 4, 6, or 0 when it is neither. */
export function addressFamily(text: string): 0 | 4 | 6 {
  const parsed = text.includes('/') ? parsePrefix(text) : parseAddress(text)
  if (parsed === undefined) return 0
  return addressText(text)?.includes(':') ? 6 : 4
}

/** What a text says about drop reasons. */
export interface ReasonMatch {
  /** flow.proto DropReason; empty when no reason is called so. */
  readonly numbers: readonly number[]
  /** True when the text is the beginning of the names of these reasons and the name of none. */
  readonly isFamily: boolean
}

const letters = (text: string) =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, ' ')
    .trim()

const REASONS = Object.entries(DROP_REASONS).map(([number, { name, text }]) => ({
  number: Number(number),
  name: letters(name),
  text: letters(text),
}))

/**
 * Reasons by flow.proto's name or the monitor's text, whatever the case and what stands between the words
 * (`POLICY_DENIED`, `Policy denied`); words that several reasons begin with stand for all of them (`Invalid`).
 */
export function dropReasons(text: string): ReasonMatch {
  const wanted = letters(text)
  const exact = REASONS.filter((reason) => reason.name === wanted || reason.text === wanted)
  if (exact.length > 0) return { numbers: exact.map((reason) => reason.number), isFamily: false }
  const family = wanted === '' ? [] : REASONS.filter((reason) => `${reason.text} `.startsWith(`${wanted} `))
  return { numbers: family.map((reason) => reason.number), isFamily: true }
}

/** The reason that an unknown text is closest to, as the monitor writes it. */
export function closestReason(text: string): string | undefined {
  const names = Object.values(DROP_REASONS).flatMap((reason) => [reason.text, reason.name])
  return closest(text, names)
}
