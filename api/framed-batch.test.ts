import {
  type Client,
  credentials,
  makeGenericClientConstructor,
  Server,
  ServerCredentials,
  type ServerWritableStream,
} from '@grpc/grpc-js'
import { expect, onTestFinished, test } from 'vitest'
import { FramedBatch } from './framed-batch.ts'

const bytes = (value: Buffer): Buffer => value
const method = {
  path: '/test.Test/Stream',
  requestStream: false,
  responseStream: true,
  requestSerialize: bytes,
  requestDeserialize: bytes,
} as const

/** A batch with the given messages. */
function batchOf(messages: Buffer[]): FramedBatch {
  const batch = new FramedBatch(8)
  for (const message of messages) {
    batch.begin()
    batch.out.raw(message)
    batch.end()
  }
  return batch
}

test('FramedBatch reaches a client of grpc-js as the messages that were put in', async () => {
  const sent = [0, 1, 127, 128, 5000, 70_000].map((size) => Buffer.alloc(size, size & 0xff))
  const server = new Server()
  onTestFinished(() => server.forceShutdown())
  server.addService(
    { stream: { ...method, responseSerialize: FramedBatch.serialize, responseDeserialize: bytes } },
    {
      stream: (call: ServerWritableStream<Buffer, FramedBatch>) => {
        call.write(batchOf(sent))
        call.write(batchOf(sent.slice(0, 1)))
        call.end()
      },
    },
  )
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    )
  })
  const Stub = makeGenericClientConstructor(
    { stream: { ...method, responseSerialize: bytes, responseDeserialize: bytes } },
    'Test',
  )
  const client: Client = new Stub(`127.0.0.1:${port}`, credentials.createInsecure())
  onTestFinished(() => client.close())
  const received: Buffer[] = []
  const stream = client.makeServerStreamRequest(method.path, bytes, bytes, Buffer.alloc(0))
  for await (const message of stream) received.push(message as Buffer)
  expect(received.map((message) => message.length)).toEqual([...sent, sent[0]!].map((message) => message.length))
  expect(received.slice(0, -1).every((message, i) => message.equals(sent[i]!))).toBe(true)
})

test('FramedBatch.clear() makes room for the next messages', () => {
  const batch = batchOf([Buffer.from('abc')])
  expect([batch.count, batch.isEmpty, batch.byteLength]).toEqual([1, false, 3])
  batch.clear()
  expect([batch.count, batch.isEmpty]).toEqual([0, true])
})
