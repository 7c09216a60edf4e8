import type { TelemetrySink } from '../model/contracts.ts'

const STATUS_NAMES = [
  'OK',
  'Canceled',
  'Unknown',
  'InvalidArgument',
  'DeadlineExceeded',
  'NotFound',
  'AlreadyExists',
  'PermissionDenied',
  'ResourceExhausted',
  'FailedPrecondition',
  'Aborted',
  'OutOfRange',
  'Unimplemented',
  'Internal',
  'Unavailable',
  'DataLoss',
  'Unauthenticated',
] as const

/** Calls of one method: the counters that grpc's own middleware has in other languages. */
export class MethodCounters {
  readonly service: string
  readonly method: string
  readonly type: 'unary' | 'server_stream'
  started = 0
  /** Calls under way. */
  active = 0
  messagesSent = 0
  readonly #handled = new Map<number, number>()

  constructor(service: string, method: string, type: 'unary' | 'server_stream') {
    this.service = service
    this.method = method
    this.type = type
  }

  start(): void {
    this.started++
    this.active++
  }

  /** @param code gRPC status the call ended with */
  finish(code: number): void {
    this.active--
    this.#handled.set(code, (this.#handled.get(code) ?? 0) + 1)
  }

  collect(sink: TelemetrySink): void {
    const labels = { grpc_service: this.service, grpc_method: this.method, grpc_type: this.type }
    sink.counter('grpc_server_started_total', 'Calls that were started on the server', this.started, labels)
    sink.counter('grpc_server_msg_sent_total', 'Messages that the server sent', this.messagesSent, labels)
    for (const [code, count] of this.#handled) {
      sink.counter('grpc_server_handled_total', 'Calls that ended on the server, by status', count, {
        ...labels,
        grpc_code: STATUS_NAMES[code] ?? 'Unknown',
      })
    }
  }
}
