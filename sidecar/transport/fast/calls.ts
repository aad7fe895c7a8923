/**
 * Calls over streams: finds the method, reads its messages, and gives grpc-js's own handlers the calls they know. A
 * handler cannot tell which transport it is called by.
 */
import { EventEmitter } from 'node:events'
import { Metadata, type MethodDefinition, type ServiceDefinition, status as Status, type UntypedServiceImplementation } from '@grpc/grpc-js'
import type { Connection } from './connection.ts'
import { ErrorCode } from './frames.ts'
import { answerHeaders, type Extra, framed, okTrailers, onlyTrailers, readMessage, timeoutMsOf, trailersOf } from './grpc-message.ts'
import { encodeHeaders } from './hpack/encoder.ts'
import { limits } from './limits.ts'
import type { Stream } from './stream.ts'

// biome-ignore lint/suspicious/noExplicitAny: handlers of every shape, as grpc-js keeps them.
type Handler = (...args: any[]) => void

interface Method {
  definition: MethodDefinition<object, object>
  handler: Handler
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
        this.#byPath.set(definition.path, { definition: definition as MethodDefinition<object, object>, handler: handler.bind(implementation) as Handler })
    }
  }

  find(path: string): Method | undefined {
    return this.#byPath.get(path)
  }
}

const notGrpc = encodeHeaders([
  [':status', '415'],
  ['content-type', 'text/plain'],
])
const NOT_GRPC_TEXT = Buffer.from('This is a gRPC server: content-type has to be application/grpc.\n')
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
}

const metadataOf = (stream: Stream): Metadata => {
  const metadata = new Metadata()
  for (const [name, value] of stream.headers) {
    if (name.startsWith(':') || name.startsWith('grpc-') || name === 'te' || name === 'content-type') continue
    metadata.add(name, name.endsWith('-bin') ? Buffer.from(value, 'base64') : value)
  }
  return metadata
}

export interface CallsOptions {
  methods: Methods
  nowMs: () => number
  peer: string
}

export const serveCall = (connection: Connection, stream: Stream, { methods, nowMs, peer }: CallsOptions): void => {
  let path = ''
  let contentType = ''
  let timeout: string | undefined
  let encoding = 'identity'
  let verb = ''
  for (const [name, value] of stream.headers) {
    if (name === ':path') path = value
    else if (name === ':method') verb = value
    else if (name === 'content-type') contentType = value
    else if (name === 'grpc-timeout') timeout = value
    else if (name === 'grpc-encoding') encoding = value
  }
  if (verb !== 'POST' || !/^application\/grpc(\+proto)?(;|$)/.test(contentType)) {
    refuseOther(connection, stream)
    return
  }
  const method = methods.find(path)
  const timeoutMs = timeout === undefined ? undefined : timeoutMsOf(timeout)
  const wrong = ((): { code: Status; details: string; extra?: Extra } | undefined => {
    if (!method) return { code: Status.UNIMPLEMENTED, details: `there is no method ${path}` }
    if (encoding !== 'identity') return { code: Status.UNIMPLEMENTED, details: `grpc-encoding ${encoding} is not taken`, extra: identityOnly }
    return timeout !== undefined && timeoutMs === undefined ? { code: Status.INTERNAL, details: 'grpc-timeout is not a timeout' } : undefined
  })()
  if (!method || wrong) {
    connection.sendHeaders(stream, onlyTrailers(wrong?.code ?? Status.UNIMPLEMENTED, wrong?.details ?? '', wrong?.extra), true)
    drop(connection, stream)
    return
  }
  const deadline = timeoutMs === undefined ? Number.POSITIVE_INFINITY : nowMs() + timeoutMs
  const context: CallContext = { connection, stream, method, deadline, timeoutMs, peer }
  if (method.definition.requestStream) serveStream(context)
  else serveOne(context)
}

interface CallContext {
  connection: Connection
  stream: Stream
  method: Method
  /** In milliseconds since the epoch; infinite without one. */
  deadline: number
  timeoutMs: number | undefined
  peer: string
}

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
    for (const chunk of stream.chunks.splice(0)) connection.consumed(stream, chunk.length)
  }
  stream.onData = read
  read()
}

const take = (stream: Stream): Buffer => {
  const bytes = stream.chunks.length === 1 ? (stream.chunks[0] as Buffer) : Buffer.concat(stream.chunks)
  stream.chunks = bytes.length > 0 ? [bytes] : []
  return bytes
}

/** A request of one message; the answer is one, or a stream of them. */
const serveOne = (context: CallContext): void => {
  const { connection, stream } = context
  const { definition } = context.method
  const finish = (code: Status, details: string) => connection.sendHeaders(stream, onlyTrailers(code, details), true)
  const onData = () => {
    const bytes = take(stream)
    const read = readMessage(bytes, limits.messageBytes)
    if (read && 'wrong' in read) {
      finish(read.wrong.code, read.wrong.details)
      drop(connection, stream)
      return
    }
    if (!stream.remoteClosed) return
    stream.onData = undefined
    connection.consumed(stream, bytes.length)
    stream.chunks = []
    if (!read || read.rest.length > 0) {
      finish(Status.INTERNAL, read ? 'the call takes one message' : 'the call ended before its message did')
      return
    }
    let request: object
    try {
      request = definition.requestDeserialize(read.message)
    } catch {
      finish(Status.INTERNAL, 'the message is not of the type that the method takes')
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
const tooLate = { code: Status.DEADLINE_EXCEEDED, details: 'the deadline is over' }

const answerOne = ({ connection, stream, method, deadline, timeoutMs, peer }: CallContext, request: object): void => {
  let done = false
  let timer: NodeJS.Timeout | undefined
  const call = new UnaryCall(request, stream, deadline, peer)
  const finish = (error: ServiceError | null, response?: object | null) => {
    if (done) return
    done = true
    clearTimeout(timer)
    if (error) connection.sendHeaders(stream, onlyTrailers(codeOf(error), error.details ?? error.message ?? ''), true)
    else connection.respond(stream, answerHeaders, framed(method.definition.responseSerialize(response as object)), okTrailers)
  }
  stream.onReset = () => {
    done = true
    call.cancelled = true
    clearTimeout(timer)
  }
  method.handler(call, finish)
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

  constructor({ connection, stream, method, deadline, timeoutMs, peer }: CallContext) {
    super(metadataOf(stream), deadline, peer)
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
  context.method.handler(call)
}

/** A stream of messages in, and one out: reflection. */
const serveStream = (context: CallContext): void => {
  const { connection, stream, method } = context
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
      try {
        call.emit('data', method.definition.requestDeserialize(read.message))
      } catch {
        connection.reset(stream, ErrorCode.INTERNAL_ERROR)
        return
      }
    }
    stream.chunks = bytes.length > 0 ? [bytes] : []
    connection.consumed(stream, had - bytes.length)
    if (!stream.remoteClosed) return
    stream.onData = undefined
    call.emit('end')
  }
  method.handler(call)
  stream.onData = onData
  if (stream.remoteClosed || stream.chunks.length > 0) onData()
}
