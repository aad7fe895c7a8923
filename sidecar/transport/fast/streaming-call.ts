/** A call whose answer is a stream of messages as its handler has it: a ServerWritableStream, or a ServerDuplexStream, of grpc-js. */
import { EventEmitter } from 'node:events'
import { type Metadata, status as Status } from '@grpc/grpc-js'
import type { GrpcCall } from './call.ts'
import { framed } from './grpc-message.ts'
import { afterTimeout, type HandlerError, metadataOf, ourFault, statusCodeOf, tooLate } from './handled-call.ts'

export class StreamingCall extends EventEmitter {
  /** Undefined where the request is a stream of messages, too: each is a `data` event then. */
  readonly request: object | undefined
  readonly metadata: Metadata
  cancelled = false
  readonly #call: GrpcCall
  #timer: NodeJS.Timeout | undefined
  #isEnded = false

  constructor(call: GrpcCall, request?: object) {
    super()
    this.request = request
    this.metadata = metadataOf(call.stream.headers)
    this.#call = call
    // A handler says so when it cannot go on.
    this.on('error', (error: HandlerError) => this.#finish(error))
  }

  getDeadline(): number {
    return this.#call.deadlineMs
  }

  getPeer(): string {
    return this.#call.server.peer
  }

  getPath(): string {
    return this.#call.method.definition.path
  }

  sendMetadata(): void {}

  /** @returns false when it waits for the caller: there is room again at `drain`. */
  write(response: object): boolean {
    if (this.#isEnded) return true
    return this.#call.write(framed(this.#call.method.definition.responseSerialize(response)))
  }

  end(): void {
    this.#finish(null)
  }

  start(): void {
    this.#timer = afterTimeout(this.#call.timeoutMs, () => this.#finish(tooLate))
    try {
      this.#call.method.handler(this)
    } catch (error) {
      this.fail(error)
    }
  }

  /** Ends the call by a fault of ours. */
  fail(error: unknown): void {
    this.#call.server.onFault(error, 'a call failed')
    this.#finish(ourFault)
  }

  cancel(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    clearTimeout(this.#timer)
    this.#tellCancelled()
    this.#tell('close')
  }

  drained(): void {
    this.#tell('drain')
  }

  #finish(error: HandlerError | null): void {
    if (this.#isEnded) return
    this.#isEnded = true
    clearTimeout(this.#timer)
    const [code, details] = error ? [statusCodeOf(error), error.details ?? error.message ?? ''] : [Status.OK, '']
    this.#call.end(code, details)
    if (code === Status.DEADLINE_EXCEEDED) this.#tellCancelled()
    this.#tell('close')
  }

  #tellCancelled(): void {
    this.cancelled = true
    this.#tell('cancelled', 'cancelled')
  }

  /** Timers and sockets tell of these, too: what a listener throws would end the process there. */
  #tell(event: 'cancelled' | 'close' | 'drain', ...args: string[]): void {
    try {
      this.emit(event, ...args)
    } catch (error) {
      this.#call.server.onFault(error, `a call could not be told of '${event}'`)
    }
  }
}
