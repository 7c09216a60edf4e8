import { z } from 'zod'
import { errorText } from '../base/errors.ts'
import { parseHostPort, parseListenAddress, WANT_HOST_PORT } from '../base/listen-address.ts'

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

/** For superRefine(): what `read` throws at is a mistake, in its words. */
export function readable<T>(read: (value: T) => unknown) {
  return (value: T, context: z.RefinementCtx): void => {
    try {
      read(value)
    } catch (error) {
      context.addIssue({ code: 'custom', message: errorText(error) })
    }
  }
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

export const address = z.string().refine((text) => parseHostPort(text) !== undefined, WANT_HOST_PORT)

export const listenAddress = z.string().refine((text) => {
  const parsed = parseListenAddress(text)
  return parsed?.kind === 'unix' ? text.startsWith('unix:///') && parsed.path !== '/' : parsed !== undefined
}, 'want host:port or unix:///absolute/path')
