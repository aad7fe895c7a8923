/** A call of a unary method as its handler has it, as grpc-js would give it. Nearly all of it is made only if somebody asks. */
import type { Metadata } from '@grpc/grpc-js'
import type { GrpcCall } from './call.ts'
import { framed } from './grpc-message.ts'
import { afterTimeout, type HandlerError, metadataOf, ourFault, statusCodeOf, tooLate } from './handled-call.ts'

export class UnaryCall {
  readonly request: object
  readonly #call: GrpcCall
  #onCancelled: (() => void) | undefined
  #timer: NodeJS.Timeout | undefined
  #isDone = false
  cancelled = false

  constructor(call: GrpcCall, request: object) {
    this.#call = call
    this.request = request
  }

  get metadata(): Metadata {
    return metadataOf(this.#call.stream.headers)
  }

  getDeadline(): number {
    return this.#call.deadlineMs
  }

  getPeer(): string {
    return this.#call.server.peer
  }

  /** There is one event, and one who asks for it. */
  on(_: 'cancelled', listener: () => void): this {
    this.#onCancelled = listener
    return this
  }

  start(): void {
    const { method, timeoutMs, server } = this.#call
    try {
      method.handler(this, (error: HandlerError | null, response?: object | null) => this.#finish(error, response))
    } catch (error) {
      server.onFault(error, 'a call failed')
      this.#finish(ourFault)
    }
    // Only a call that has to wait needs an alarm.
    if (!this.#isDone) this.#timer = afterTimeout(timeoutMs, () => this.#finish(tooLate))
  }

  cancel(): void {
    this.#isDone = true
    clearTimeout(this.#timer)
    this.cancelled = true
    this.#onCancelled?.()
  }

  drained(): void {}

  #finish(error: HandlerError | null, response?: object | null): void {
    if (this.#isDone) return
    this.#isDone = true
    clearTimeout(this.#timer)
    const message = error ? undefined : this.#messageOf(response)
    const failed = error ?? (message ? undefined : ourFault)
    if (failed) this.#call.end(statusCodeOf(failed), failed.details ?? failed.message ?? '')
    else if (message) this.#call.respond(message)
  }

  /** Undefined when it cannot be sent: that is a failure of this call, and of no other. */
  #messageOf(response: object | null | undefined): Buffer | undefined {
    const { method, server } = this.#call
    try {
      return framed(method.definition.responseSerialize(response as object))
    } catch (error) {
      server.onFault(error, 'an answer could not be sent')
      return undefined
    }
  }
}
