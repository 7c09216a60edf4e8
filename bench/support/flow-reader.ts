import { connect } from 'node:http2'
import { GetFlowsRequest } from '../../api/gen/observer/observer.ts'

/** First bytes of GetFlowsResponse: field 1 is a flow, 2 a node's status, 3 lost events. */
const FLOW_TAG = 0x0a
const LOST_TAG = 0x1a
const FRAME_HEADER = 5
/** As fast clients have it; Node's own is 64 KiB. */
const WINDOW_BYTES = 1 << 20

export type RequestFields = Parameters<typeof GetFlowsRequest.fromPartial>[0]

export interface ReadFlows {
  flows: number
  lostEvents: number
  bytes: number
}

export interface FlowReader {
  readonly counts: ReadFlows
  /** Resolves when the server ends the stream, or close() was called. Rejects on an error of the call. */
  readonly ended: Promise<ReadFlows>
  close(): void
}

/**
 * Reads a GetFlows stream as bare HTTP/2: messages are cut out of the stream and counted by their first byte, so that
 * what is measured is the server and not a client's decoding.
 *
 * @param onMessage gets each message's bytes, valid during the call
 */
export function readFlows(
  server: string,
  fields: RequestFields,
  onMessage?: (message: Uint8Array) => void,
): FlowReader {
  const session = connect(`http://${server}`, { settings: { initialWindowSize: WINDOW_BYTES } })
  session.once('connect', () => session.setLocalWindowSize(WINDOW_BYTES))
  const call = session.request({
    ':method': 'POST',
    ':path': '/observer.Observer/GetFlows',
    'content-type': 'application/grpc',
    te: 'trailers',
  })
  const counts: ReadFlows = { flows: 0, lostEvents: 0, bytes: 0 }
  const splitter = new MessageSplitter((message) => {
    if (message[0] === FLOW_TAG) counts.flows++
    else if (message[0] === LOST_TAG) counts.lostEvents++
    onMessage?.(message)
  })
  call.on('data', (chunk: Buffer) => {
    counts.bytes += chunk.length
    splitter.push(chunk)
  })
  call.end(framed(GetFlowsRequest.encode(GetFlowsRequest.fromPartial(fields)).finish()))
  let isClosed = false
  const ended = new Promise<ReadFlows>((resolve, reject) => {
    call.once('trailers', (trailers) => {
      const status = trailers['grpc-status']
      if (status !== undefined && status !== '0' && !isClosed) {
        reject(new Error(`GetFlows failed: ${status} ${trailers['grpc-message']}`))
      }
    })
    call.once('close', () => {
      session.close()
      resolve(counts)
    })
    const fail = (error: Error) => (isClosed ? resolve(counts) : reject(error))
    call.once('error', fail)
    session.once('error', fail)
  })
  return {
    counts,
    ended,
    close() {
      isClosed = true
      call.close()
      session.destroy()
    },
  }
}

function framed(message: Uint8Array): Buffer {
  const frame = Buffer.alloc(FRAME_HEADER + message.length)
  frame.writeUInt32BE(message.length, 1)
  frame.set(message, FRAME_HEADER)
  return frame
}

/** Cuts gRPC messages out of chunks that end anywhere. */
class MessageSplitter {
  readonly #onMessage: (message: Uint8Array) => void
  #rest: Buffer = Buffer.alloc(0)

  constructor(onMessage: (message: Uint8Array) => void) {
    this.#onMessage = onMessage
  }

  push(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let at = 0
    while (at + FRAME_HEADER <= bytes.length) {
      const end = at + FRAME_HEADER + bytes.readUInt32BE(at + 1)
      if (end > bytes.length) break
      this.#onMessage(bytes.subarray(at + FRAME_HEADER, end))
      at = end
    }
    this.#rest = bytes.subarray(at)
  }
}
