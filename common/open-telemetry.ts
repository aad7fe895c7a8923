/**
 * OpenTelemetry's own SDK, which reads the OTEL_* variables. `tracing.ts` loads it, if it is asked for: nobody else imports
 * this file.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { context, type DiagLogFunction, DiagLogLevel, diag, propagation, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import { UndiciInstrumentation } from '@opentelemetry/instrumentation-undici'
import { envDetector, resourceFromAttributes } from '@opentelemetry/resources'
import { NodeSDK } from '@opentelemetry/sdk-node'
import type { Logger } from 'pino'
import type { OpenSpan, SpanAttributes, Tracer } from './tracing.ts'

/** A collector that is away must not hold up the end of a process, which has 9 s for everything. */
const STOP_WITHIN_MS = 2_000
/** If the collector is away, one export after another fails: one line says it. */
const WARN_EVERY_MS = 60_000

const kinds = { server: SpanKind.SERVER, client: SpanKind.CLIENT, producer: SpanKind.PRODUCER, consumer: SpanKind.CONSUMER }

const openSpan = (span: Span): OpenSpan => ({
  rename: (name) => void span.updateName(name),
  set: (attributes) => void span.setAttributes(attributes),
  fail: (type) => void span.setAttribute('error.type', type).setStatus({ code: SpanStatusCode.ERROR }),
  end: () => span.end(),
})

const contextOf = (traceparent: string) => propagation.extract(ROOT_CONTEXT, { traceparent })

const warnSeldom = (log: Pick<Logger, 'warn'>): DiagLogFunction => {
  let againMs = Number.NEGATIVE_INFINITY
  return (reason) => {
    if (performance.now() < againMs) return
    againMs = performance.now() + WARN_EVERY_MS
    // An error comes as JSON, with its stack.
    log.warn({ reason: reason.slice(0, 300) }, 'traces: OpenTelemetry reports a problem, and spans may be missing')
  }
}

export const startOpenTelemetry = (service: string, log: Pick<Logger, 'warn'>): Tracer => {
  const sdk = new NodeSDK({
    resource: resourceFromAttributes({ 'service.name': service }),
    // The others tell of the machine, and of the command line.
    resourceDetectors: [envDetector],
    // No baggage: what a caller puts there would travel on to providers.
    textMapPropagator: new W3CTraceContextPropagator(),
    metricReaders: [],
    logRecordProcessors: [],
  })
  const warn = warnSeldom(log)
  const quiet = () => {}
  diag.setLogger({ error: warn, warn, info: quiet, debug: quiet, verbose: quiet }, { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true })
  sdk.start()
  // It listens to undici's diagnostics channels, so it need not be there before undici is. Paths and queries name customers.
  new UndiciInstrumentation({
    requireParentforSpans: true,
    startSpanHook: ({ origin }) => ({ 'url.full': String(origin), 'url.path': '', 'url.query': '' }),
  })
  const tracer = trace.getTracer('tollgate')
  const activeTrace = () => trace.getActiveSpan()?.spanContext()
  return {
    open: ({ name, kind, attributes = {}, parent }, work) =>
      tracer.startActiveSpan(
        name,
        { kind: kind ? kinds[kind] : SpanKind.INTERNAL, attributes: attributes as Record<string, string> },
        parent === undefined ? context.active() : contextOf(parent),
        (span) => work(openSpan(span)),
      ),
    continue: (traceparent, work) => context.with(contextOf(traceparent), work),
    annotate: (attributes: SpanAttributes) => void trace.getActiveSpan()?.setAttributes(attributes),
    traceparent: () => {
      const carrier: { traceparent?: string } = {}
      propagation.inject(context.active(), carrier)
      return carrier.traceparent
    },
    traceId: () => activeTrace()?.traceId,
    stop: async () => {
      const stopped = sdk.shutdown().catch((error: unknown) => warn(String(error)))
      await Promise.race([stopped, sleep(STOP_WITHIN_MS, undefined, { ref: false })])
    },
  }
}
