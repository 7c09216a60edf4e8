import { FlowFilter } from '../../api/gen/flow/flow.ts'
import { GetFlowsRequest } from '../../api/gen/observer/observer.ts'
import { errorText, SluiceError } from '../../base/errors.ts'
import { HUBBLE_CLI_MASK } from '../../model/field-mask.ts'
import type { OutputFormat } from '../output/printers.ts'
import type { FilterLists } from './filter-builder.ts'
import { parseTime } from './time.ts'

/** Flows that are shown when nothing says how many. */
const DEFAULT_COUNT = 20n
const ALL = (1n << 64n) - 1n

/** Flags that say which flows, as given. */
export interface SelectorOptions {
  readonly all?: boolean
  readonly first?: string
  readonly last?: string
  readonly follow?: boolean
  readonly since?: string
  readonly until?: string
  readonly fieldMask?: readonly string[]
  readonly useDefaultFieldMasks?: boolean
  readonly allowlist?: readonly string[]
  readonly denylist?: readonly string[]
  readonly inputFile?: string
}

/** Which flows, in what order: the part of a request that flows, agent events and debug events share. */
export interface Selection {
  readonly number: bigint
  readonly first: boolean
  readonly follow: boolean
  readonly since: GetFlowsRequest['since']
  readonly until: GetFlowsRequest['until']
}

/**
 * Reads the selector flags with `hubble`'s defaults.
 *
 * @param defaultCount how many without any of them; undefined = all that there are
 * @throws SluiceError SLUICE_USAGE
 */
export function parseSelection(options: SelectorOptions, nowMs: number, defaultCount?: bigint): Selection {
  const first = count('--first', options.first)
  const last = count('--last', options.last)
  const follow = options.follow === true
  const all = options.all === true
  forbid(first > 0n && last > 0n, '--first', '--last')
  forbid(first > 0n && all, '--first', '--all')
  forbid(first > 0n && follow, '--first', '--follow')
  forbid(last > 0n && all, '--last', '--all')
  const since = options.since ? parseTime('--since', options.since, nowMs) : undefined
  const until = options.until ? parseTime('--until', options.until, nowMs) : undefined
  const unbounded = since === undefined && until === undefined
  let number = first || last
  if (unbounded && all) number = ALL
  else if (unbounded && number === 0n && !follow) number = defaultCount ?? 0n
  return { number, first: first > 0n, follow, since, until: follow ? undefined : until }
}

/** The request that `observe` sends. @throws SluiceError SLUICE_USAGE */
export function buildRequest(
  options: SelectorOptions,
  lists: FilterLists,
  context: { readonly output: OutputFormat; readonly nowMs: number },
): GetFlowsRequest {
  const selection = parseSelection(options, context.nowMs, options.inputFile === undefined ? DEFAULT_COUNT : undefined)
  const json = context.output === 'json' || context.output === 'jsonpb'
  const mask = options.fieldMask ?? []
  if (mask.length > 0 && !json) {
    throw new SluiceError(
      'SLUICE_USAGE',
      `Cannot use --field-mask with output "${context.output}": want json or jsonpb`,
    )
  }
  // `wide` shows what the default mask leaves out.
  const byDefault = !json && context.output !== 'wide' && options.useDefaultFieldMasks !== false
  const paths = mask.length > 0 ? [...mask] : byDefault ? [...HUBBLE_CLI_MASK] : []
  return GetFlowsRequest.fromPartial({
    ...selection,
    whitelist: [...lists.allowlist, ...rawFilters('--allowlist', options.allowlist)],
    blacklist: [...lists.denylist, ...rawFilters('--denylist', options.denylist)],
    ...(paths.length > 0 ? { field_mask: paths } : {}),
  })
}

function count(flag: string, text: string | undefined): bigint {
  if (text === undefined) return 0n
  if (/^\d+$/.test(text) && BigInt(text) <= ALL) return BigInt(text)
  throw new SluiceError('SLUICE_USAGE', `Cannot use ${flag} "${text}": want a number from 0 to 2^64 - 1`)
}

function forbid(both: boolean, flag: string, other: string): void {
  if (both) throw new SluiceError('SLUICE_USAGE', `Cannot use ${flag} with ${other}`)
}

/**
 * Reads --allowlist and --denylist: each value is one FlowFilter as JSON, or several one after the other.
 *
 * @throws SluiceError SLUICE_USAGE naming flag and value
 */
export function rawFilters(flag: string, values: readonly string[] = []): FlowFilter[] {
  return values.flatMap((value) =>
    splitJson(value).map((text) => {
      try {
        const parsed: unknown = JSON.parse(text)
        if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
          throw new Error('want a JSON object')
        const unknown = Object.keys(parsed).find((key) => !FILTER_KEYS.has(key))
        if (unknown !== undefined) throw new Error(`"${unknown}" is no field of FlowFilter`)
        const filter = FlowFilter.fromJSON(parsed)
        // What is no number where one belongs becomes NaN, and is refused only where it is written.
        FlowFilter.encode(filter).finish()
        return filter
      } catch (cause) {
        throw new SluiceError('SLUICE_USAGE', `Cannot use ${flag} '${value}': ${errorText(cause)}`, { cause })
      }
    }),
  )
}

/** Proto names and their camelCase forms. */
const FILTER_KEYS: ReadonlySet<string> = new Set(
  Object.keys(FlowFilter.fromPartial({})).flatMap((name) => [
    name,
    name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
  ]),
)

/** Objects that follow each other without a separator, apart. Text outside of objects stays as it is: JSON refuses it. */
function splitJson(text: string): string[] {
  const parts: string[] = []
  let depth = 0
  let inString = false
  let start = 0
  for (let i = 0; i < text.length; i++) {
    const character = text[i]
    if (inString) {
      if (character === '\\') i++
      else if (character === '"') inString = false
    } else if (character === '"') inString = true
    else if (character === '{') depth++
    else if (character === '}' && --depth === 0) {
      parts.push(text.slice(start, i + 1))
      start = i + 1
    }
  }
  if (text.slice(start).trim() !== '' || parts.length === 0) parts.push(text.slice(start))
  return parts
}
