import { expect, test, vi } from 'vitest'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { cacheSlots, contextTest, endpointTest, valueTest } from './caches.ts'

test('endpointTest() asks once for each version of an endpoint', () => {
  const store = new TestFlowStore()
  const web = store.addEndpoint({ podName: 'web' })
  store.push({ source: web }, { source: web, destination: { podName: 'web' } })
  const test = vi.fn((endpoint) => endpoint.podName === 'web')
  const isWeb = endpointTest('source', 4096, test)
  const view = store.createView()
  for (let i = 0; i < 10; i++) {
    store.seek(view, i % 2)
    expect(isWeb(view)).toBe(true)
  }
  expect(test).toHaveBeenCalledTimes(1)
})

test('endpointTest() tells endpoints apart whose numbers share a slot', () => {
  const store = new TestFlowStore()
  const first = store.addEndpoint({ podName: 'web' })
  while (store.endpoints.length < first.ref + 4096) store.addEndpoint({})
  const second = store.addEndpoint({ podName: 'db' })
  expect(second.ref - first.ref).toBe(4096)
  store.push({ source: first }, { source: second })
  const isWeb = endpointTest('source', 4096, (endpoint) => endpoint.podName === 'web')
  const view = store.createView()
  const answers = [0, 1, 0, 1].map((sequence) => {
    store.seek(view, sequence)
    return isWeb(view)
  })
  expect(answers).toEqual([true, false, true, false])
})

test('endpointTest() forgets when the flows come from another context', () => {
  const isWeb = endpointTest('destination', 64, (endpoint) => endpoint.podName === 'web')
  const answers = ['web', 'db', 'web'].map((podName) => {
    const store = new TestFlowStore()
    store.push({ destination: { podName } })
    const view = store.createView()
    store.seek(view, 0)
    return isWeb(view)
  })
  expect(answers).toEqual([true, false, true])
})

test('valueTest() believes an answer only while the number stands for the same value', () => {
  const store = new TestFlowStore()
  store.push({ sourceService: { name: 'web', namespace: 'shop' } })
  const view = store.createView()
  store.seek(view, 0)
  const test = vi.fn((service) => service.name === 'web')
  const isWeb = valueTest(
    64,
    (flow) => flow.sourceServiceRef,
    (context, ref) => context.service(ref),
    test,
  )
  expect([isWeb(view), isWeb(view)]).toEqual([true, true])
  expect(test).toHaveBeenCalledTimes(1)
  store.context.service = () => ({ name: 'db', namespace: 'shop' })
  expect(isWeb(view)).toBe(false)
  store.context.service = () => undefined
  expect(isWeb(view)).toBe(false)
})

test('contextTest() asks once for each context', () => {
  const test = vi.fn((context) => context.nodeName === 'node-1')
  const isHere = contextTest(test)
  const stores = [new TestFlowStore(8), new TestFlowStore(8, { nodeName: 'node-2' })]
  const answers = stores.flatMap((store) => {
    store.push({}, {})
    const view = store.createView()
    return [0, 1].map((sequence) => {
      store.seek(view, sequence)
      return isHere(view)
    })
  })
  expect(answers).toEqual([true, true, false, false])
  expect(test).toHaveBeenCalledTimes(2)
})

test.each([
  [0, 4096],
  [1, 4096],
  [16, 4096],
  [17, 2048],
  [1000, 64],
  [100_000, 16],
])('cacheSlots() of %i caches is %i each', (caches, slots) => {
  expect(cacheSlots(caches)).toBe(slots)
})
