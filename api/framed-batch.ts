import { WireWriter } from './wire.ts'

/** Flag byte and length in front of every gRPC message. */
const HEADER = 5

/**
 * Several gRPC messages, each with its frame header, that go out in one write: one HTTP/2 write for a few hundred
 * flows instead of one for each.
 *
 * grpc-js frames what `responseSerialize` returns by reading its `byteLength`, writing a header and calling
 * `copy(output, 5)` (server-interceptors, serializeMessage). A batch answers with the size of everything behind its
 * first header, and overwrites that header with its own. framed-batch.test.ts fails when grpc-js does it otherwise.
 */
export class FramedBatch {
  readonly out: WireWriter
  /** Messages in the batch. */
  count = 0
  #start = 0

  constructor(sizeBytes: number) {
    this.out = new WireWriter(sizeBytes)
  }

  /** Starts a message; its bytes are then written to `out`. */
  begin(): void {
    this.out.ensure(HEADER)
    this.#start = this.out.at
    this.out.at += HEADER
  }

  /** Ends the message that `begin` started. */
  end(): void {
    const { bytes, at } = this.out
    const start = this.#start
    const length = at - start - HEADER
    bytes[start] = 0
    bytes[start + 1] = length >>> 24
    bytes[start + 2] = length >>> 16
    bytes[start + 3] = length >>> 8
    bytes[start + 4] = length
    this.count++
  }

  clear(): void {
    this.out.at = 0
    this.count = 0
  }

  get isEmpty(): boolean {
    return this.count === 0
  }

  /** Size of everything behind the first header. */
  get byteLength(): number {
    return this.out.at - HEADER
  }

  /** Called by grpc-js with the buffer that it has written its own header to. */
  copy(target: Uint8Array, targetStart: number): number {
    target.set(this.out.bytes.subarray(0, this.out.at), targetStart - HEADER)
    return this.out.at - HEADER
  }

  /** `responseSerialize` of methods that write batches. */
  static serialize(value: FramedBatch): Buffer {
    // Only byteLength and copy() are used of what is returned here; see above.
    return value as unknown as Buffer
  }
}
