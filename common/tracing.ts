/**
 * Spans of OpenTelemetry, if OTEL_EXPORTER_OTLP_ENDPOINT is set. Without it, nothing of OpenTelemetry is loaded, and what is
 * traced otherwise runs as it is. docs/observability.md lists the spans; none names a customer.
 */
import type { Logger } from 'pino'
import type { Config } from './config.ts'

/** Names and values that end up in a span: what OpenTelemetry defines, or ours, which begin with `tollgate.`. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean | undefined>>

export interface SpanStart {
  name: string
  /** `internal` without. */
  kind?: 'server' | 'client' | 'producer' | 'consumer'
  attributes?: SpanAttributes
  /** The caller's `traceparent`, as https://www.w3.org/TR/trace-context/ defines it. Without it, the span that is active is the parent. */
  parent?: string | undefined
}

export interface OpenSpan {
  rename(name: string): void
  set(attributes: SpanAttributes): void
  /** @param type of what went wrong: a code or a class, never a message, which may quote what a caller has sent. */
  fail(type: string): void
  /** A span that is not ended is not exported. */
  end(): void
}

export interface Tracer {
  /** Begins a span that is active during `work`; whoever begins it ends it. */
  open<T>(start: SpanStart, work: (span: OpenSpan) => T): T
  /** Continues another process's trace without a span of our own. */
  continue<T>(traceparent: string, work: () => T): T
  /** Sets attributes of the active span. */
  annotate(attributes: SpanAttributes): void
  traceparent(): string | undefined
  traceId(): string | undefined
  /** Exports what is left, within a bound. */
  stop(): Promise<void>
}

const noSpan: OpenSpan = { rename: () => {}, set: () => {}, fail: () => {}, end: () => {} }

let tracer: Tracer | undefined

/** @param service names the process, unless OTEL_SERVICE_NAME does. */
export const startTracing = async ({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }: Config, service: string, log: Pick<Logger, 'warn'>): Promise<void> => {
  if (endpoint === undefined) return
  const { startOpenTelemetry } = await import('./open-telemetry.ts')
  tracer = startOpenTelemetry(service, log)
}

export const stopTracing = async (): Promise<void> => tracer?.stop()

/** Undefined when nothing is traced: wrappers then leave out what they would add. */
export const currentTracer = (): Tracer | undefined => tracer

/** The kind of an error: its code, if it is one of ours or of the system, or its class. */
const typeOf = (error: unknown): string => {
  if (!(error instanceof Error)) return typeof error
  return 'code' in error && (typeof error.code === 'string' || typeof error.code === 'number') ? String(error.code) : error.name
}

const run = <T>(on: Tracer, start: SpanStart, work: (span: OpenSpan) => T): T =>
  on.open(start, (span) => {
    const failed = (error: unknown): never => {
      span.fail(typeOf(error))
      span.end()
      throw error
    }
    let result: T
    try {
      result = work(span)
    } catch (error) {
      return failed(error)
    }
    if (result instanceof Promise) {
      const settled = result.then((value: unknown) => {
        span.end()
        return value
      }, failed)
      return settled as T
    }
    span.end()
    return result
  })

/** Does the work in a span, which ends with it. */
export const traced = <T>(start: SpanStart, work: (span: OpenSpan) => T): T => (tracer ? run(tracer, start, work) : work(noSpan))

/** Like `traced`, but only as a part of a trace: what a process does by itself, such as looking for work, begins none. */
export const tracedPart = <T>(start: SpanStart, work: (span: OpenSpan) => T): T => (tracer?.traceId() ? run(tracer, start, work) : work(noSpan))

/** Does the work as a part of another process's trace, if it is told of one. */
export const continueTrace = <T>(traceparent: string | undefined, work: () => T): T =>
  tracer && traceparent !== undefined ? tracer.continue(traceparent, work) : work()
