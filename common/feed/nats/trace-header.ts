/**
 * The trace of a publication, in a header of its message. It is outside the value, so signatures do not cover it and readers that
 * know nothing of it are not disturbed; nothing but spans follows from it.
 */
import type { JetStreamClient } from '@nats-io/jetstream'
import { headers, type MsgHdrs } from '@nats-io/transport-node'
import { currentTracer } from '../../tracing.ts'

const HEADER = 'traceparent'

/** The key-value library takes no headers of a caller's, so the client that it publishes with adds it. */
export const withTraceHeader = (client: JetStreamClient): JetStreamClient => {
  const tracer = currentTracer()
  if (!tracer) return client
  const publish = client.publish.bind(client)
  client.publish = (subject, payload, options = {}) => {
    const traceparent = tracer.traceparent()
    if (traceparent === undefined) return publish(subject, payload, options)
    const sent = options.headers ?? headers()
    sent.set(HEADER, traceparent)
    return publish(subject, payload, { ...options, headers: sent })
  }
  return client
}

export const traceparentIn = (found: MsgHdrs | undefined): string | undefined => found?.get(HEADER) || undefined
