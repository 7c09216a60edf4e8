import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { CONSUMER_BITS } from '../../filters/rules.ts'
import type { FlowView } from '../../model/flow-view.ts'
import { TestFlowStore } from '../../test/helpers/flow-store.ts'
import { resolveJsonLogOptions } from './config.ts'
import { lineBytes } from './count-lines.ts'
import { JsonLogExporter } from './exporter.ts'

function traffic(flows: number, capacity = flows): TestFlowStore {
  const store = new TestFlowStore(capacity)
  for (let i = 0; i < flows; i++) store.push({ srcPort: 1 + i, source: { namespace: 'shop', podName: `wéb-${i % 9}` } })
  return store
}

const odd = (view: FlowView) => view.srcPort % 2 === 1

describe('lineBytes()', () => {
  test.each([[[]], [['time', 'source.pod_name', 'l4']]])(
    'says what the log takes for the same flows, to the byte, with the mask %j',
    async (fieldMask) => {
      const directory = mkdtempSync(join(tmpdir(), 'sluice-lines-'))
      onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
      const path = join(directory, 'events.log')
      const wants = (bit: number, view: FlowView) => bit === CONSUMER_BITS.LOG && odd(view)
      const exporter = new JsonLogExporter(resolveJsonLogOptions({ path, fieldMask }), {
        judge: { wants, wouldTake: wants },
        emitter: { name: 'Somebody', version: '9' },
      })
      onTestFinished(() => exporter[Symbol.asyncDispose]())
      await exporter.start(new AbortController().signal)
      const store = traffic(2000)
      exporter.accept(store, 500, 1500)
      await exporter.flush(5000)
      const count = await exporter.countLines({ store, first: 500, end: 1500 }, odd)
      expect(count).toEqual({ lines: 500, bytes: statSync(path).size })
    },
  )

  test('leaves out lines that are too long, and flows that are gone', async () => {
    const labels = Array.from({ length: 900 }, (_, i) => `k8s:label-${i}=${'x'.repeat(60)}`)
    const store = traffic(10, 5)
    store.push({ source: { labels } })
    expect((await lineBytes(store, 0, 11, () => true, undefined)).lines).toBe(4)
  })

  test('gives way to others, and stops when it is told to', async () => {
    const store = traffic(20_000)
    const abort = new AbortController()
    const counting = lineBytes(store, 0, 20_000, () => true, undefined, { signal: abort.signal })
    setImmediate(() => abort.abort(new Error('enough')))
    await expect(counting).rejects.toThrow('enough')
  })
})
