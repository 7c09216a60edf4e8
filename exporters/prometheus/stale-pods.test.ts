import { describe, expect, test } from 'vitest'
import type { EndpointEvent } from '../../model/contracts.ts'
import { endpoint } from '../../test/helpers/flow-store.ts'
import { CountedFlows } from '../../test/helpers/metric-lines.ts'
import { STALE_DELAY_MS, StalePods } from './stale-pods.ts'

const WEB = { namespace: 'shop', podName: 'web-0' }
const OTHER = { namespace: 'shop', podName: 'web-1' }
const TWIN = { namespace: 'test', podName: 'web-0' }

function event(kind: EndpointEvent['kind'], fields: object): EndpointEvent {
  return { kind, endpoint: endpoint(fields) }
}

/** A pod among others: counts, lets it go, and says which labels are left. */
function churn(options: string) {
  const stale = new StalePods()
  let nowMs = 0
  const counted = new CountedFlows(`port-distribution:${options}`, {
    onSeries: (family, slot) => stale.onSeries(family, slot, nowMs),
  })
  return {
    stale,
    counted,
    at(ms: number) {
      nowMs = ms
      const due = stale.takeDue(counted.metrics.values, ms)
      return due === undefined ? 0 : counted.metrics.removePods(due)
    },
    async left(): Promise<string[]> {
      return Object.keys(await counted.series()).map((key) => key.replace(/.*port="80",(.*)}/, '$1'))
    },
  }
}

describe('StalePods', () => {
  test.each([
    ['sourceContext=pod', ['source="shop/web-1"', 'source="test/web-0"']],
    ['sourceContext=dns|pod', ['source="shop/web-1"', 'source="test/web-0"']],
    ['sourceEgressContext=pod', ['source="shop/web-1"', 'source="test/web-0"']],
    [
      'labelsContext=source_namespace,source_pod',
      ['source_pod="web-1",source_namespace="shop"', 'source_pod="web-0",source_namespace="test"'],
    ],
    // A name alone is somebody else's too while test/web-0 lives.
    ['sourceContext=pod-name', ['source="web-0"', 'source="web-1"']],
    ['labelsContext=source_pod', ['source_pod="web-0"', 'source_pod="web-1"']],
    ['sourceContext=namespace', ['source="shop"', 'source="test"']],
  ])('%s loses the series of a deleted pod after a minute, and no others', async (options, wanted) => {
    const { stale, counted, at, left } = churn(options)
    for (const pod of [WEB, OTHER, TWIN]) stale.onEvent(event('created', pod), 0)
    counted.push({ source: WEB }, { source: OTHER }, { source: TWIN })
    const before = await left()
    stale.onEvent(event('deleted', WEB), 1000)
    expect(at(1000 + STALE_DELAY_MS - 1)).toBe(0)
    expect(await left()).toEqual(before)
    at(1000 + STALE_DELAY_MS)
    expect(await left()).toEqual(wanted)
  })

  test('a bare name goes when the last pod of that name does', async () => {
    const { stale, counted, at, left } = churn('sourceContext=pod-name')
    for (const pod of [WEB, TWIN]) stale.onEvent(event('created', pod), 0)
    counted.push({ source: WEB }, { source: TWIN })
    stale.onEvent(event('deleted', WEB), 0)
    expect(at(STALE_DELAY_MS)).toBe(0)
    stale.onEvent(event('deleted', TWIN), 100_000)
    expect(at(100_000 + STALE_DELAY_MS)).toBe(1)
    expect(await left()).toEqual([])
  })

  test('a pod that comes back within the minute keeps its series', async () => {
    const { stale, counted, at, left } = churn('sourceContext=pod')
    stale.onEvent(event('created', WEB), 0)
    counted.push({ source: WEB })
    stale.onEvent(event('deleted', WEB), 0)
    stale.onEvent(event('created', WEB), 30_000)
    expect(at(STALE_DELAY_MS)).toBe(0)
    expect(await left()).toHaveLength(1)
  })

  test('destination labels go as source labels do', async () => {
    const { stale, counted, at } = churn('destinationContext=pod;labelsContext=destination_namespace,destination_pod')
    counted.push({ destination: WEB })
    stale.onEvent(event('deleted', WEB), 0)
    expect(at(STALE_DELAY_MS)).toBe(1)
  })

  test.each([
    'sourceContext=pod',
    'sourceContext=pod-name',
    'labelsContext=source_pod',
    'labelsContext=source_namespace,source_pod',
  ])('a record that comes late does not bring a series back for good: %s', async (options) => {
    const { stale, counted, at, left } = churn(options)
    counted.push({ source: WEB })
    stale.onEvent(event('deleted', WEB), 0)
    at(STALE_DELAY_MS)
    counted.push({ source: WEB })
    expect(await left()).toHaveLength(1)
    expect(at(STALE_DELAY_MS + 1000)).toBe(0)
    expect(at(2 * STALE_DELAY_MS)).toBe(1)
  })

  test('freed series make room for others', async () => {
    const { stale, counted, at, left } = churn('sourceContext=pod')
    const { budget } = counted.metrics
    for (let i = 0; i < 50; i++) {
      const pod = { namespace: 'shop', podName: `job-${i}` }
      counted.push({ source: pod })
      await left()
      stale.onEvent(event('deleted', pod), i * STALE_DELAY_MS)
      at((i + 1) * STALE_DELAY_MS)
      expect(budget.used).toBe(0)
    }
    expect(await left()).toEqual([])
    counted.push({ source: WEB })
    expect(await left()).toEqual(['source="shop/web-0"'])
  })

  test('remembers a bounded number of pods', () => {
    const stale = new StalePods()
    const { values } = new CountedFlows('flow').metrics
    for (let i = 0; i < 25_000; i++) stale.onEvent(event('deleted', { namespace: 'a', podName: `p${i}` }), i)
    values.intern('a/p24999')
    values.intern('a/p0')
    const due = stale.takeDue(values, 1e9)
    expect([...due!.qualified]).toEqual([values.lookup('a/p24999')])
    expect(stale.forgotten).toBe(15_000)
  })
})
