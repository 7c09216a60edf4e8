import { expect, test } from 'vitest'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { compileFlowFilters } from './hubble/index.ts'
import { filterTelemetry } from './telemetry.ts'

function collected(): Record<string, number> {
  const values: Record<string, number> = {}
  const note = (name: string, _help: string, value: number) => {
    values[name] = value
  }
  filterTelemetry.collect({ counter: note, gauge: note })
  return values
}

test('filterTelemetry counts expressions compiled and evaluations that failed', () => {
  const before = collected()
  const store = new TestFlowStore()
  store.push({})
  const view = store.createView()
  store.seek(view, 0)
  const predicate = compileFlowFilters(
    [{ experimental: { cel_expression: ['1 / 0 == 1'] } }, { dns_query: ['^only-here'] }],
    [],
  )
  expect(predicate(view)).toBe(false)
  const after = collected()
  expect(after['sluice_filter_cel_faults_total']! - before['sluice_filter_cel_faults_total']!).toBe(1)
  expect(after['sluice_filter_regex_compiled_total']! - before['sluice_filter_regex_compiled_total']!).toBe(1)
  expect(after['sluice_filter_regex_cache_entries']).toBeGreaterThan(0)
})
