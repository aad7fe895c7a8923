/** A call whose request is one message. The answer is one, or a stream of them. */
import { status as Status } from '@grpc/grpc-js'
import { GrpcCall } from './call.ts'
import { bytesOfNext, readMessage } from './grpc-message.ts'
import { limits } from './limits.ts'
import { StreamingCall } from './streaming-call.ts'
import { UnaryCall } from './unary-call.ts'

export class OneMessageCall extends GrpcCall {
  #isAdmitted = false
  /** The short way has been tried, and did not answer it. */
  #needsHandler = false
  /** The call that the method's handler has been given, once it has been called. */
  #handled: UnaryCall | StreamingCall | undefined

  get isOpenEnded(): boolean {
    return false
  }

  start(): void {
    // A request without any DATA has come already.
    if (this.stream.remoteClosed) this.onData()
  }

  onWhole(bytes: Buffer, start: number, end: number): boolean {
    if (this.server.inPlace.answer(this, bytes, start, end)) return true
    this.#needsHandler = true
    return false
  }

  onData(): void {
    const { stream, method } = this
    const bytes = stream.joined()
    const read = readMessage(bytes, limits.messageBytes)
    if (read && 'wrong' in read) {
      this.end(read.wrong.code, read.wrong.details)
      return
    }
    if (!stream.remoteClosed) {
      // More than one message is wrong, and is said so when the call ends.
      if (this.#admit()) stream.keep(bytes, bytesOfNext(bytes))
      return
    }
    this.consumed(bytes.length)
    stream.takeChunks()
    // It came in several frames: whole now, it may be answered in place as well.
    if (!this.#needsHandler && this.onWhole(bytes, 0, bytes.length)) return
    if (!read || read.rest.length > 0) {
      this.end(Status.INTERNAL, read ? 'this method takes exactly one message' : 'the call ended before its message was complete')
      return
    }
    let request: object
    try {
      request = method.definition.requestDeserialize(read.message)
    } catch {
      this.end(Status.INTERNAL, 'the message is not of the type that this method takes')
      return
    }
    this.requested()
    this.#handled = method.definition.responseStream ? new StreamingCall(this, request) : new UnaryCall(this, request)
    this.#handled.start()
  }

  onReset(): void {
    this.#handled?.cancel()
  }

  onDrain(): void {
    this.#handled?.drained()
  }

  /** Nothing is kept for somebody who may not ask. @returns false when it is refused. */
  #admit(): boolean {
    if (this.#isAdmitted) return true
    this.#isAdmitted = true
    const refusal = this.server.refused?.(this.method.definition.path, this.authorization)
    if (refusal) this.end(refusal.code, refusal.details)
    return refusal === undefined
  }
}
