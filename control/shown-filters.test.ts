import { expect, test } from 'vitest'
import { Listeners } from '../base/lifetime.ts'
import type { FiltersInForce } from '../filters/resources/hubble-config.ts'
import type { ConfigMaps, ShownText } from './config-maps.ts'
import { showFilters } from './shown-filters.ts'

const HEADER = '# The filters in force, for people to read: made by Sluice, which puts changes back.\n'

test('showFilters() shows metrics and log, again when others are in force, until it is disposed', async () => {
  const applied = new Listeners<void>()
  const shown: [string, string, () => Promise<string>][] = []
  const maps = {
    show: ({ configMap, key }: ShownText, make: () => Promise<string>) => void shown.push([configMap, key, make]),
  } as Pick<ConfigMaps, 'show'>
  const settings = (mode: 'off' | 'static') => {
    return { log: { mode, allow: [], deny: [] }, history: 'wanted', merge: false, unlisted: 'keep' } as const
  }
  let inForce: FiltersInForce = { settings: settings('off'), resources: [], dynamic: new Map() }
  const filtersInForce = () => ({ ...inForce })
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
  const texts = await Promise.all(shown.map(async ([map, key, make]) => [map, key, await make()]))
  expect(texts).toEqual([
    [...metrics, dns],
    ['elsewhere', 'log.yaml', `${HEADER}{}\n`],
  ])
  // A live query came: nothing of this is another one.
  applied.emit()
  expect(shown).toHaveLength(2)
  inForce = { ...inForce, settings: settings('static') }
  applied.emit()
  expect(shown).toHaveLength(4)
  expect(await shown[3]![2]()).toContain('filePath: /var/log/flows.log\n')
  showing[Symbol.dispose]()
  applied.emit()
  expect(shown).toHaveLength(4)
})
