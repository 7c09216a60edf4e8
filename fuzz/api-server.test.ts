import { type ClientHttp2Session, connect, constants } from 'node:http2'
import { connect as connectTcp } from 'node:net'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect } from 'vitest'
import { ObserverClient } from '../api/client.ts'
import { GetFlowsRequest, GetFlowsResponse } from '../api/gen/observer/observer.ts'
import { ApiServer } from '../api/server.ts'
import { collect } from '../test/helpers/api-server.ts'
import { TestFlowStore } from '../test/helpers/flow-store.ts'
import { fuzz, fuzzBytes } from '../test/helpers/fuzz.ts'

const METHODS = [
  '/observer.Observer/GetFlows',
  '/observer.Observer/GetAgentEvents',
  '/observer.Observer/GetDebugEvents',
  '/observer.Observer/GetNodes',
  '/observer.Observer/GetNamespaces',
  '/observer.Observer/ServerStatus',
  '/peer.Peer/Notify',
  '/sluice.v1.Agent/GetStatus',
  '/sluice.v1.Filters/ListFilters',
  '/sluice.v1.Filters/ExplainFilters',
  '/grpc.health.v1.Health/Check',
  '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo',
  '/nobody.Knows/This',
]
/** A stream that follows never ends by itself. */
const CALL_MS = 150
/** How often the server must show that it goes on serving. */
const PROBE_EVERY = 25

/** A call as anybody may send it. */
interface RawCall {
  readonly path: string
  readonly body: Uint8Array
  /** Else the body is put behind a right frame header. */
  readonly isRawFrame: boolean
}

describe('fuzz: API server', () => {
  let server: ApiServer
  let client: ObserverClient
  let session: ClientHttp2Session
  let calls = 0
  let flowsSeen = 0
  const [host, store] = ['127.0.0.1', new TestFlowStore()]
  const port = (): number => Number(server.addresses[0]!.split(':').at(-1))

  beforeAll(async () => {
    store.push({}, { srcIp: 'fd00::1', dstIp: 'fd00::2' }, { protocol: 17, dstPort: 53 })
    server = new ApiServer({ store, version: '0.1.0' }, { listen: [{ kind: 'tcp', host, port: 0 }] })
    await server.start()
    client = await ObserverClient.create({ server: server.addresses[0]! })
    session = connectHttp2(port())
  })

  afterAll(async () => {
    session.destroy()
    client[Symbol.dispose]()
    await server.stop(200)
    expect(flowsSeen).toBeGreaterThan(0)
  })

  /** The server still answers others. */
  async function probe(): Promise<void> {
    if (++calls % PROBE_EVERY === 0) expect(await collect(client.getFlows({}))).toHaveLength(store.end)
  }

  const body = fc.uint8Array({ maxLength: 300, size: 'max' })
  fuzz(
    'answers any request of any method with a status, and goes on serving',
    {
      corpus: 'get-flows',
      from: (seed): RawCall => ({ path: METHODS[0]!, body: seed, isRawFrame: false }),
      generated: fc.record({ path: fc.constantFrom(...METHODS), body, isRawFrame: fc.boolean() }),
      target: async (call) => {
        if (session.closed || session.destroyed) session = connectHttp2(port())
        const { status, isCut, messages } = await send(session, call)
        if (!isCut) expect(status).toMatch(/^(\d|1[0-6])$/)
        for (const message of messages) if (call.path === METHODS[0]) GetFlowsResponse.decode(message)
        await probe()
      },
    },
    // Calls that follow are ended by CALL_MS.
    { maxMs: CALL_MS + 1000 },
  )

  fuzzBytes(
    'ends connections that speak no HTTP/2, and goes on serving',
    'http2',
    async (bytes) => {
      const socket = connectTcp(port(), host)
      const closed = new Promise((resolve) => socket.once('close', resolve))
      socket.on('error', () => undefined)
      socket.end(bytes)
      socket.resume()
      const timer = setTimeout(() => socket.destroy(), CALL_MS)
      await closed
      clearTimeout(timer)
      await probe()
    },
    { maxMs: CALL_MS + 1000 },
  )

  fuzz(
    'gives no more flows than a request that can be read asked for',
    {
      corpus: 'get-flows',
      from: (seed): RawCall => ({ path: METHODS[0]!, body: seed, isRawFrame: false }),
      generated: fc.record({ number: fc.bigInt({ min: 1n, max: 4n }), first: fc.boolean() }).map((fields) => ({
        path: METHODS[0]!,
        body: GetFlowsRequest.encode(GetFlowsRequest.fromPartial(fields)).finish(),
        isRawFrame: false,
      })),
      target: async (call) => {
        const wanted = readable(call.body)
        if (wanted === undefined || wanted.follow) return
        if (session.closed || session.destroyed) session = connectHttp2(port())
        const { status, messages } = await send(session, call)
        const flows = messages
          .map((message) => GetFlowsResponse.decode(message))
          .filter(({ flow }) => flow !== undefined)
        flowsSeen += flows.length
        if (status !== '0') expect(flows).toEqual([])
        if (wanted.number > 0n) expect(flows.length).toBeLessThanOrEqual(Number(wanted.number))
      },
    },
    { maxMs: CALL_MS + 1000 },
  )
})

function connectHttp2(port: number): ClientHttp2Session {
  const session = connect(`http://127.0.0.1:${port}`)
  session.on('error', () => undefined)
  return session
}

function readable(body: Uint8Array): GetFlowsRequest | undefined {
  try {
    return GetFlowsRequest.decode(body)
  } catch {
    return undefined
  }
}

/** One call to its end, or until it was cut because it goes on for ever. */
async function send(session: ClientHttp2Session, call: RawCall) {
  const stream = session.request({
    [constants.HTTP2_HEADER_METHOD]: 'POST',
    [constants.HTTP2_HEADER_PATH]: call.path,
    'content-type': 'application/grpc',
    te: 'trailers',
  })
  let status: string | undefined
  let isCut = false
  const chunks: Buffer[] = []
  const note = (headers: Record<string, unknown>) => {
    if (headers['grpc-status'] !== undefined) status = String(headers['grpc-status'])
  }
  stream.on('response', note)
  stream.on('trailers', note)
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  stream.on('error', () => {
    isCut = true
  })
  const closed = new Promise<void>((resolve) => stream.once('close', resolve))
  stream.end(call.isRawFrame ? Buffer.from(call.body) : framed(call.body))
  const timer = setTimeout(() => {
    isCut = true
    stream.close(constants.NGHTTP2_CANCEL)
  }, CALL_MS)
  await closed
  clearTimeout(timer)
  return { status, isCut, messages: isCut ? [] : messagesOf(Buffer.concat(chunks)) }
}

function framed(body: Uint8Array): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(body.length, 1)
  return Buffer.concat([head, body])
}

function messagesOf(bytes: Buffer): Buffer[] {
  const messages: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at + 1)
    expect(at + 5 + length).toBeLessThanOrEqual(bytes.length)
    messages.push(bytes.subarray(at + 5, at + 5 + length))
    at += 5 + length
  }
  return messages
}
