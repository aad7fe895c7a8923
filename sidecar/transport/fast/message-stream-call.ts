/** A call whose request is a stream of messages, as its answer is: reflection. */
import { GrpcCall } from './call.ts'
import { Http2ErrorCode } from './frames.ts'
import { bytesOfNext, readMessage } from './grpc-message.ts'
import { limits } from './limits.ts'
import { StreamingCall } from './streaming-call.ts'

export class MessageStreamCall extends GrpcCall {
  readonly #handled = new StreamingCall(this)
  /** It failed: what is still to come of its request is read over. */
  #hasFailed = false

  get isOpenEnded(): boolean {
    return !this.#hasFailed
  }

  start(): void {
    this.requested()
    this.#handled.start()
    if (this.stream.remoteClosed) this.onData()
  }

  onWhole(): boolean {
    return false
  }

  onData(): void {
    const { stream, method } = this
    let bytes = stream.joined()
    const had = bytes.length
    while (!this.#hasFailed) {
      const read = readMessage(bytes, limits.messageBytes)
      if (!read) break
      if ('wrong' in read) {
        this.#hasFailed = true
        this.#handled.emit('error', read.wrong)
        break
      }
      bytes = read.rest
      let request: object
      try {
        request = method.definition.requestDeserialize(read.message)
      } catch {
        this.reset(Http2ErrorCode.INTERNAL_ERROR)
        return
      }
      this.requested()
      try {
        this.#handled.emit('data', request)
      } catch (error) {
        this.#hasFailed = true
        this.#handled.fail(error)
      }
    }
    const rest = this.#hasFailed ? bytes.subarray(bytes.length) : bytes
    stream.keep(rest, bytesOfNext(rest))
    this.consumed(had - rest.length)
    if (stream.remoteClosed && !this.#hasFailed) this.#handled.emit('end')
  }

  onReset(): void {
    this.#handled.cancel()
  }

  onDrain(): void {
    this.#handled.drained()
  }
}
