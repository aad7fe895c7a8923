/**
 * A transport whose unary calls are spans, if the caller sends a `traceparent`: a sidecar answers too many calls to begin a trace
 * for each. Streams are not traced, since they stay open for hours.
 */
import { status as Status } from '@grpc/grpc-js'
import { currentTracer, type OpenSpan, type SpanStart } from '../../common/tracing.ts'
import type { DirectMethod, Transport } from './transport.ts'

// biome-ignore lint/suspicious/noExplicitAny: handlers of every shape, as grpc-js keeps them.
type Handler = (...args: any[]) => void

const startOf = (path: string, parent: string): SpanStart => {
  const name = path.slice(1)
  return { name, kind: 'server', parent, attributes: { 'rpc.system.name': 'grpc', 'rpc.method': name } }
}

const end = (span: OpenSpan, code: Status = Status.OK): void => {
  const name = Status[code] ?? String(code)
  span.set({ 'rpc.response.status_code': name })
  if (code !== Status.OK) span.fail(name)
  span.end()
}

/** The same transport, if nothing is traced: then it costs a call nothing. */
export const tracedTransport = (transport: Transport): Transport => {
  const tracer = currentTracer()
  if (!tracer) return transport

  const handled = (path: string, handler: Handler): Handler =>
    function (this: unknown, call: { metadata: { get(name: string): unknown[] } }, callback: Handler) {
      const [parent] = call.metadata.get('traceparent')
      if (typeof parent !== 'string') return handler.call(this, call, callback)
      return tracer.open(startOf(path, parent), (span) =>
        handler.call(this, call, (error: { code?: Status } | null, ...answer: unknown[]) => {
          end(span, error ? (error.code ?? Status.UNKNOWN) : Status.OK)
          callback(error, ...answer)
        }),
      )
    }

  const inPlace = (path: string, method: DirectMethod): DirectMethod => ({
    maxBytes: (requestBytes) => method.maxBytes(requestBytes),
    answer: (bytes, from, until, call, into, to) => {
      const parent = call.header('traceparent')
      if (parent === undefined) return method.answer(bytes, from, until, call, into, to)
      return tracer.open(startOf(path, parent), (span) => {
        const answered = method.answer(bytes, from, until, call, into, to)
        // Otherwise the handler answers, in a span of its own.
        if (answered >= 0) end(span)
        return answered
      })
    },
  })

  return {
    ...transport,
    addService: (service, implementation) =>
      transport.addService(
        service,
        Object.fromEntries(
          Object.entries(service).flatMap(([name, { path, requestStream, responseStream, originalName = '' }]) => {
            const handler = (implementation[name] ?? implementation[originalName]) as Handler | undefined
            if (!handler) return []
            const bound = handler.bind(implementation)
            return [[name, requestStream || responseStream ? bound : handled(path, bound)]]
          }),
        ) as typeof implementation,
      ),
    addDirect: (path, method) => transport.addDirect(path, inPlace(path, method)),
  }
}
