import fc from 'fast-check'
import { describe, expect } from 'vitest'
import { ExplainFiltersRequest } from '../api/gen/sluice/v1/filters.ts'
import { SluiceError } from '../base/errors.ts'
import { flowOfFlags } from '../cli/filters/flow-flags.ts'
import { costs, moneyText, parsePrices } from '../cli/filters/prices.ts'
import { FlowSlot } from '../cli/observe/flow-test.ts'
import { startApi } from '../test/helpers/api-server.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { fuzz, fuzzText, textOf } from '../test/helpers/fuzz.ts'
import { run } from '../test/helpers/run-cli.ts'

const usage = (error: unknown): boolean => SluiceError.is(error) && error.code === 'SLUICE_USAGE'

const FLOW_FLAGS = [
  'fromPod',
  'toPod',
  'fromIp',
  'toIp',
  'fromPort',
  'toPort',
  'protocol',
  'verdict',
  'reason',
  'direction',
  'tcpFlags',
  'dnsQuery',
  'httpMethod',
  'httpPath',
  'httpStatus',
] as const

describe('fuzz: sluice filters', () => {
  fuzzText(
    'parsePrices() reads or refuses any text, and what was read costs a finite amount',
    {
      corpus: 'prices',
      tokens: [
        'currency: ',
        'EUR',
        '\n',
        'logs:',
        'metrics:',
        '  - name: a',
        'perGB: ',
        '1',
        '-1',
        '.inf',
        '[',
        '{',
        '&a ',
        '*a',
      ],
      target: (text) => {
        for (const { perMonth } of costs(parsePrices(text, 'p.yaml'), 1e6, 1e12)) {
          expect(Number.isFinite(perMonth) && perMonth >= 0).toBe(true)
          expect(moneyText(perMonth, 'EUR')).toMatch(/ EUR$/)
        }
      },
    },
    // The yaml package reads 64 KiB in a few hundred milliseconds; a command line may take them.
    { refuses: usage, maxMs: 2000 },
  )

  fuzz(
    'flags of a flow make a flow that filters can be asked about, or are refused',
    {
      corpus: 'cli-value',
      from: (seed) => FLOW_FLAGS.map((name): [string, string] => [name, textOf(seed)]),
      generated: fc.array(fc.tuple(fc.constantFrom(...FLOW_FLAGS), fc.string({ maxLength: 20 })), { maxLength: 4 }),
      target: (given) => {
        // Each alone: one that is refused must not keep the others from being tried.
        for (const flag of given) {
          try {
            const slot = new FlowSlot()
            slot.write(flowOfFlags(Object.fromEntries([flag])))
            expect(slot.view.srcPort).toBeLessThan(65_536)
          } catch (error) {
            if (!usage(error)) throw error
          }
        }
      },
    },
    { maxMs: 200 },
  )

  fuzzText(
    'sluice filters test ends with 0, 1 or 2 whatever file it is given',
    {
      corpus: 'filter-resource',
      tokens: [
        'kind: ',
        'ContainerNetworkLog',
        '\n',
        'metadata: {name: a}',
        'spec:',
        '  includefilters:',
        ' [{}]',
        '---\n',
        '- ',
        '{',
      ],
      target: async (text) => {
        const { code, stderr } = await run(['filters', 'test', '-f', '-', '--from-pod', 'a/b'], { stdin: text })
        if (code !== 0 && code !== 1 && code !== 2) throw new Error(`Ended with ${code}: ${stderr}`)
      },
    },
    { maxMs: 3000 },
  )

  fuzz(
    'ExplainFilters hands on only what is within its bounds',
    {
      corpus: 'explain',
      from: (seed) => seed,
      generated: fc
        .record({ seconds: fc.double(), max_flows: fc.nat(), source: fc.constantFrom(0 as const, 1 as const) })
        .map((fields) => ExplainFiltersRequest.encode(ExplainFiltersRequest.fromPartial(fields)).finish()),
      target: async (bytes) => {
        let request: ExplainFiltersRequest
        try {
          request = ExplainFiltersRequest.decode(bytes)
        } catch {
          return
        }
        expect(await handedOn(request)).toBe(true)
      },
    },
    { maxMs: 2000 },
  )
})

let server: Promise<{ ask(request: ExplainFiltersRequest): Promise<ExplainFiltersRequest | undefined> }> | undefined

/** True when the request was refused, or what came behind the service's checks is what they promise. */
async function handedOn(request: ExplainFiltersRequest): Promise<boolean> {
  server ??= makeServer()
  const seen = await (await server).ask(request)
  if (seen === undefined) return true
  const isLive = seen.source === 1
  return (
    seen.seconds >= 0 &&
    seen.seconds <= (isLive ? 600 : Number.MAX_SAFE_INTEGER) &&
    (!isLive || seen.seconds > 0) &&
    seen.max_flows >= 1 &&
    seen.max_flows <= 1_000_000 &&
    seen.files.length <= 100
  )
}

async function makeServer() {
  let seen: ExplainFiltersRequest | undefined
  const { client } = await startApi(new TestFlowStore(), {
    deps: {
      filters: {
        list: () => {
          throw new Error('nobody asks')
        },
        explain: async function* (request) {
          seen = request
          yield* []
        },
      },
    },
  })
  return {
    ask: async (request: ExplainFiltersRequest) => {
      seen = undefined
      try {
        for await (const _ of client.explainFilters(request)) break
      } catch (error) {
        if (!SluiceError.is(error)) throw error
      }
      return seen
    },
  }
}
