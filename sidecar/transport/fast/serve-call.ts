/**
 * Turns a request into a call of a method, or a refusal. Handlers are those of grpc-js, and cannot tell which transport they
 * are called by.
 */
import { status as Status } from '@grpc/grpc-js'
import type { CallServer } from './call.ts'
import type { Connection } from './connection.ts'
import { onlyTrailers, timeoutMsOf } from './grpc-message.ts'
import { MessageStreamCall } from './message-stream-call.ts'
import { NotGrpc } from './not-grpc.ts'
import { OneMessageCall } from './one-message-call.ts'
import { FieldKind } from './request-headers.ts'
import type { Stream } from './stream.ts'

const identityOnly = [['grpc-accept-encoding', 'identity']] as const

/** Clients say it in one of these ways; others are looked at more closely. */
const isGrpc = (contentType: string): boolean => contentType === 'application/grpc' || /^application\/grpc(\+proto)?(;|$)/.test(contentType)

/** The part of a caller's text that an error quotes. */
const brief = (text: string): string => (text.length > 200 ? `${text.slice(0, 200)}…` : text)

export const serveCall = (connection: Connection, stream: Stream, server: CallServer): void => {
  let path = ''
  let contentType = ''
  let timeout: string | undefined
  let encoding = 'identity'
  let verb = ''
  let authorization: string | undefined
  const { headers } = stream
  for (let n = 0; n < headers.length; n += 1) {
    const { kind, value } = headers[n] as (typeof headers)[number]
    if (kind === FieldKind.OTHER) continue
    if (kind === FieldKind.PATH) path = value
    else if (kind === FieldKind.METHOD) verb = value
    else if (kind === FieldKind.CONTENT_TYPE) contentType = value
    else if (kind === FieldKind.TIMEOUT) timeout = value
    else if (kind === FieldKind.ENCODING) encoding = value
    else if (kind === FieldKind.AUTHORIZATION) authorization = value
  }
  if (verb !== 'POST' || !isGrpc(contentType)) {
    const other = new NotGrpc(connection, stream)
    stream.handler = other
    other.onData()
    return
  }
  const method = server.methods.find(path)
  if (!method) {
    // It is counted nowhere: what a caller makes up must not become a label.
    connection.sender.sendHeaders(stream, onlyTrailers(Status.UNIMPLEMENTED, `there is no method ${brief(path)}`), true)
    return
  }
  const timeoutMs = timeout === undefined ? undefined : timeoutMsOf(timeout)
  const call = method.definition.requestStream
    ? new MessageStreamCall(connection, stream, method, timeoutMs, authorization, server)
    : new OneMessageCall(connection, stream, method, timeoutMs, authorization, server)
  stream.handler = call
  if (encoding !== 'identity') call.end(Status.UNIMPLEMENTED, `grpc-encoding ${brief(encoding)} is not supported`, identityOnly)
  else if (timeout !== undefined && timeoutMs === undefined) call.end(Status.INTERNAL, 'grpc-timeout is not a valid timeout')
  else call.start()
}
