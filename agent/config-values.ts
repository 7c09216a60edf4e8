import { isIP } from 'node:net'
import { z } from 'zod'

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }
const UNIT_BYTES: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  kB: 1000,
  MB: 1000 ** 2,
  GB: 1000 ** 3,
}

/** Milliseconds of `500ms`, `5s`, `1m30s`, `2h`; undefined for anything else. */
export function durationMs(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) return undefined
  let sum = 0
  for (const match of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) sum += Number(match[1]) * UNIT_MS[match[2]!]!
  return sum
}

/** Bytes of `16MiB`, `50MB`, `4096`; undefined for anything else. */
export function sizeBytes(text: string): number | undefined {
  const match = /^(\d+)\s*(B|KiB|MiB|GiB|kB|MB|GB)?$/.exec(text)
  return match ? Number(match[1]) * UNIT_BYTES[match[2] ?? '']! : undefined
}

/** A duration within limits, kept as text; durationMs() reads it. */
export function duration(min: string, max: string) {
  const low = durationMs(min)!
  const high = durationMs(max)!
  return z.string().refine((text) => {
    const ms = durationMs(text)
    return ms !== undefined && ms >= low && ms <= high
  }, `want a duration from ${min} to ${max}, for example "5s" or "1m30s"`)
}

/** A size within limits, kept as text or number; sizeBytes(String(v)) reads it. */
export function size(min: string, max: string) {
  const low = sizeBytes(min)!
  const high = sizeBytes(max)!
  return z.union([z.string(), z.int()], `want a size from ${min} to ${max}, for example "16MiB"`).refine((value) => {
    const bytes = sizeBytes(String(value))
    return bytes !== undefined && bytes >= low && bytes <= high
  }, `want a size from ${min} to ${max}, for example "16MiB"`)
}

export const port = z.int().min(1, 'want a port from 1 to 65535').max(65535, 'want a port from 1 to 65535')

/** Host and port of `:9965`, `127.0.0.1:9965`, `[::1]:9965`, `localhost:9965`; port 0 = any free one. */
export function hostPort(text: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text)
  if (!match || Number(match[3]) > 65535) return undefined
  const host = match[1] ?? match[2] ?? ''
  if (match[1] !== undefined && isIP(host) !== 6) return undefined
  if (host !== '' && isIP(host) === 0 && !/^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?$/.test(host)) return undefined
  // a name of digits and dots is a mistyped address
  if (/^[0-9.]+$/.test(host) && isIP(host) === 0) return undefined
  return { host, port: Number(match[3]) }
}

export const address = z
  .string()
  .refine(
    (text) => hostPort(text) !== undefined,
    'want host:port, for example ":9965", "127.0.0.1:9965" or "[::1]:9965"',
  )

export const listenAddress = z
  .string()
  .refine(
    (text) =>
      text.startsWith('unix://') ? text.length > 'unix:///'.length && text[7] === '/' : hostPort(text) !== undefined,
    'want host:port or unix:///absolute/path',
  )
