import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { traced } from '../base/tracing.ts'
import type { TelemetrySource } from '../model/contracts.ts'
import { startTelemetry } from './telemetry.ts'

test('startTelemetry() sends own metrics and spans to an OTLP receiver, also those that appear later', async () => {
  const bodies = new Map<string, Buffer[]>()
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const path = request.url ?? ''
      bodies.set(path, [...(bodies.get(path) ?? []), Buffer.concat(chunks)])
      response.end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  let late = false
  const source: TelemetrySource = {
    collect(sink) {
      sink.counter('sluice_test_flows_total', 'Flows', 42, { stage: 'decode' })
      if (late) sink.gauge('sluice_test_late', 'Came later', 7)
    },
  }
  const telemetry = await startTelemetry({
    endpoint: `http://127.0.0.1:${port}/`,
    intervalMs: 1000,
    nodeName: 'node-9',
    version: '1.2.3',
    sources: () => [source],
  })
  await traced('a piece of work', { part: 'test' }, async () => {})
  late = true
  const seen = (path: string) => Buffer.concat(bodies.get(path) ?? []).toString('latin1')
  await expect.poll(() => seen('/v1/metrics'), { timeout: 8000 }).toContain('sluice_test_late')
  await telemetry[Symbol.asyncDispose]()
  server.close()
  expect(seen('/v1/metrics')).toContain('sluice_test_flows_total')
  expect(seen('/v1/metrics')).toContain('node-9')
  expect(seen('/v1/traces')).toContain('a piece of work')
})
