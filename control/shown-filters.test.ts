import { expect, test } from 'vitest'
import { Listeners } from '../base/lifetime.ts'
import type { FiltersInForce } from '../filters/resources/hubble-config.ts'
import type { ConfigMaps, ShownText } from './config-maps.ts'
import { showFilters } from './shown-filters.ts'

const HEADER = '# The filters in force, for people to read: made by Sluice, which puts changes back.\n'

test('showFilters() shows metrics and log, again when others are in force, until it is disposed', () => {
  const applied = new Listeners<void>()
  const shown: [string, string, string][] = []
  const maps = {
    show: ({ configMap, key }: ShownText, text: string) => void shown.push([configMap, key, text]),
  } as Pick<ConfigMaps, 'show'>
  let mode: 'off' | 'static' = 'off'
  const filtersInForce = (): FiltersInForce => ({
    settings: { log: { mode, allow: [], deny: [] }, history: 'wanted', merge: false, unlisted: 'keep' },
    resources: [],
    dynamic: new Map(),
  })
  const control = { filtersInForce, onApplied: (listener: () => void) => applied.add(listener) }
  const showing = showFilters({
    control,
    maps,
    metrics: () => [{ name: 'dns', contextOptions: [{ name: 'query' }] }],
    logPath: '/var/log/flows.log',
    logAt: { configMap: 'elsewhere', key: 'log.yaml' },
  })
  const metrics = ['sluice-dynamic-metrics-config', 'dynamic-metrics.yaml']
  const dns = `${HEADER}metrics:\n  - name: dns\n    contextOptions:\n      - name: query\n`
  expect(shown).toEqual([
    [...metrics, dns],
    ['elsewhere', 'log.yaml', `${HEADER}{}\n`],
  ])
  mode = 'static'
  applied.emit()
  expect(shown).toHaveLength(4)
  expect(shown[3]![2]).toContain('filePath: /var/log/flows.log\n')
  showing[Symbol.dispose]()
  applied.emit()
  expect(shown).toHaveLength(4)
})
