import { Metadata, type ServerUnaryCall, type ServerWritableStream, type sendUnaryData, status } from '@grpc/grpc-js'
import { disposable } from '../base/lifetime.ts'
import { endSpan, startSpan } from '../base/tracing.ts'
import type { TelemetrySink } from '../model/contracts.ts'
import { MethodCounters } from './rpc-counters.ts'
import { type RpcError, rpcError, toRpcError } from './rpc-error.ts'

/** One streaming call, as its handler sees it. */
export interface StreamCall<Request, Response> {
  readonly request: Request
  /** What the client sent beside the request. */
  readonly metadata: Metadata
  /** Address of the client, or what grpc-js says of a unix socket's. */
  readonly peer: string
  /** @param done called when the message was taken @returns false when the client must take something first */
  write(message: Response, done?: () => void): boolean
  /** Counts messages that went out in one write. */
  sent(count: number): void
  /** Called when the client can take more after `write` returned false. */
  onDrain(listener: () => void): void
  /** Ends the call with OK. */
  end(): void
  /** Ends the call with an error, after what was written. */
  fail(error: unknown): void
}

/** Starts the work of a streaming call. @returns what frees it; disposed once when the call is over, whatever ended it */
export type StreamHandler<Request, Response> = (call: StreamCall<Request, Response>) => Disposable

export interface CallLimits {
  /** Streaming calls at once, all connections together; each holds up to 0.3 MB. */
  readonly maxStreams: number
  readonly version: string
}

/** Every call on the server goes through here: limits, counters, errors, and the end of all streams at stop. */
export class Calls {
  readonly #limits: CallLimits
  readonly #methods: MethodCounters[] = []
  readonly #streams = new Set<(error: RpcError) => void>()
  #isStopping = false

  constructor(limits: CallLimits) {
    this.#limits = limits
  }

  /** A handler of a unary method. Whatever `answer` throws becomes the status of the call. */
  unary<Request, Response>(
    service: string,
    method: string,
    answer: (request: Request) => Response | Promise<Response>,
  ): (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>) => void {
    const counters = this.#method(service, method, 'unary')
    return (call, callback) => {
      counters.start()
      const span = startSpan(`${service}/${method}`, rpcAttributes(service, method))
      call.sendMetadata(this.#header())
      Promise.resolve()
        .then(() => answer(call.request))
        .then(
          (response) => {
            counters.messagesSent++
            counters.finish(call.cancelled ? status.CANCELLED : status.OK)
            endSpan(span)
            callback(null, response)
          },
          (error: unknown) => {
            const rpc = toRpcError(error)
            counters.finish(rpc.code)
            endSpan(span, rpc)
            callback(rpc)
          },
        )
    }
  }

  /** A handler of a server-streaming method. */
  stream<Request, Response>(
    service: string,
    method: string,
    handler: StreamHandler<Request, Response>,
  ): (call: ServerWritableStream<Request, Response>) => void {
    const counters = this.#method(service, method, 'server_stream')
    return (call) => {
      counters.start()
      const span = startSpan(`${service}/${method}`, rpcAttributes(service, method))
      let code: number = status.CANCELLED
      let isEnded = false
      let resource: Disposable | undefined
      const fail = (error: RpcError): void => {
        if (isEnded) return
        isEnded = true
        code = error.code
        resource?.[Symbol.dispose]()
        call.emit('error', error)
      }
      const over = disposable(() => {
        this.#streams.delete(fail)
        counters.finish(code)
        span.setAttribute('rpc.grpc.status_code', code)
        endSpan(span)
        isEnded = true
        resource?.[Symbol.dispose]()
      })
      // grpc-js tells of the end of every call by this event, cancelled or not; a client that is gone, by either.
      call.on('cancelled', () => over[Symbol.dispose]())
      call.on('close', () => over[Symbol.dispose]())
      const refusal = this.#refusal()
      if (refusal !== undefined) return fail(refusal)
      this.#streams.add(fail)
      try {
        resource = handler({
          request: call.request,
          metadata: call.metadata,
          peer: call.getPeer(),
          write: (message, done) => !isEnded && call.write(message, done),
          sent: (count) => {
            counters.messagesSent += count
          },
          onDrain: (listener) => void call.on('drain', listener),
          end: () => {
            if (isEnded) return
            isEnded = true
            code = status.OK
            call.end()
          },
          fail: (error) => fail(toRpcError(error)),
        })
        call.sendMetadata(this.#header())
      } catch (error) {
        fail(toRpcError(error))
      }
    }
  }

  #refusal(): RpcError | undefined {
    if (this.#isStopping) return rpcError(status.UNAVAILABLE, 'the agent is stopping')
    if (this.#streams.size < this.#limits.maxStreams) return undefined
    return rpcError(
      status.RESOURCE_EXHAUSTED,
      `${this.#streams.size} streams are open, which is the limit (api.maxStreams): end one of them first`,
    )
  }

  #method(service: string, method: string, type: 'unary' | 'server_stream'): MethodCounters {
    const counters = new MethodCounters(service, method, type)
    this.#methods.push(counters)
    return counters
  }

  /**
   * Says what answers. Not as hubble-server-version: the hubble command line compares that with its own version and
   * warns when the server's is newer, and Sluice's numbers are not Hubble's.
   */
  #header(): Metadata {
    const metadata = new Metadata()
    metadata.set('sluice-server-version', this.#limits.version)
    return metadata
  }

  /** Streaming calls under way. */
  get streams(): number {
    return this.#streams.size
  }

  /** Ends every stream with UNAVAILABLE, which clients take as "try again", and refuses new ones. */
  stop(): void {
    this.#isStopping = true
    for (const fail of [...this.#streams]) fail(rpcError(status.UNAVAILABLE, 'the agent is stopping'))
  }

  collect(sink: TelemetrySink): void {
    for (const method of this.#methods) method.collect(sink)
  }
}

/** OpenTelemetry's semantic names of a call. */
function rpcAttributes(service: string, method: string): Record<string, string> {
  return { 'rpc.system': 'grpc', 'rpc.service': service, 'rpc.method': method }
}
