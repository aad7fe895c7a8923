/**
 * Calls over streams: finds the method, reads its messages, and gives grpc-js's own handlers the calls they know. A
 * handler cannot tell which transport it is called by.
 */
import { EventEmitter } from 'node:events'
import { Metadata, type MethodDefinition, type ServiceDefinition, status as Status, type UntypedServiceImplementation } from '@grpc/grpc-js'
import type { DirectCall, DirectMethod, TransportOptions } from '../transport.ts'
import type { Connection } from './connection.ts'
import { ErrorCode } from './frames.ts'
import {
  answerHeaders,
  type Extra,
  framed,
  isOneMessage,
  okTrailers,
  onlyTrailers,
  PREFIX_BYTES,
  readMessage,
  timeoutMsOf,
  trailersOf,
} from './grpc-message.ts'
import { encodeHeaders } from './hpack/encoder.ts'
import { limits } from './limits.ts'
import { Kind } from './request-headers.ts'
import type { Stream } from './stream.ts'

// biome-ignore lint/suspicious/noExplicitAny: handlers of every shape, as grpc-js keeps them.
type Handler = (...args: any[]) => void

interface Method {
  definition: MethodDefinition<object, object>
  handler: Handler
  direct: DirectMethod | undefined
}

interface ServiceError {
  code?: Status
  details?: string
  message?: string
}

/** Where services are added, as at a server of grpc-js. */
export class Methods {
  readonly #byPath = new Map<string, Method>()

  addService(service: ServiceDefinition, implementation: UntypedServiceImplementation): void {
    for (const [name, definition] of Object.entries(service)) {
      const handler = implementation[name] ?? implementation[definition.originalName ?? '']
      if (handler)
        this.#byPath.set(definition.path, {
          definition: definition as MethodDefinition<object, object>,
          handler: handler.bind(implementation) as Handler,
          direct: undefined,
        })
    }
  }

  /** @throws Error when there is no such method: its handler answers what the short way does not. */
  addDirect(path: string, direct: DirectMethod): void {
    const method = this.#byPath.get(path)
    if (!method) throw new Error(`there is no method ${path}`)
    method.direct = direct
  }

  find(path: string): Method | undefined {
    return this.#byPath.get(path)
  }
}

const notGrpc = encodeHeaders([
  [':status', '415'],
  ['content-type', 'text/plain'],
])
const NOT_GRPC_TEXT = Buffer.from('This is a gRPC server: content-type must be application/grpc.\n')
const notGrpcTrailers = encodeHeaders([['grpc-status', String(Status.UNKNOWN)]])
const identityOnly = [['grpc-accept-encoding', 'identity']] as const

const codeOf = (error: ServiceError): Status => (typeof error.code === 'number' && error.code in Status ? error.code : Status.UNKNOWN)

/** What grpc-js's calls have in common, and handlers use. */
class Call extends EventEmitter {
  cancelled = false
  readonly metadata: Metadata
  readonly #deadline: number
  readonly #peer: string

  constructor(metadata: Metadata, deadline: number, peer: string) {
    super()
    this.metadata = metadata
    this.#deadline = deadline
    this.#peer = peer
  }

  getDeadline(): number {
    return this.#deadline
  }

  getPeer(): string {
    return this.#peer
  }

  getPath(): string {
    return ''
  }

  sendMetadata(): void {}
}

/** Of a unary call nearly everything is made only if somebody asks. */
class UnaryCall {
  readonly request: object
  readonly #stream: Stream
  readonly #deadline: number
  readonly #peer: string
  #onCancelled: (() => void) | undefined
  cancelled = false

  constructor(request: object, stream: Stream, deadline: number, peer: string) {
    this.request = request
    this.#stream = stream
    this.#deadline = deadline
    this.#peer = peer
  }

  get metadata(): Metadata {
    return metadataOf(this.#stream)
  }

  getDeadline(): number {
    return this.#deadline
  }

  getPeer(): string {
    return this.#peer
  }

  /** There is one event, and one who asks for it. */
  on(_: 'cancelled', listener: () => void): this {
    this.#onCancelled = listener
    return this
  }

  cancel(): void {
    this.cancelled = true
    this.#onCancelled?.()
  }
}

const metadataOf = (stream: Stream): Metadata => {
  const metadata = new Metadata()
  for (const { name, value } of stream.headers) {
    if (name.startsWith(':') || name.startsWith('grpc-') || name === 'te' || name === 'content-type') continue
    try {
      metadata.add(name, name.endsWith('-bin') ? Buffer.from(value, 'base64') : value)
    } catch {
      // What gRPC has no name or value for is not part of the call.
    }
  }
  return metadata
}

export interface CallsOptions {
  methods: Methods
  nowMs: () => number
  peer: string
  onAnswered: TransportOptions['onAnswered']
  onFault: NonNullable<TransportOptions['onFault']>
  refused: TransportOptions['refused']
}

/** Clients say it in one of these ways; others are looked at more closely. */
const isGrpc = (contentType: string): boolean => contentType === 'application/grpc' || /^application\/grpc(\+proto)?(;|$)/.test(contentType)

export const serveCall = (connection: Connection, stream: Stream, options: CallsOptions): void => {
  let path = ''
  let contentType = ''
  let timeout: string | undefined
  let encoding = 'identity'
  let verb = ''
  let authorization: string | undefined
  const { headers } = stream
  for (let n = 0; n < headers.length; n += 1) {
    const { kind, value } = headers[n] as (typeof headers)[number]
    if (kind === Kind.OTHER) continue
    if (kind === Kind.PATH) path = value
    else if (kind === Kind.METHOD) verb = value
    else if (kind === Kind.CONTENT_TYPE) contentType = value
    else if (kind === Kind.TIMEOUT) timeout = value
    else if (kind === Kind.ENCODING) encoding = value
    else if (kind === Kind.AUTHORIZATION) authorization = value
  }
  if (verb !== 'POST' || !isGrpc(contentType)) {
    refuseOther(connection, stream)
    return
  }
  const method = options.methods.find(path)
  const timeoutMs = timeout === undefined ? undefined : timeoutMsOf(timeout)
  if (!method) refuse(connection, stream, Status.UNIMPLEMENTED, `there is no method ${brief(path)}`)
  else if (encoding !== 'identity') refuse(connection, stream, Status.UNIMPLEMENTED, `grpc-encoding ${brief(encoding)} is not supported`, identityOnly)
  else if (timeout !== undefined && timeoutMs === undefined) refuse(connection, stream, Status.INTERNAL, 'grpc-timeout is not a valid timeout')
  else {
    const context: CallContext = { connection, stream, method, timeoutMs, arrivedMs: stream.movedAtMs, authorization, options }
    if (method.definition.requestStream) serveStream(context)
    else if (method.direct && !stream.remoteClosed) {
      stream.context = context
      stream.onWhole = answerInPlace
      stream.onData = serveLater
    } else serveOne(context)
  }
}

interface CallContext {
  connection: Connection
  stream: Stream
  method: Method
  timeoutMs: number | undefined
  /** In milliseconds since the epoch. */
  arrivedMs: number
  authorization: string | undefined
  options: CallsOptions
}

/** In milliseconds since the epoch; infinite without one. */
const deadlineOf = ({ timeoutMs, arrivedMs }: CallContext): number => (timeoutMs === undefined ? Number.POSITIVE_INFINITY : arrivedMs + timeoutMs)

/** Of what a caller sent, in an error. */
const brief = (text: string): string => (text.length > 200 ? `${text.slice(0, 200)}…` : text)

const refuse = (connection: Connection, stream: Stream, code: Status, details: string, extra?: Extra): void => {
  connection.sendHeaders(stream, onlyTrailers(code, details, extra), true)
  drop(connection, stream)
}

/** The request that is answered in place, for `writeMessage`: one at a time, so that nothing is made for it. */
const current = {
  direct: undefined as DirectMethod | undefined,
  bytes: Buffer.alloc(0) as Buffer,
  start: 0,
  end: 0,
  stream: undefined as Stream | undefined,
  call: {
    authorization: undefined as string | undefined,
    header: (name: string): string | undefined => current.stream?.headers.find((one) => one.name === name)?.value,
  } satisfies DirectCall as DirectCall,
}

/** Where large answers are gathered: one at a time. */
let large = Buffer.alloc(0)

const writeMessage = (into: Buffer, at: number): number => {
  const { direct, bytes, start, end, call } = current
  const message = at + PREFIX_BYTES
  let to = -1
  try {
    if (direct) to = direct.answer(bytes, start, end, call, into, message)
  } catch {
    // The handler answers it, and if it cannot either, says why.
    return -1
  }
  if (to < 0) return -1
  into[at] = 0
  into.writeUInt32BE(to - message, at + 1)
  return to
}

/** The short way: the request is one frame, and so is the answer. */
const answerInPlace = (stream: Stream, bytes: Buffer, start: number, end: number): boolean => {
  const { connection, method, authorization } = stream.context as CallContext
  const { direct } = method
  if (!direct || !isOneMessage(bytes, start, end)) return false
  current.direct = direct
  current.bytes = bytes
  current.start = start + PREFIX_BYTES
  current.end = end
  current.stream = stream
  current.call.authorization = authorization
  const maxBytes = PREFIX_BYTES + direct.maxBytes(end - current.start)
  if (maxBytes <= limits.inPlaceBytes) return connection.respondInPlace(stream, answerHeaders, okTrailers, maxBytes, writeMessage)
  if (large.length < maxBytes) large = Buffer.allocUnsafeSlow(maxBytes)
  const to = writeMessage(large, 0)
  if (to >= 0) connection.respond(stream, answerHeaders, Buffer.from(large.subarray(0, to)), okTrailers)
  return to >= 0
}

const serveLater = (stream: Stream): void => serveOne(stream.context as CallContext)

/** Not a call of gRPC: read to its end, and told what is spoken here. */
const refuseOther = (connection: Connection, stream: Stream): void => {
  drop(connection, stream)
  const read = stream.onData
  const answer = () => {
    read?.(stream)
    if (!stream.remoteClosed) return
    stream.onData = undefined
    connection.sendHeaders(stream, notGrpc, false)
    connection.sendData(stream, NOT_GRPC_TEXT)
    connection.sendTrailers(stream, notGrpcTrailers)
  }
  stream.onData = answer
  answer()
}

/** What is left of a request that is answered already is read over. */
const drop = (connection: Connection, stream: Stream): void => {
  const read = () => {
    for (const chunk of stream.takeChunks()) connection.consumed(stream, chunk.length)
  }
  stream.onData = read
  read()
}

/** What has come, as one; `keep` says what of it is kept, and how much there has to be before it is looked at again. */
const take = (stream: Stream): Buffer => (stream.chunks.length === 1 ? (stream.chunks[0] as Buffer) : Buffer.concat(stream.chunks))

const keep = (stream: Stream, rest: Buffer): void => {
  stream.chunks = rest.length > 0 ? [rest] : []
  stream.chunkBytes = rest.length
  stream.neededBytes = rest.length < PREFIX_BYTES ? PREFIX_BYTES : PREFIX_BYTES + rest.readUInt32BE(1)
}

/** A request of one message; the answer is one, or a stream of them. */
const serveOne = (context: CallContext): void => {
  const { connection, stream, authorization, options } = context
  const { definition } = context.method
  const finish = (code: Status, details: string) => connection.sendHeaders(stream, onlyTrailers(code, details), true)
  let isAdmitted = false
  const onData = () => {
    const bytes = take(stream)
    const read = readMessage(bytes, limits.messageBytes)
    if (read && 'wrong' in read) {
      finish(read.wrong.code, read.wrong.details)
      drop(connection, stream)
      return
    }
    if (!stream.remoteClosed) {
      // Nothing is kept for somebody who may not ask.
      const refusal = isAdmitted ? undefined : options.refused?.(definition.path, authorization)
      isAdmitted = true
      if (refusal) {
        finish(refusal.code, refusal.details)
        drop(connection, stream)
        return
      }
      // More than one message is wrong, and is said so when the call ends.
      keep(stream, bytes)
      return
    }
    stream.onData = undefined
    connection.consumed(stream, bytes.length)
    stream.chunks = []
    // It came in several frames: whole now, it may be answered in place as well.
    if (stream.onWhole?.(stream, bytes, 0, bytes.length)) return
    if (!read || read.rest.length > 0) {
      finish(Status.INTERNAL, read ? 'this method takes exactly one message' : 'the call ended before its message was complete')
      return
    }
    let request: object
    try {
      request = definition.requestDeserialize(read.message)
    } catch {
      finish(Status.INTERNAL, 'the message is not of the type that this method takes')
      return
    }
    if (definition.responseStream) startStream(context, request)
    else answerOne(context, request)
  }
  stream.onData = onData
  if (stream.remoteClosed || stream.chunks.length > 0) onData()
}

/** Timers take no longer times. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1
const afterTimeout = (timeoutMs: number | undefined, act: () => void): NodeJS.Timeout | undefined =>
  timeoutMs === undefined ? undefined : setTimeout(act, Math.min(timeoutMs, MAX_TIMEOUT_MS))
const tooLate = { code: Status.DEADLINE_EXCEEDED, details: 'the deadline has passed' }
const ourFault: ServiceError = { code: Status.INTERNAL, details: 'something went wrong on our side' }

const answerOne = (context: CallContext, request: object): void => {
  const { connection, stream, method, timeoutMs, options } = context
  let done = false
  let timer: NodeJS.Timeout | undefined
  const from = performance.now()
  const call = new UnaryCall(request, stream, deadlineOf(context), options.peer)
  /** Undefined when it cannot be sent: that is a failure of this call, and of no other. */
  const messageOf = (response: object | null | undefined): Buffer | undefined => {
    try {
      return framed(method.definition.responseSerialize(response as object))
    } catch (error) {
      options.onFault(error, 'an answer could not be sent')
      return undefined
    }
  }
  const finish = (error: ServiceError | null, response?: object | null) => {
    if (done) return
    done = true
    clearTimeout(timer)
    const message = error ? undefined : messageOf(response)
    const failed = error ?? (message ? undefined : ourFault)
    if (failed) connection.sendHeaders(stream, onlyTrailers(codeOf(failed), failed.details ?? failed.message ?? ''), true)
    else if (message) connection.respond(stream, answerHeaders, message, okTrailers)
    options.onAnswered?.(method.definition.path, 1, (performance.now() - from) / 1000)
  }
  stream.onReset = () => {
    done = true
    clearTimeout(timer)
    call.cancel()
  }
  try {
    method.handler(call, finish)
  } catch (error) {
    options.onFault(error, 'a call failed')
    finish(ourFault)
  }
  // Only a call that has to wait needs an alarm.
  if (!done) timer = afterTimeout(timeoutMs, () => finish(tooLate))
}

/** What grpc-js calls a ServerWritableStream, or a ServerDuplexStream. */
class StreamingCall extends Call {
  request: object | undefined
  #headersSent = false
  #ended = false
  readonly #connection: Connection
  readonly #stream: Stream
  readonly #definition: Method['definition']
  readonly #timer: NodeJS.Timeout | undefined

  constructor(context: CallContext) {
    const { connection, stream, method, timeoutMs, options } = context
    super(metadataOf(stream), deadlineOf(context), options.peer)
    this.#connection = connection
    this.#stream = stream
    this.#definition = method.definition
    this.#timer = afterTimeout(timeoutMs, () => this.#finish(tooLate))
    stream.onReset = () => this.#cancel()
    stream.onDrain = () => this.emit('drain')
    // A handler says so when it cannot go on.
    this.on('error', (error: ServiceError) => this.#finish(error))
  }

  write(response: object): boolean {
    if (this.#ended) return true
    if (!this.#headersSent) this.#connection.sendHeaders(this.#stream, answerHeaders, false)
    this.#headersSent = true
    return this.#connection.sendData(this.#stream, framed(this.#definition.responseSerialize(response)))
  }

  end(): void {
    this.#finish(null)
  }

  #finish(error: ServiceError | null): void {
    if (this.#ended) return
    this.#ended = true
    clearTimeout(this.#timer)
    const [code, details] = error ? [codeOf(error), error.details ?? error.message ?? ''] : [Status.OK, '']
    if (this.#headersSent) this.#connection.sendTrailers(this.#stream, trailersOf(code, details))
    else this.#connection.sendHeaders(this.#stream, onlyTrailers(code, details), true)
    if (code === Status.DEADLINE_EXCEEDED) this.#tellCancelled()
    this.emit('close')
  }

  #cancel(): void {
    if (this.#ended) return
    this.#ended = true
    clearTimeout(this.#timer)
    this.#tellCancelled()
    this.emit('close')
  }

  #tellCancelled(): void {
    this.cancelled = true
    this.emit('cancelled', 'cancelled')
  }
}

const startStream = (context: CallContext, request: object): void => {
  const call = new StreamingCall(context)
  call.request = request
  handleStream(context, call)
}

const handleStream = ({ method, options }: CallContext, call: StreamingCall): void => {
  try {
    method.handler(call)
  } catch (error) {
    options.onFault(error, 'a call failed')
    call.emit('error', ourFault)
  }
}

/** A stream of messages in, and one out: reflection. */
const serveStream = (context: CallContext): void => {
  const { connection, stream, method, options } = context
  const call = new StreamingCall(context)
  const onData = () => {
    let bytes = take(stream)
    const had = bytes.length
    for (;;) {
      const read = readMessage(bytes, limits.messageBytes)
      if (!read) break
      if ('wrong' in read) {
        call.emit('error', read.wrong)
        drop(connection, stream)
        return
      }
      bytes = read.rest
      let request: object
      try {
        request = method.definition.requestDeserialize(read.message)
      } catch {
        connection.reset(stream, ErrorCode.INTERNAL_ERROR)
        return
      }
      try {
        call.emit('data', request)
      } catch (error) {
        options.onFault(error, 'a call failed')
        call.emit('error', ourFault)
        drop(connection, stream)
        return
      }
    }
    keep(stream, bytes)
    connection.consumed(stream, had - bytes.length)
    if (!stream.remoteClosed) return
    stream.onData = undefined
    call.emit('end')
  }
  handleStream(context, call)
  stream.onData = onData
  if (stream.remoteClosed || stream.chunks.length > 0) onData()
}
