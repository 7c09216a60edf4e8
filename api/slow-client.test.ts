import { type ClientHttp2Stream, connect } from 'node:http2'
import { expect, onTestFinished, test } from 'vitest'
import { gauge, startApi, until } from '../test/helpers/api-server.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { GetFlowsRequest, GetFlowsResponse } from './gen/observer/observer.ts'

/** A GetFlows call whose answer is read only when asked to: by HTTP/2 itself, so that nothing reads ahead. */
async function openRaw(address: string, request: Parameters<typeof GetFlowsRequest.fromPartial>[0]) {
  const session = connect(`http://${address}`)
  onTestFinished(() => session.destroy())
  const stream: ClientHttp2Stream = session.request({
    ':method': 'POST',
    ':path': '/observer.Observer/GetFlows',
    'content-type': 'application/grpc',
    te: 'trailers',
  })
  const message = Buffer.from(GetFlowsRequest.encode(GetFlowsRequest.fromPartial(request)).finish())
  const header = Buffer.alloc(5)
  header.writeUInt32BE(message.length, 1)
  stream.end(Buffer.concat([header, message]))
  await new Promise((resolve) => stream.once('response', resolve))
  stream.pause()
  return { session, stream }
}

/** Takes messages out of a stream of frames as they are complete. */
class Messages {
  readonly flows: number[] = []
  readonly losses: number[] = []
  #rest = Buffer.alloc(0)

  push(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk])
    while (this.#rest.length >= 5 && this.#rest.length >= 5 + this.#rest.readUInt32BE(1)) {
      const length = this.#rest.readUInt32BE(1)
      const { flow, lost_events } = GetFlowsResponse.decode(this.#rest.subarray(5, 5 + length))
      if (flow) this.flows.push(flow.drop_reason)
      if (lost_events) this.losses.push(Number(lost_events.num_events_lost))
      this.#rest = this.#rest.subarray(5 + length)
    }
  }
}

function read(stream: ClientHttp2Stream, messages: Messages): void {
  stream.on('data', (chunk: Buffer) => messages.push(chunk))
  stream.resume()
}

const CAPACITY = 2000

/** A flow that carries its number where 32 bits fit. */
function flow(i: number) {
  return { srcPort: i & 0xffff, dstPort: i >>> 16 }
}

test('a client that does not read is overtaken, told how much it missed, and slows nobody', async () => {
  const store = new TestFlowStore(CAPACITY)
  const { server, address } = await startApi(store)
  const slow = await openRaw(address, { follow: true })
  const fast = await openRaw(address, { follow: true })
  const fastSeen = new Messages()
  read(fast.stream, fastSeen)
  await until('both streams are open', () => gauge(server, 'sluice_api_streams') === 2)
  let pushed = 0
  // Six thousand flows are 2 MB: far more than HTTP/2's windows and socket buffers take unread.
  while (pushed < 60_000) {
    store.push(...Array.from({ length: 500 }, (_, i) => flow(pushed + i)))
    pushed += 500
    await until('the fast client keeps up', () => fastSeen.flows.length === pushed)
  }
  expect(fastSeen.losses).toEqual([])
  const slowSeen = new Messages()
  read(slow.stream, slowSeen)
  await until('the slow client has caught up', () => slowSeen.flows.length + sum(slowSeen.losses) === pushed)
  expect(slowSeen.losses.length).toBeLessThanOrEqual(3)
  expect(sum(slowSeen.losses)).toBeGreaterThan(CAPACITY)
  expect(gauge(server, 'sluice_api_flows_lost_total')).toBe(sum(slowSeen.losses))
  expect(gauge(server, 'sluice_api_flows_sent_total')).toBe(pushed + slowSeen.flows.length)
})

function sum(numbers: number[]): number {
  return numbers.reduce((a, b) => a + b, 0)
}

test('a client that goes away in the middle of an answer frees its stream', async () => {
  const store = new TestFlowStore(50_000)
  store.push(...Array.from({ length: 50_000 }, (_, i) => flow(i)))
  const { server, address } = await startApi(store)
  for (const follow of [false, true]) {
    const { session, stream } = await openRaw(address, { follow, number: 50_000n })
    await until('the stream is open', () => gauge(server, 'sluice_api_streams') === 1)
    stream.resume()
    await new Promise((resolve) => stream.once('data', resolve))
    session.destroy()
    await until('the stream is freed', () => gauge(server, 'sluice_api_streams') === 0)
  }
  const sent = gauge(server, 'sluice_api_flows_sent_total')
  store.push(flow(1))
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(gauge(server, 'sluice_api_flows_sent_total')).toBe(sent)
})

test('an answer from the history that is overtaken while it is read ends, and accounts for every flow', async () => {
  const store = new TestFlowStore(CAPACITY * 10)
  store.push(...Array.from({ length: CAPACITY * 10 }, (_, i) => flow(i)))
  const { address } = await startApi(store)
  const { stream } = await openRaw(address, {})
  await new Promise((resolve) => setTimeout(resolve, 50))
  store.push(...Array.from({ length: CAPACITY * 10 }, (_, i) => flow(i)))
  const seen = new Messages()
  read(stream, seen)
  await new Promise((resolve) => stream.once('end', resolve))
  expect(seen.flows.length + sum(seen.losses)).toBe(CAPACITY * 10)
  expect(seen.losses.length).toBe(1)
})
