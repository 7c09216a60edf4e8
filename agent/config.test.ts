import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { SluiceError } from '../base/errors.ts'
import { configKeys, environmentName, loadConfig } from './config.ts'
import { durationMs, sizeBytes } from './config-values.ts'

const fixtures = 'test/fixtures/config'

function errorOf(run: () => unknown): SluiceError {
  try {
    run()
  } catch (error) {
    if (SluiceError.is(error)) return error
    throw error
  }
  throw new Error('accepted')
}

describe('loadConfig()', () => {
  const files = readdirSync(fixtures)
  test.each(files.filter((f) => f.endsWith('.bad.yaml')))('refuses %s naming file, line, key and value', (file) => {
    const error = errorOf(() => loadConfig({ path: `${fixtures}/${file}`, env: {} }))
    const wanted = readFileSync(`${fixtures}/${file.replace('.yaml', '.txt')}`, 'utf8')
      .trimEnd()
      .split('\n')
    expect(error.code).toBe('SLUICE_CONFIG_INVALID')
    for (const line of wanted) expect(error.message).toContain(line)
  })

  test.each(files.filter((f) => f.endsWith('.good.yaml')))('accepts %s', (file) => {
    expect(loadConfig({ path: `${fixtures}/${file}`, env: {} }).log.enabled).toBe('auto')
  })

  test('lets environment win over the file and flags over both', () => {
    const config = loadConfig({
      path: `${fixtures}/full.good.yaml`,
      env: {
        SLUICE_NODE_NAME: 'from-env',
        SLUICE_LOG_MAX_BACKUPS: '9',
        SLUICE_KERNEL_UPLINKS: 'eth5,eth6',
        SLUICE_KERNEL_DNS_PORTS: '53,54',
      },
      overrides: { 'node.name': 'from-flag', 'log.enabled': 'false' },
    })
    expect([
      config.node.name,
      config.log.maxBackups,
      config.kernel.uplinks,
      config.kernel.dnsPorts,
      config.log.enabled,
      config.node.clusterName,
    ]).toEqual(['from-flag', 9, ['eth5', 'eth6'], [53, 54], false, 'prod'])
  })

  test('names the environment variable or flag that is wrong', () => {
    expect(errorOf(() => loadConfig({ env: { SLUICE_KERNEL_MAX_FLOWS: 'many' } })).message).toContain(
      'SLUICE_KERNEL_MAX_FLOWS: "kernel.maxFlows" = "many"',
    )
    expect(errorOf(() => loadConfig({ env: {}, overrides: { 'api.listen': 'x,y' } })).message).toContain(
      'flag: "api.listen[1]" = "y"',
    )
    expect(errorOf(() => loadConfig({ env: { SLUICE_LOG_MAX_BACKUP: '3' } })).message).toContain(
      'SLUICE_LOG_MAX_BACKUP: no such key',
    )
    expect(errorOf(() => loadConfig({ env: {}, overrides: { 'log.pat': 'x' } })).message).toContain('"log.pat"')
  })

  test('passes over what Kubernetes sets for Services, and variables that are no configuration', () => {
    const env = {
      SLUICE_METRICS_SERVICE_HOST: '10.96.0.7',
      SLUICE_METRICS_PORT: 'tcp://10.96.0.7:9965',
      SLUICE_METRICS_PORT_9965_TCP_ADDR: '10.96.0.7',
      SLUICE_DEBUG: '1',
    }
    expect(loadConfig({ env }).metrics.listen).toBe(':9965')
  })

  test('names the file that cannot be read', () => {
    expect(errorOf(() => loadConfig({ path: '/nonexistent.yaml', env: {} })).message).toContain('/nonexistent.yaml')
  })

  test('gives every key an environment variable of its own', () => {
    const names = [...configKeys().keys()].map(environmentName)
    expect(new Set(names).size).toBe(names.length)
    expect(names).toContain('SLUICE_KERNEL_AGGREGATION_INTERVAL')
  })
})

describe('value readers', () => {
  test.each([
    ['500ms', 500],
    ['5s', 5000],
    ['1m30s', 90_000],
    ['2h', 7_200_000],
    ['5', undefined],
    ['s', undefined],
    ['-1s', undefined],
  ])('durationMs(%s)', (text, ms) => {
    expect(durationMs(text)).toBe(ms)
  })
  test.each([
    ['50MiB', 52_428_800],
    ['4096', 4096],
    ['1 kB', 1000],
    ['1TB', undefined],
    ['1.5MiB', undefined],
  ])('sizeBytes(%s)', (text, bytes) => {
    expect(sizeBytes(text)).toBe(bytes)
  })
})
