import fc from 'fast-check'
import { describe, expect } from 'vitest'
import { FlowFilter } from '../api/gen/flow/flow.ts'
import { SluiceError } from '../base/errors.ts'
import { FilterBuilder } from '../cli/observe/filter-builder.ts'
import { FILTER_FLAGS } from '../cli/observe/filter-flags.ts'
import { rawFilters } from '../cli/observe/request.ts'
import { formatTime, jsonTime, parseGoDuration, parseTime } from '../cli/observe/time.ts'
import { durationFlag } from '../cli/server-options.ts'
import { fuzz, fuzzText, textOf } from '../test/helpers/fuzz.ts'
import { run } from '../test/helpers/run-cli.ts'

const NOW_MS = 1_790_000_000_000
const usage = (error: unknown): boolean => SluiceError.is(error) && error.code === 'SLUICE_USAGE'
const FLAGS = FILTER_FLAGS.map(({ name }) => name)

describe('fuzz: command line', () => {
  fuzzText(
    'times and durations are read or refused, and what was read is printed',
    {
      corpus: 'cli-time',
      tokens: [
        '1',
        '23',
        '.',
        'h',
        'm',
        's',
        'ms',
        'ns',
        'µs',
        '-',
        '+',
        '2026',
        ':',
        'T',
        'Z',
        'Fri, ',
        ' Jan ',
        '0700',
      ],
      target: (text) => {
        expect(['bigint', 'undefined']).toContain(typeof parseGoDuration(text))
        const time = parseTime('--since', text, NOW_MS)
        expect(time.nanos).toBeGreaterThanOrEqual(0)
        expect(time.nanos).toBeLessThan(1_000_000_000)
        expect(jsonTime(time)).toMatch(/Z$/)
        for (const format of ['StampMilli', 'RFC3339Nano', 'RFC1123Z']) {
          expect(formatTime(time, format)).not.toBe('')
        }
      },
    },
    { refuses: usage },
  )

  fuzzText(
    'durationFlag() reads or refuses any text',
    {
      corpus: 'cli-time',
      tokens: ['1', '9', '.', 'h', 'm', 's', '-'],
      target: (text) => expect(durationFlag('--timeout', text)).toBeGreaterThan(0),
    },
    { refuses: usage },
  )

  fuzz(
    'filter flags take or refuse any value, and make filters that go over the wire',
    {
      corpus: 'cli-value',
      from: (seed) => FLAGS.map((name): [string, string] => [name, textOf(seed)]),
      generated: fc.array(fc.tuple(fc.constantFrom(...FLAGS), fc.string({ maxLength: 40 })), { maxLength: 4 }),
      target: (given) => {
        // Each alone: one that is refused must not keep the others from being tried.
        for (const [name, value] of given) {
          const builder = new FilterBuilder()
          try {
            builder.add(name, value)
          } catch (error) {
            if (usage(error)) continue
            throw error
          }
          const { allowlist } = builder.finish()
          for (const filter of allowlist) FlowFilter.decode(FlowFilter.encode(filter).finish())
        }
      },
    },
    { refuses: usage, maxMs: 400 },
  )

  fuzzText(
    'rawFilters() reads or refuses any JSON',
    {
      corpus: 'filter-json',
      tokens: ['{', '}', '[', ']', '"', '\\', ':', ',', '"source_ip"', '"verdict"', '1', 'null', '"a"', '1e400', '-1'],
      target: (text) => {
        for (const filter of rawFilters('--allowlist', [text])) FlowFilter.encode(filter).finish()
      },
    },
    { refuses: usage },
  )

  fuzzText(
    'observe --print-raw-filters ends with 0 or 2 whatever is given',
    {
      corpus: 'cli-flags',
      tokens: [
        ' ',
        '--',
        'pod',
        '-o',
        'json',
        '=',
        '--not',
        '--verdict',
        'DROPPED',
        '--last',
        '3',
        '-',
        '--help',
        '--x',
      ],
      target: async (text) => {
        const { code, stderr } = await run(['observe', '--print-raw-filters', ...text.split(' ').filter(isHarmless)])
        if (code !== 0 && code !== 2) throw new Error(`Ended with ${code}: ${stderr}`)
      },
    },
    { maxMs: 500 },
  )
})

/** Files are read and servers are called by these; what is tried here is how flags are read. */
function isHarmless(word: string): boolean {
  return !/^--(input-file|server|tls|config|timeout|request)/.test(word)
}
