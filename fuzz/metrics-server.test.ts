import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect } from 'vitest'
import { silentLogger } from '../base/logger.ts'
import { PrometheusExporter } from '../exporters/prometheus/index.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { fuzzBytes } from '../test/helpers/fuzz.ts'

const PROBE_EVERY = 25
const REQUEST_MS = 300

describe('fuzz: metrics server', () => {
  const exporter = new PrometheusExporter({ address: '127.0.0.1:0', metrics: 'flow tcp' }, { logger: silentLogger })
  const stop = new AbortController()
  let requests = 0

  beforeAll(async () => {
    await exporter.start(stop.signal)
    const store = new TestFlowStore()
    store.push({}, {})
    exporter.accept(store, 0, 2)
  })

  afterAll(async () => {
    stop.abort()
    await exporter[Symbol.asyncDispose]()
  })

  fuzzBytes(
    'answers any bytes with HTTP or ends the connection, and goes on serving',
    'metrics-request',
    async (bytes) => {
      const { port, hostname } = new URL(exporter.url!)
      const answer = await exchange(Number(port), hostname, bytes)
      if (answer.length > 0) expect(answer.subarray(0, 9).toString('latin1')).toBe('HTTP/1.1 ')
      if (++requests % PROBE_EVERY !== 0) return
      const scrape = await fetch(exporter.url!)
      expect(scrape.status).toBe(200)
      expect(await scrape.text()).toContain('hubble_flows_processed_total{')
    },
    { maxMs: REQUEST_MS + 1000 },
  )
})

/** Sends the bytes and takes what comes until the server ends it, or for REQUEST_MS. */
async function exchange(port: number, host: string, bytes: Uint8Array): Promise<Buffer> {
  const socket = connect(port, host)
  const chunks: Buffer[] = []
  socket.on('error', () => undefined)
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.end(bytes)
  const timer = setTimeout(() => socket.destroy(), REQUEST_MS)
  await closed
  clearTimeout(timer)
  return Buffer.concat(chunks)
}
