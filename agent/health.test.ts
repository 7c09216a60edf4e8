import { expect, onTestFinished, test } from 'vitest'
import { SluiceError } from '../base/errors.ts'
import { type Check, HealthServer } from './health.ts'

async function serve(live: Check[], ready: Check[], listen = '127.0.0.1:0'): Promise<HealthServer> {
  const server = new HealthServer({ listen, live: () => live, ready: () => ready })
  onTestFinished(() => server[Symbol.asyncDispose]())
  await server.start()
  return server
}

async function answer(server: HealthServer, path: string): Promise<[number, string]> {
  const response = await fetch(`http://${server.address}${path}`)
  return [response.status, await response.text()]
}

const OK: Check = { name: 'drain', ok: true, detail: '' }
const BAD: Check = { name: 'exporter/json-log', ok: false, detail: 'disk_full' }

test('HealthServer answers for life and readiness apart, and says what is wrong', async () => {
  const server = await serve([OK], [OK, BAD])
  expect(await answer(server, '/healthz')).toEqual([200, 'ok   drain\n'])
  expect(await answer(server, '/readyz?verbose')).toEqual([503, 'ok   drain\nFAIL exporter/json-log: disk_full\n'])
  expect((await answer(server, '/'))[0]).toBe(404)
})

test('HealthServer answers 503 when a part fails while it is asked', async () => {
  const broken = () => {
    throw new Error('map is gone')
  }
  const server = new HealthServer({ listen: '127.0.0.1:0', live: () => [OK], ready: broken })
  onTestFinished(() => server[Symbol.asyncDispose]())
  await server.start()
  expect(await answer(server, '/readyz')).toEqual([503, 'FAIL checks: map is gone\n'])
})

test('HealthServer names key and address when it cannot listen', async () => {
  const { address } = await serve([OK], [OK])
  const error = await serve([OK], [OK], address).catch((e: unknown) => e)
  expect(SluiceError.is(error) && [error.code, error.message]).toEqual([
    'SLUICE_API_LISTEN',
    expect.stringContaining(`Cannot listen on "${address}" (health.listen): listen EADDRINUSE`),
  ])
})
