import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { SluiceError } from '../base/errors.ts'
import { collect, startApi, until } from '../test/helpers/api-server.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { EXPLAIN_LIMITS, type FilterInfo } from './filter-service.ts'
import {
  type ExplainFiltersRequest,
  ExplainFiltersResponse,
  ExplainSource,
  ListFiltersResponse,
} from './gen/sluice/v1/filters.ts'

const RESULT = ExplainFiltersResponse.fromPartial({ result: { node_name: 'node-1' } })

/** Answers as it is told to, and remembers what it was asked. */
class FakeFilters implements FilterInfo {
  readonly requests: ExplainFiltersRequest[] = []
  readonly signals: AbortSignal[] = []
  answer: (request: ExplainFiltersRequest, signal: AbortSignal) => AsyncIterable<ExplainFiltersResponse> =
    async function* () {
      yield RESULT
    }

  list(): ListFiltersResponse {
    return ListFiltersResponse.fromPartial({ node_name: 'node-1', generation: 7n })
  }

  explain(request: ExplainFiltersRequest, signal: AbortSignal): AsyncIterable<ExplainFiltersResponse> {
    this.requests.push(request)
    this.signals.push(signal)
    return this.answer(request, signal)
  }
}

async function start(filters: FilterInfo | undefined) {
  return await startApi(new TestFlowStore(), { deps: filters === undefined ? {} : { filters } })
}

describe('sluice.v1.Filters', () => {
  test('lists what the wiring tells', async () => {
    const { client } = await start(new FakeFilters())
    await expect(client.listFilters()).resolves.toMatchObject({ node_name: 'node-1', generation: 7n })
  })

  test('says UNIMPLEMENTED when there is no agent behind the server', async () => {
    const { client } = await start(undefined)
    await expect(client.listFilters()).rejects.toThrow(/does not offer this call/)
    await expect(collect(client.explainFilters({}))).rejects.toThrow(/does not offer this call/)
  })

  test('streams news, then the result, and fills in what was left out', async () => {
    const filters = new FakeFilters()
    filters.answer = async function* () {
      yield ExplainFiltersResponse.fromPartial({ progress: { step: 'flows', done: 0.5 } })
      yield RESULT
    }
    const { client } = await start(filters)
    const answers = await collect(client.explainFilters({ source: ExplainSource.EXPLAIN_SOURCE_LIVE }))
    expect(answers.map(({ progress, result }) => progress?.step ?? result?.node_name)).toEqual(['flows', 'node-1'])
    expect(filters.requests[0]).toMatchObject({
      seconds: EXPLAIN_LIMITS.defaultLiveSeconds,
      max_flows: EXPLAIN_LIMITS.defaultFlows,
    })
  })

  const large = 'x'.repeat(EXPLAIN_LIMITS.fileChars / 2 + 1)
  test.each([
    ['too many files', { files: new Array(101).fill({ name: 'a', content: '' }) }, /files: 101 files, at most 100/],
    [
      'files that are too large together',
      {
        files: [
          { name: 'a', content: large },
          { name: 'b', content: large },
        ],
      },
      /files: 900002 characters in all, at most 900000/,
    ],
    ['a negative time', { seconds: -1 }, /seconds: -1, want a number from 0/],
    ['no number', { seconds: Number.NaN }, /seconds: NaN/],
    [
      'a live look without end',
      { source: ExplainSource.EXPLAIN_SOURCE_LIVE, seconds: 1e6 },
      /seconds: 1000000, at most 600/,
    ],
    ['too many flows', { max_flows: 4_000_000_000 }, /max_flows: 4000000000, at most 1000000/],
  ])('refuses %s', async (_, request, message) => {
    const filters = new FakeFilters()
    const { client } = await start(filters)
    await expect(collect(client.explainFilters(request))).rejects.toThrow(message)
    expect(filters.requests).toEqual([])
  })

  test('refuses a message of 10 MB before it is read', async () => {
    const filters = new FakeFilters()
    const { client } = await start(filters)
    const files = [{ name: 'huge.yaml', content: 'x'.repeat(10_000_000) }]
    await expect(collect(client.explainFilters({ files }))).rejects.toThrow(/RESOURCE_EXHAUSTED.*larger than max/)
    expect(filters.requests).toEqual([])
  })

  test('refuses a third explanation at once, and takes it when one has ended', async () => {
    const filters = new FakeFilters()
    filters.answer = async function* (_, signal) {
      while (!signal.aborted) await sleep(5)
      yield* []
    }
    const { client } = await start(filters)
    const abort = new AbortController()
    const first = [collect(client.explainFilters({}, abort)), collect(client.explainFilters({}, abort))]
    await until('two explanations run', () => filters.requests.length === 2)
    await expect(collect(client.explainFilters({}))).rejects.toThrow(/RESOURCE_EXHAUSTED: 2 explanations are under way/)
    abort.abort()
    await Promise.all(first)
    await until('both were told', () => filters.signals.every((signal) => signal.aborted))
    filters.answer = async function* () {
      yield RESULT
    }
    await sleep(20)
    await expect(collect(client.explainFilters({}))).resolves.toHaveLength(1)
  })

  test.each([
    [new SluiceError('SLUICE_FILTER_INVALID', 'new.yaml:3: "spec.filters" is missing'), /refused.*new.yaml:3/],
    [new Error('out of order'), /INTERNAL: out of order/],
  ])('passes on what went wrong: %s', async (error, message) => {
    const filters = new FakeFilters()
    filters.answer = () => ({
      [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }),
    })
    const { client } = await start(filters)
    await expect(collect(client.explainFilters({}))).rejects.toThrow(message)
  })
})
