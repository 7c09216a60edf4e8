import { readFileSync, statSync } from 'node:fs'
import { z } from 'zod'
import { errorText, SluiceError } from '../../base/errors.ts'
import { parseYaml } from '../../base/yaml-document.ts'
import { parseGoDuration } from '../observe/time.ts'

const MAX_FILE_BYTES = 100_000
const MAX_ENTRIES = 50

const price = z.number().min(0).max(1e9)
const name = z.string().min(1).max(200)

const schema = z.strictObject({
  currency: z.string().min(1).max(20),
  /** Nodes that are like the one measured. */
  nodes: z.number().int().min(1).max(1_000_000).default(1),
  daysPerMonth: z.number().min(1).max(31).default(30),
  metrics: z
    .array(
      z
        .strictObject({
          name,
          perThousandSeriesMonth: price.optional(),
          perMillionSamples: price.optional(),
          scrapeInterval: z
            .string()
            .refine((text) => (parseGoDuration(text) ?? 0n) > 0n, 'want a duration above 0, for example 30s')
            .optional(),
        })
        .refine(
          (entry) => (entry.perThousandSeriesMonth === undefined) !== (entry.perMillionSamples === undefined),
          'want either perThousandSeriesMonth or perMillionSamples',
        )
        .refine(
          (entry) => entry.perMillionSamples === undefined || entry.scrapeInterval !== undefined,
          'want scrapeInterval with perMillionSamples: it says how many samples a series makes',
        ),
    )
    .max(MAX_ENTRIES)
    .default([]),
  logs: z
    .array(
      z.strictObject({
        name,
        perGB: price,
        /** Bytes that the destination bills for one of the log. */
        bytesFactor: z.number().min(0).max(1000).default(1),
      }),
    )
    .max(MAX_ENTRIES)
    .default([]),
})

/** The user's own list of what metrics and logs cost; there is none built in. */
export type PriceList = z.output<typeof schema>

/** What an amount of series and log costs somewhere. */
export interface Cost {
  /** Name of the destination, as in the list. */
  readonly name: string
  readonly what: 'metrics' | 'log'
  /** In the list's currency, per month, all nodes together. */
  readonly perMonth: number
}

/** @throws SluiceError SLUICE_USAGE listing each mistake with file, line, key and remedy */
export function parsePrices(text: string, file: string): PriceList {
  return parseYaml(text, schema, { file, code: 'SLUICE_USAGE', maxBytes: MAX_FILE_BYTES })
}

/** @throws SluiceError SLUICE_USAGE as parsePrices(), or when the file cannot be read */
export function readPrices(file: string): PriceList {
  let text: string
  try {
    const { size } = statSync(file)
    if (size > MAX_FILE_BYTES) throw new Error(`${size} bytes, at most ${MAX_FILE_BYTES}`)
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    throw new SluiceError('SLUICE_USAGE', `Cannot read the price list "${file}": ${errorText(cause)}`, { cause })
  }
  return parsePrices(text, file)
}

const GB = 1e9
const SECONDS_PER_DAY = 86_400

/**
 * What series and log bytes of one node cost.
 *
 * @param series time series at once
 * @param logBytesPerDay bytes of the log's lines
 */
export function costs(prices: PriceList, series: number, logBytesPerDay: number): Cost[] {
  const { nodes, daysPerMonth } = prices
  const ofMetrics = prices.metrics.map((entry): Cost => {
    const { perThousandSeriesMonth, perMillionSamples = 0, scrapeInterval } = entry
    if (perThousandSeriesMonth !== undefined) {
      return { name: entry.name, what: 'metrics', perMonth: (nodes * series * perThousandSeriesMonth) / 1000 }
    }
    const seconds = Number(parseGoDuration(scrapeInterval!)) / 1e9
    const samples = (series * daysPerMonth * SECONDS_PER_DAY) / seconds
    return { name: entry.name, what: 'metrics', perMonth: (nodes * samples * perMillionSamples) / 1e6 }
  })
  const ofLogs = prices.logs.map((entry): Cost => {
    const gigabytes = (logBytesPerDay * daysPerMonth * entry.bytesFactor) / GB
    return { name: entry.name, what: 'log', perMonth: nodes * gigabytes * entry.perGB }
  })
  return [...ofMetrics, ...ofLogs]
}

/** `1,234.50 EUR` */
export function moneyText(amount: number, currency: string): string {
  const digits = amount !== 0 && Math.abs(amount) < 0.01 ? amount.toPrecision(2) : amount.toFixed(2)
  const [whole, cents] = digits.split('.')
  const grouped = whole!.replace(/\B(?=(\d{3})+$)/g, ',')
  return `${cents === undefined ? grouped : `${grouped}.${cents}`} ${currency}`
}
