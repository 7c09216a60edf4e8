import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import type { FilterInfo } from '../../api/filter-service.ts'
import {
  type ExplainFiltersRequest,
  ExplainFiltersResponse,
  ExplainSource,
  FilterEffect,
  FilterPlace,
  ListFiltersResponse,
} from '../../api/gen/sluice/v1/filters.ts'
import { startApi } from '../../test/helpers/api-server.ts'
import { TestFlowStore } from '../../test/helpers/flow-store.ts'
import { run } from '../../test/helpers/run-cli.ts'

const at = (seconds: number) => ({ seconds: BigInt(1_790_000_000 + seconds), nanos: 0 })

const DROPS = {
  id: 'metric/flow include 1',
  consumer: 'metric/flow',
  effect: FilterEffect.FILTER_EFFECT_INCLUDE,
  kind: 'ContainerNetworkMetric',
  name: 'container-network-metric',
  path: 'spec.filters[0].includeFilters[0]',
  label: '',
  text: 'from pod traffic/http, verdict dropped',
  place: FilterPlace.FILTER_PLACE_KERNEL,
  because: [],
  problems: [],
}
const DENIED = {
  ...DROPS,
  id: 'log include 1',
  consumer: 'log',
  kind: 'ContainerNetworkLog',
  name: 'denied',
  path: 'spec.includefilters[0]',
  label: 'denied',
  text: 'reason Policy denied',
  place: FilterPlace.FILTER_PLACE_PARTLY,
  because: ['drop reasons are known in user space'],
  problems: [{ kind: 'shadowed', text: 'another rule matches all that it matches', other_rule: DROPS.id }],
}

/** Part of the metric itself: shown when wide. */
const ICMP = {
  ...DROPS,
  id: 'metric/icmp include 1',
  consumer: 'metric/icmp',
  kind: 'built in',
  name: 'icmp',
  text: 'protocol icmp',
}

const LIST = ListFiltersResponse.fromPartial({
  node_name: 'node-1',
  time: at(600),
  generation: 12n,
  applied: at(300),
  apply_ms: 14.2,
  resources: [
    {
      kind: 'ContainerNetworkMetric',
      name: 'container-network-metric',
      source: 'directory',
      state: 'CONFIGURED',
      reason: 'Configured',
      message: 'in force',
      warnings: ['"kube-system/*": the asterisk stands for itself'],
      filters: 2,
      time: at(0),
    },
    {
      kind: 'ContainerNetworkLog',
      name: 'bad',
      state: 'FAILED',
      reason: 'Invalid',
      message: 'first\nsecond',
      time: at(590),
    },
  ],
  consumers: [
    {
      name: 'metric/flow',
      on: true,
      rules: 1,
      counted: true,
      count: { matched: 120_000n, kept: 20_000n, left_out: 100_000n, kept_per_minute: 400, left_out_per_minute: 2000 },
    },
    { name: 'metric/dns', on: true, rules: 0, counted: true, count: { matched: 7n, kept: 7n } },
    { name: 'metric/icmp', on: true, rules: 1, counted: false },
    { name: 'log', on: false, rules: 0, counted: true },
  ],
  rules: [
    {
      rule: DROPS,
      count: { matched: 20_000n, kept: 20_000n, matched_per_minute: 400 },
      exact: true,
      since: at(300),
      last_matched: at(590),
    },
    { rule: DENIED, count: { matched: 0n }, exact: false, since: at(300) },
    { rule: ICMP, exact: true, since: at(300) },
  ],
  filtered_in_kernel: 98_765n,
  filtered_in_kernel_per_minute: 1975.4,
  unattributed: 3n,
  rate_minutes: 5,
})

const off = { on: false }
const RESULT = ExplainFiltersResponse.fromPartial({
  result: {
    node_name: 'node-1',
    time: at(600),
    proposed: true,
    basis: {
      source: ExplainSource.EXPLAIN_SOURCE_HISTORY,
      flows: 12_345n,
      first: at(0),
      last: at(300),
      seconds: 300,
      notes: ['The rules in force leave 1,975 events a minute in the kernel.'],
    },
    with: { events: 500n, per_minute: 100 },
    without: { events: 12_345n, per_minute: 2469 },
    now: { events: 5000n, per_minute: 1000 },
    consumers: [
      {
        name: 'metric/flow',
        rules: 1,
        events: 12_345n,
        measured: true,
        with: { on: true, kept: 500n, kept_per_minute: 100, series: 30n, scrape_bytes: 3000n },
        without: { on: true, kept: 12_345n, kept_per_minute: 2469, series: 3000n, scrape_bytes: 300_000n },
        now: { on: true, kept: 5000n, kept_per_minute: 1000, series: 1000n, scrape_bytes: 100_000n },
      },
      {
        name: 'log',
        rules: 1,
        events: 12_345n,
        measured: true,
        with: { on: true, kept: 50n, kept_per_minute: 10, log_bytes: 50_000n, log_bytes_per_day: 1e9 },
        without: { on: true, kept: 12_345n, kept_per_minute: 2469, log_bytes: 12_345_000n, log_bytes_per_day: 250e9 },
        now: off,
      },
    ],
    rules: [
      {
        rule: DROPS,
        matched: 600n,
        kept: 500n,
        left_out: 100n,
        matched_per_minute: 120,
        kept_per_minute: 100,
        left_out_per_minute: 20,
        measured: true,
        without: { on: true, kept: 12_345n, kept_per_minute: 2469, series: 3000n },
      },
      {
        rule: DENIED,
        matched: 50n,
        kept: 50n,
        matched_per_minute: 10,
        kept_per_minute: 10,
        measured: true,
        without: { on: true, kept: 50n, kept_per_minute: 10, log_bytes_per_day: 1e9 },
      },
    ],
  },
})

class FakeFilters implements FilterInfo {
  request: ExplainFiltersRequest | undefined
  lists = 0
  list(): ListFiltersResponse {
    this.lists++
    return LIST
  }
  async *explain(request: ExplainFiltersRequest): AsyncIterable<ExplainFiltersResponse> {
    this.request = request
    yield ExplainFiltersResponse.fromPartial({ progress: { step: 'flows', done: 0.25 } })
    yield RESULT
  }
}

async function start(): Promise<{ filters: FakeFilters; server: string[] }> {
  const filters = new FakeFilters()
  const { address } = await startApi(new TestFlowStore(), { deps: { filters } })
  return { filters, server: ['--server', address] }
}

describe('sluice filters list', () => {
  test('shows resources, consumers, rules, and what is wrong with them', async () => {
    const { server } = await start()
    const { code, stdout, stderr } = await run(['filters', 'list', ...server])
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatchInlineSnapshot(`
      "Node node-1: rules no. 12 in force, for 5m0s, applied in 14 ms.

      RESOURCE                                          SOURCE      STATE        REASON       FILTERS   SINCE   MESSAGE
      ContainerNetworkMetric/container-network-metric   directory   CONFIGURED   Configured   2         10m0s   in force
      ContainerNetworkLog/bad                                       FAILED       Invalid      0         10s     first ...
      warning: ContainerNetworkMetric/container-network-metric: "kube-system/*": the asterisk stands for itself
      also: ContainerNetworkLog/bad: second

      CONSUMER      STATE   RULES                   EVENTS    KEPT     LEFT OUT   KEPT/MIN   LEFT OUT/MIN
      metric/flow   on      1 rule                  120,000   20,000   100,000    400        2,000
      metric/dns    on      takes everything        7         7        0          0          0
      metric/icmp   on      takes all of its kind   -         -        -          -          -
      log           off     takes nothing           0         0        0          0          0
      - not counted: no filter asks, so nothing is judged for it.

      CONSUMER      EFFECT    RULE                                     MATCHED   KEPT     LEFT OUT   MATCHED/MIN   LEFT OUT/MIN   DECIDED IN
      metric/flow   include   from pod traffic/http, verdict dropped   20,000    20,000   0          400           0              kernel
      log           include   denied: reason Policy denied             ~0        ~0       ~0         0             0              partly
      ~ at most: the kernel decides the rule in part and counts what may match.

      shadowed: log include "reason Policy denied": another rule matches all that it matches ("from pod traffic/http, verdict dropped")

      Never left the kernel: 98,765 events, 1,975 a minute.
      Left to user space, whatever the rules: 3 events (of interfaces that had just come or gone, or with the kernel's tables full).
      Rates are over the last 5.0 minutes, until 2026-09-21T14:23:20Z.
      "
    `)
  })

  test('adds origins, times and reasons when wide', async () => {
    const { server } = await start()
    const { stdout } = await run(['filters', 'list', '-o', 'wide', ...server])
    expect(stdout).toMatch(/kernel +5m0s +10s ago +ContainerNetworkMetric\/container-network-metric spec\.filters/)
    expect(stdout).toMatch(/partly +5m0s +never +.*drop reasons are known in user space/)
  })

  test.each([
    ['json', (text: string): unknown => JSON.parse(text)],
    ['yaml', (text: string): unknown => parse(text)],
  ] as const)('tells programs all of it as %s', async (format, read) => {
    const { server } = await start()
    const { stdout } = await run(['filters', 'list', '-o', format, ...server])
    expect(read(stdout)).toMatchObject({
      generation: 12,
      applied: '2026-09-21T14:18:20Z',
      resources: [{ source: 'directory', state: 'CONFIGURED', time: '2026-09-21T14:13:20Z' }, {}],
      rules: [
        { rule: { effect: 'include', place: 'kernel' }, count: { matched: 20_000 } },
        { exact: false },
        { exact: true },
      ],
      filtered_in_kernel: 98_765,
    })
  })

  test('a terminal is told nothing by names of others', async () => {
    const { filters, server } = await start()
    const list = ListFiltersResponse.fromPartial({
      ...LIST,
      rules: [{ rule: { ...DROPS, text: 'from pod a/\x1b]0;title\x07b', label: '\x9b31m' }, exact: true }],
    })
    filters.list = () => list
    const { stdout } = await run(['filters', 'list', ...server])
    expect(stdout).toContain('\ufffd31m: from pod a/\ufffd]0;title\ufffdb')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none must be left
    expect(stdout).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/)
  })

  test('--watch shows it again until it is stopped', async () => {
    const { filters, server } = await start()
    const abort = new AbortController()
    const options = { signal: abort.signal }
    const running = run(['filters', 'list', '--watch', '--interval', '10ms', '-o', 'json', ...server], options)
    while (filters.lists < 3) await new Promise((resolve) => setTimeout(resolve, 5))
    abort.abort()
    const { code, stdout } = await running
    expect(code).toBe(0)
    expect(stdout.trim().split('\n').length).toBeGreaterThanOrEqual(3)
  })

  test('says so when the server is not Sluice', async () => {
    const { address } = await startApi(new TestFlowStore())
    const { code, stderr } = await run(['filters', 'list', '--server', address])
    expect(code).toBe(1)
    expect(stderr).toMatch(/what its filters do is known by Sluice's agents only/)
  })
})

describe('sluice filters explain', () => {
  let directory = ''
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'sluice-explain-'))
    writeFileSync(join(directory, 'new.yaml'), 'kind: ContainerNetworkLog\n')
    writeFileSync(
      join(directory, 'prices.yaml'),
      'currency: EUR\nnodes: 2\nmetrics: [{name: series, perThousandSeriesMonth: 10}]\nlogs: [{name: analytics, perGB: 2}]\n',
    )
  })
  afterAll(() => rmSync(directory, { recursive: true, force: true }))

  test('sends files and bounds, and shows now, with and without', async () => {
    const { filters, server } = await start()
    const file = join(directory, 'new.yaml')
    const { code, stdout, stderr } = await run([
      ...['filters', 'explain', '-f', file, '--from', 'live', '--for', '90s', '--max-flows', '1000', '--alone'],
      ...['--prices', join(directory, 'prices.yaml'), ...server],
    ])
    expect([code, stderr]).toEqual([0, ''])
    expect(filters.request).toEqual({
      files: [{ name: file, content: 'kind: ContainerNetworkLog\n' }],
      source: ExplainSource.EXPLAIN_SOURCE_LIVE,
      seconds: 90,
      max_flows: 1000,
      alone: true,
    })
    expect(stdout).toMatchInlineSnapshot(`
      "Measured on node node-1: 12,345 flows, 5m0s of history (2026-09-21T14:13:20Z to 2026-09-21T14:18:20Z).
      note: The rules in force leave 1,975 events a minute in the kernel.

      FIGURE                               IN FORCE NOW   WITH THE FILES   WITHOUT FILTERS   BY FILTERS
      events out of the kernel, a minute   1,000          100              2,469             -96%
      metric/flow: events a minute         1,000          100              2,469             -96%
      metric/flow: series                  1,000          30               3,000             -99%
      log: lines a minute                  off            10               2,469             -99%
      log: a day                           off            1.00 GB          250 GB            -99%

      CONSUMER      EFFECT    RULE                                     MATCHED/MIN   KEPT/MIN   LEFT OUT/MIN   WITHOUT THIS RULE                       DECIDED IN
      metric/flow   include   from pod traffic/http, verdict dropped   120           100        20             +2,369 events a minute, +2,970 series   kernel
      log           include   denied: reason Policy denied             10            10         0              no change                               partly (drop reasons are known in user space)

      shadowed: log include "reason Policy denied": another rule matches all that it matches

      Money a month for 2 nodes like this one, by your price list:
      DESTINATION   OF        IN FORCE NOW   WITH THE FILES   WITHOUT FILTERS   SAVED BY FILTERS
      series        metrics   20.00 EUR      0.60 EUR         60.00 EUR         59.40 EUR
      analytics     log       0.00 EUR       120.00 EUR       30,000.00 EUR     29,880.00 EUR
      "
    `)
  })

  test('says which resource of the files would not be in force, and warns', async () => {
    const { filters, server } = await start()
    const resources = [
      { kind: 'ContainerNetworkMetric', name: 'other', state: 'FAILED', reason: 'Ignored', message: 'only one counts' },
      { kind: 'ContainerNetworkLog', name: 'a', state: 'CONFIGURED', warnings: ['an empty selector'] },
    ]
    filters.explain = async function* () {
      yield ExplainFiltersResponse.fromPartial({ result: { ...RESULT.result!, resources } })
    }
    const { stdout } = await run(['filters', 'explain', ...server])
    expect(stdout).toContain('would not be in force: ContainerNetworkMetric/other: only one counts\n')
    expect(stdout).toContain('warning: ContainerNetworkLog/a: an empty selector\n')
  })

  test('asks about what is in force without files', async () => {
    const { filters, server } = await start()
    await run(['filters', 'explain', ...server])
    expect(filters.request).toMatchObject({ files: [], source: ExplainSource.EXPLAIN_SOURCE_HISTORY, seconds: 0 })
  })

  test('tells programs quantities and money', async () => {
    const { server } = await start()
    const prices = join(directory, 'prices.yaml')
    const { stdout } = await run(['filters', 'explain', '-o', 'json', '--prices', prices, ...server])
    expect(JSON.parse(stdout)).toMatchObject({
      proposed: true,
      basis: { source: 'history', flows: 12_345 },
      costs: {
        currency: 'EUR',
        nodes: 2,
        with: [
          { name: 'series', what: 'metrics', perMonth: 0.6 },
          { name: 'analytics', what: 'log', perMonth: 120 },
        ],
        now: [{ perMonth: 20 }, { perMonth: 0 }],
      },
    })
  })

  test('shows how far it is on a terminal', async () => {
    const { server } = await start()
    const { stderr } = await run(['filters', 'explain', ...server], { isTTY: true })
    expect(stderr).toContain('flows: 25 %')
    expect(stderr.endsWith('\r\x1b[K')).toBe(true)
  })

  const mistakes: [string[], RegExp][] = [
    [['--alone'], /Cannot use --alone without --filename/],
    [['-f', '/no/such.yaml'], /Cannot read "\/no\/such\.yaml"/],
    [['--max-flows', '0'], /Cannot use --max-flows "0": want a number from 1 to 1000000/],
    [['--max-flows', 'many'], /Cannot use --max-flows "many"/],
    [['--for', 'ever'], /Cannot use --for "ever"/],
    [['--from', 'memory'], /Allowed choices are history, live/],
    [['--prices', '/no/such.yaml'], /Cannot read the price list/],
  ]
  test.each(mistakes)('%j is wrong usage', async (args, message) => {
    const { code, stderr } = await run(['filters', 'explain', ...args])
    expect(stderr).toMatch(message)
    expect(code).toBe(2)
  })
})
