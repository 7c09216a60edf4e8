import { isAbsolute } from 'node:path'
import { SluiceError } from '../../base/errors.ts'
import { type FieldMask, parseFieldMask } from '../../model/field-mask.ts'

/** Where Azure's container network logs live on a node; its shippers look here. */
export const DEFAULT_PATH = '/var/log/acns/hubble/events.log'
/** 50 x 1,048,576 bytes: the size at which Azure's node agent rotates. No file is ever larger. */
export const DEFAULT_MAX_FILE_BYTES = 52_428_800
/** As Hubble. Disk: (5 + 1) files x 50 MiB = 300 MiB, and while one is compressed its copy (about 4 MiB) besides. */
export const DEFAULT_MAX_BACKUPS = 5
/** As Hubble: what passes on the network is nobody else's business. Shippers that are not root need 0o640 and a group. */
export const DEFAULT_FILE_MODE = 0o600
/** About 170 lines of 1.2 kB (the longest line must fit behind them): 0.2 ms of encoding for each write(2). */
export const DEFAULT_CHUNK_BYTES = 262_144
/** 65,536 records x 136 bytes = 8.5 MiB, half of a kernel ring of 16 MiB: a stalled disk does not stop the others. */
export const DEFAULT_MAX_HELD_FLOWS = 65_536
/** First wait after a failed write, doubled up to the longest. */
export const DEFAULT_RETRY_MIN_MS = 100
export const DEFAULT_RETRY_MAX_MS = 5_000

/** `hubble observe --input-file` reads lines shorter than 64 KiB, newline included. */
export const MAX_LINE_BYTES = 65_535
const MIN_CHUNK_BYTES = 2 * 65_536
const MIN_FILE_BYTES = 1_048_576
const MAX_FILE_BYTES = 2 ** 40

/** What a user may set; everything has a default. */
export interface JsonLogOptions {
  /** Absolute path of the live file. */
  readonly path?: string
  /** Bytes; no file grows beyond. 1 MiB to 1 TiB. */
  readonly maxFileBytes?: number
  /** Rotated files kept beside the live one, 0 to 10,000; 0 keeps none. */
  readonly maxBackups?: number
  /** gzip rotated files. */
  readonly compress?: boolean
  /** Permission bits of new files, for example 0o640. */
  readonly fileMode?: number
  /** Paths of flow.proto's Flow to write (`time`, `source.pod_name`, `l4.TCP`); empty or left out writes all. */
  readonly fieldMask?: readonly string[]
  /** Bytes per write(2), 128 KiB to 4 MiB. */
  readonly chunkBytes?: number
  /** Records that a stalled disk may keep in the kernel's ring; see README.md, "When the disk does not keep up". */
  readonly maxHeldFlows?: number
  readonly retryMinMs?: number
  readonly retryMaxMs?: number
}

/** Options with defaults filled in and checked. */
export interface ResolvedJsonLogOptions extends Required<Omit<JsonLogOptions, 'fieldMask'>> {
  /** undefined writes every field. */
  readonly fieldMask: FieldMask | undefined
}

/**
 * Fills in defaults and checks everything at once.
 *
 * @throws SluiceError SLUICE_CONFIG_INVALID that names each wrong option, its value and what is wanted
 */
export function resolveJsonLogOptions(options: JsonLogOptions = {}): ResolvedJsonLogOptions {
  const problems: string[] = []
  const whole = (name: keyof JsonLogOptions, fallback: number, min: number, max: number): number => {
    const value = options[name] ?? fallback
    if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return value as number
    problems.push(`"${name}" is ${JSON.stringify(value)}, want a whole number from ${min} to ${max}`)
    return fallback
  }
  const path = options.path ?? DEFAULT_PATH
  if (typeof path !== 'string' || !isAbsolute(path) || path.endsWith('/') || path.includes('\0')) {
    problems.push(`"path" is ${JSON.stringify(path)}, want the absolute path of a file`)
  }
  const compress = options.compress ?? false
  if (typeof compress !== 'boolean') problems.push(`"compress" is ${JSON.stringify(compress)}, want true or false`)
  const retryMinMs = whole('retryMinMs', DEFAULT_RETRY_MIN_MS, 1, 60_000)
  const resolved: ResolvedJsonLogOptions = {
    path,
    maxFileBytes: whole('maxFileBytes', DEFAULT_MAX_FILE_BYTES, MIN_FILE_BYTES, MAX_FILE_BYTES),
    maxBackups: whole('maxBackups', DEFAULT_MAX_BACKUPS, 0, 10_000),
    compress,
    fileMode: whole('fileMode', DEFAULT_FILE_MODE, 0o200, 0o777),
    chunkBytes: whole('chunkBytes', DEFAULT_CHUNK_BYTES, MIN_CHUNK_BYTES, 4_194_304),
    maxHeldFlows: whole('maxHeldFlows', DEFAULT_MAX_HELD_FLOWS, 1, 2 ** 31),
    retryMinMs,
    retryMaxMs: whole('retryMaxMs', DEFAULT_RETRY_MAX_MS, retryMinMs, 600_000),
    fieldMask: readMask(options.fieldMask ?? [], problems),
  }
  if (resolved.chunkBytes > resolved.maxFileBytes) {
    problems.push(`"chunkBytes" is ${resolved.chunkBytes}, want at most "maxFileBytes" (${resolved.maxFileBytes})`)
  }
  if (problems.length > 0) {
    throw new SluiceError('SLUICE_CONFIG_INVALID', `Cannot use the log's configuration: ${problems.join('; ')}`)
  }
  return resolved
}

function readMask(paths: readonly string[], problems: string[]): FieldMask | undefined {
  try {
    return parseFieldMask(paths)
  } catch (error) {
    if (!SluiceError.is(error)) throw error
    problems.push(`"fieldMask": ${error.message}`)
    return undefined
  }
}
