import { mkdirSync, mkdtempSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { SluiceError } from '../base/errors.ts'
import { DynamicMetricsFile } from './dynamic-metrics-file.ts'

async function setUp(text?: string) {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-dynamic-'))
  const path = join(directory, 'dynamic-metrics.yaml')
  if (text !== undefined) writeFileSync(path, text)
  const taken: string[] = []
  const file = new DynamicMetricsFile({
    path,
    settleMs: 5,
    pollMs: 30,
    onMetrics: (metrics) => {
      if (metrics?.metrics.some(({ name }) => name === 'nobody')) {
        throw new SluiceError('SLUICE_CONFIG_INVALID', 'Metric "nobody" is not known')
      }
      taken.push(metrics === undefined ? 'none' : metrics.metrics.map(({ name }) => name).join())
    },
  })
  onTestFinished(async () => {
    await file[Symbol.asyncDispose]()
    rmSync(directory, { recursive: true })
  })
  await file.start()
  const replace = (next: string) => {
    writeFileSync(`${path}.next`, next)
    renameSync(`${path}.next`, path)
  }
  return { file, taken, replace, path }
}

test('DynamicMetricsFile takes the file, its changes, and that it is gone', async () => {
  const { taken, replace, path, file } = await setUp('metrics: [{name: flow}]')
  expect(taken).toEqual(['flow'])
  replace('metrics: [{name: flow}, {name: drop}]')
  await vi.waitFor(() => expect(taken).toEqual(['flow', 'flow,drop']))
  rmSync(path)
  await vi.waitFor(() => expect(taken.at(-1)).toBe('none'))
  expect([file.loads, file.failures]).toEqual([3, 0])
})

test('DynamicMetricsFile keeps what was said before when a change cannot be used, and says why once', async () => {
  const { taken, replace, file } = await setUp()
  expect(taken).toEqual(['none'])
  replace('metrics: 5')
  await vi.waitFor(() => expect(file.lastError).toContain('want a list of metrics'))
  replace('metrics: [{name: nobody}]')
  await vi.waitFor(() => expect(file.lastError).toBe('Metric "nobody" is not known'))
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect([taken, file.failures]).toEqual([['none'], 2])
  replace('metrics: [{name: tcp}]')
  await vi.waitFor(() => expect(taken).toEqual(['none', 'tcp']))
  expect(file.lastError).toBe('')
})

test('DynamicMetricsFile has no error left when a file that could not be read is back as it was', async () => {
  const { replace, path, file } = await setUp('metrics: [{name: flow}]')
  rmSync(path)
  mkdirSync(path)
  await vi.waitFor(() => expect(file.lastError).toContain('no regular file'))
  rmdirSync(path)
  replace('metrics: [{name: flow}]')
  await vi.waitFor(() => expect(file.lastError).toBe(''))
})
