import { readdirSync, readFileSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { test } from 'vitest'

const CORPUS = new URL('../../fuzz/corpus/', import.meta.url)

/** Seconds for each target: short beside the unit tests, ten where everything is proven. */
export const FUZZ_SECONDS = Number(process.env['FUZZ_SECONDS'] ?? (process.env['CI'] === 'true' ? 10 : 1))

/** What one input of up to 64 KiB may take, milliseconds: a parser that is not linear is far beyond. */
const MAX_MS = 50
/** A slow input is measured again before it counts: other processes and the collector of garbage take time too. */
const SLOW_TRIES = 4
/** What may be held after a run that was not held after its first inputs: caches have bounds, and these are below. */
const MAX_GROWTH_BYTES = 48 * 1024 * 1024
const WARM_RUNS = 500
/** Between two turns of the event loop while inputs are fed, milliseconds. */
const TURN_MS = 50
export const MAX_INPUT_BYTES = 65_536

export interface FuzzOptions {
  /** Recognises the documented refusal; anything else that is thrown fails the target. Default: nothing may be thrown. */
  readonly refuses?: (error: unknown) => boolean
  /** Milliseconds that one input may take; 50 unless given. */
  readonly maxMs?: number
  /** Bytes that the target may come to hold, for those that keep a history. */
  readonly maxGrowthBytes?: number
}

type Target<T> = (input: T) => void | Promise<void>

/**
 * Makes a test that feeds a target for FUZZ_SECONDS. It fails when the target throws what is no refusal, takes too long
 * for an input, or holds ever more memory. The message has seed and path: FUZZ_SEED and FUZZ_PATH run that input again.
 *
 * @param corpus folder below fuzz/corpus; each of its seeds is fed first as it is
 * @param from makes an input of a seed's bytes
 * @param generated inputs from nothing; mutations of the seeds are fed beside them
 */
export function fuzz<T>(
  name: string,
  { corpus, from, generated, target }: FuzzParts<T>,
  options: FuzzOptions = {},
): void {
  test(name, { timeout: FUZZ_SECONDS * 1000 + 60_000 }, async () => {
    const seeds = readCorpus(corpus)
    const feed = guarded(target, options)
    for (const seed of seeds) await feed.run(from(seed))
    const arbitrary = fc.oneof(
      { arbitrary: generated, weight: 1 },
      { arbitrary: mutationsOf(seeds).map(from), weight: 2 },
    )
    await check(arbitrary, feed.run)
    await feed.checkMemory()
  })
}

export interface FuzzParts<T> {
  readonly corpus: string
  readonly from: (seed: Uint8Array) => T
  readonly generated: fc.Arbitrary<T>
  readonly target: Target<T>
}

/** fuzz() over bytes. */
export function fuzzBytes(name: string, corpus: string, target: Target<Uint8Array>, options: FuzzOptions = {}): void {
  const generated = fc.uint8Array({ maxLength: 2048, size: 'max' })
  fuzz(name, { corpus, from: (seed) => seed, generated, target }, options)
}

/**
 * fuzz() over text.
 *
 * @param tokens what the grammar is made of: strings of these reach deeper than random characters
 */
export function fuzzText(
  name: string,
  { corpus, tokens = [], target }: { corpus: string; tokens?: readonly string[]; target: Target<string> },
  options: FuzzOptions = {},
): void {
  const generated = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 200 }),
    ...(tokens.length === 0 ? [] : [tokenText(tokens)]),
  )
  fuzz(name, { corpus, from: textOf, generated, target }, options)
}

/** Strings of a grammar's tokens. */
export function tokenText(tokens: readonly string[]): fc.Arbitrary<string> {
  return fc.array(fc.constantFrom(...tokens), { maxLength: 40 }).map((parts) => parts.join(''))
}

/** Runs a property until the time is over; fails also when nothing was run. */
export async function check<T>(arbitrary: fc.Arbitrary<T>, run: (input: T) => Promise<void>): Promise<void> {
  let runs = 0
  let turnedAt = performance.now()
  const property = fc.asyncProperty(arbitrary, async (input) => {
    runs++
    await run(input)
    // Promises alone never end the job, and until it ends the engine holds whatever a WeakRef was made of or asked for.
    if (performance.now() - turnedAt < TURN_MS) return
    await turn()
    turnedAt = performance.now()
  })
  const { FUZZ_PATH: path, CI } = process.env
  // A CI run says the same twice; new inputs are looked for by `npm run fuzz`.
  const seed = process.env['FUZZ_SEED'] ?? (CI === 'true' ? '20261124' : undefined)
  const parameters: fc.Parameters<[T]> = {
    numRuns: 1_000_000_000,
    interruptAfterTimeLimit: FUZZ_SECONDS * 1000,
    markInterruptAsFailure: false,
    includeErrorInReport: true,
    ...(seed === undefined ? {} : { seed: Number(seed) }),
    ...(path === undefined ? {} : { path }),
  }
  await fc.assert(property, parameters)
  if (runs === 0) throw new Error('No input was run')
}

/** The target with its limits around it. */
function guarded<T>(target: Target<T>, options: FuzzOptions) {
  const maxMs = options.maxMs ?? MAX_MS
  const once = async (input: T): Promise<number> => {
    const start = performance.now()
    try {
      // Most targets are synchronous: awaiting each of a million would be most of the time.
      const pending = target(input)
      if (pending !== undefined) await pending
    } catch (error) {
      if (!options.refuses?.(error)) throw error
    }
    return performance.now() - start
  }
  let runs = 0
  let warm: number | undefined
  return {
    async run(input: T): Promise<void> {
      let took = await once(input)
      for (let i = 1; took > maxMs && i < SLOW_TRIES; i++) took = Math.min(took, await once(input))
      if (took > maxMs) throw new Error(`One input took ${took.toFixed(0)} ms, at most ${maxMs} ms are allowed`)
      if (++runs === WARM_RUNS) warm = await heldBytes()
    },
    async checkMemory(): Promise<void> {
      if (warm === undefined) return
      const growth = (await heldBytes()) - warm
      const limit = options.maxGrowthBytes ?? MAX_GROWTH_BYTES
      if (growth > limit) throw new Error(`${runs} inputs left ${growth} bytes behind, at most ${limit} are allowed`)
    },
  }
}

/** What is held once nothing holds it only for the job that runs, and the buffers of the dead are given back. */
async function heldBytes(): Promise<number> {
  await turn()
  collectGarbage()
  // Buffers that were found dead are freed by another thread and still counted: the next collection waits for it.
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

let gc: (() => void) | undefined

function collectGarbage(): void {
  if (gc === undefined) {
    setFlagsFromString('--expose-gc')
    gc = runInNewContext('gc') as () => void
  }
  gc()
}

/** Seeds of a target: each file one, of `*.lines` each line. */
export function readCorpus(corpus: string): Uint8Array[] {
  const folder = new URL(`${corpus}/`, CORPUS)
  const seeds: Uint8Array[] = []
  for (const name of readdirSync(folder).sort()) {
    const bytes = readFileSync(fileURLToPath(new URL(name, folder)))
    if (!name.endsWith('.lines')) seeds.push(new Uint8Array(bytes))
    else for (const line of bytes.toString('utf8').split('\n')) seeds.push(new Uint8Array(Buffer.from(line)))
  }
  if (seeds.length === 0) throw new Error(`fuzz/corpus/${corpus} has no seeds`)
  return seeds
}

/** Text of bytes; what is no UTF-8 becomes U+FFFD, as where files are read. */
export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('utf8')
}

/** Values at which lengths, signs and tables have their edges. */
const EDGES = [0, 1, 2, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xc0, 0xfe, 0xff, 0x0a, 0x0d, 0x20, 0x22, 0x5c]

/** One change: what it does depends on `kind`, where on `at`, both taken modulo what there is. */
interface Change {
  readonly kind: number
  readonly at: number
  readonly value: number
  readonly length: number
}

const change: fc.Arbitrary<Change> = fc.record({
  kind: fc.nat({ max: 8 }),
  at: fc.nat({ max: 0xffff }),
  value: fc.oneof(fc.nat({ max: 255 }), fc.constantFrom(...EDGES)),
  length: fc.oneof(fc.nat({ max: 8 }), fc.nat({ max: 300 })),
})

/** Seeds with up to eight changes each; some grow to 64 KiB. */
export function mutationsOf(seeds: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> {
  const seed = fc.constantFrom(...seeds)
  const changed = fc
    .tuple(seed, seed, fc.array(change, { minLength: 1, maxLength: 8 }))
    .map(([one, other, changes]) => changes.reduce((bytes, step) => applyChange(bytes, other, step), one))
  const grown = fc
    .tuple(changed, fc.nat({ max: 0xffff }), fc.integer({ min: 1, max: 64 }))
    .map(([bytes, at, length]) => grow(bytes, at, length))
  return fc.oneof({ arbitrary: changed, weight: 60 }, { arbitrary: grown, weight: 1 })
}

function applyChange(bytes: Uint8Array, other: Uint8Array, { kind, at, value, length }: Change): Uint8Array {
  const i = bytes.length === 0 ? 0 : at % bytes.length
  const head = bytes.subarray(0, i)
  const tail = bytes.subarray(i)
  switch (kind) {
    case 0:
      return head
    case 1:
      return tail
    case 2:
      return joined(head, new Uint8Array(length).fill(value), tail)
    case 3:
      return joined(head, tail.subarray(length))
    case 4:
      return joined(head, tail.subarray(0, length), tail)
    case 5:
      return joined(head, other.subarray(at % (other.length + 1)))
    default: {
      const copy = bytes.slice()
      if (kind === 6) copy[i] = value
      else if (kind === 7) copy[i] = copy[i]! ^ (1 << (value & 7))
      else copy.fill(value, i, i + length)
      return copy
    }
  }
}

/** A part of the input repeated until the whole has 64 KiB: what is quadratic takes seconds over it. */
function grow(bytes: Uint8Array, at: number, length: number): Uint8Array {
  if (bytes.length === 0) return bytes
  const i = at % bytes.length
  const part = bytes.subarray(i, i + length)
  const room = Math.max(0, MAX_INPUT_BYTES - bytes.length)
  const middle = new Uint8Array(room)
  for (let from = 0; from < room; from += part.length) middle.set(part.subarray(0, room - from), from)
  return joined(bytes.subarray(0, i), middle, bytes.subarray(i))
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts)).subarray(0, MAX_INPUT_BYTES)
}
