import { type Attributes, type Span, SpanStatusCode, trace } from '@opentelemetry/api'
import { errorText } from './errors.ts'

const tracer = trace.getTracer('sluice')

/**
 * Begins a span of the agent's own telemetry; without an SDK (telemetry.otlpEndpoint not set) it costs a few
 * nanoseconds and tells nobody. For moments that a person would ask about, never per flow.
 */
export function startSpan(name: string, attributes: Attributes = {}): Span {
  return tracer.startSpan(name, { attributes })
}

/** Ends a span, as failed when there is an error. */
export function endSpan(span: Span, error?: unknown): void {
  if (error !== undefined) {
    span.setStatus({ code: SpanStatusCode.ERROR, message: errorText(error) })
    if (error instanceof Error) span.recordException(error)
  }
  span.end()
}

/** A span around a piece of work. */
export async function traced<T>(name: string, attributes: Attributes, work: () => Promise<T>): Promise<T> {
  const span = startSpan(name, attributes)
  try {
    const result = await work()
    endSpan(span)
    return result
  } catch (error) {
    endSpan(span, error)
    throw error
  }
}
