/**
 * The short way: a method's answer is written from the bytes of the request to where it is sent from. One call at a
 * time, so that nothing is made for it.
 */
import type { DirectCall, DirectMethod, TransportOptions } from '../transport.ts'
import { isOneMessage, PREFIX_BYTES } from './grpc-message.ts'
import { limits } from './limits.ts'
import type { Method } from './methods.ts'
import type { Stream } from './stream.ts'

const nothing = Buffer.alloc(0)

/** The parts of a call that are needed to answer it. */
export interface InPlaceCall {
  readonly stream: Stream
  readonly method: Method
  readonly authorization: string | undefined
  respondInPlace(maxBytes: number, write: (into: Buffer, at: number) => number): boolean
  respond(message: Buffer): void
}

export class InPlace {
  readonly #onFault: TransportOptions['onFault']
  /** The request that is being answered. */
  #direct: DirectMethod | undefined
  #stream: Stream | undefined
  #bytes: Buffer = nothing
  #start = 0
  #end = 0
  readonly #call: DirectCall = {
    authorization: undefined,
    header: (name) => this.#stream?.headers.find((one) => one.name === name)?.value,
  }
  /** Large answers are gathered here. */
  #large = nothing

  constructor(onFault: TransportOptions['onFault']) {
    this.#onFault = onFault
  }

  /** @returns false when the request is not one whole message, or the method leaves it to its handler. */
  answer(call: InPlaceCall, bytes: Buffer, start: number, end: number): boolean {
    const { direct } = call.method
    if (!direct || !isOneMessage(bytes, start, end)) return false
    this.#direct = direct
    this.#stream = call.stream
    this.#bytes = bytes
    this.#start = start + PREFIX_BYTES
    this.#end = end
    this.#call.authorization = call.authorization
    const maxBytes = PREFIX_BYTES + direct.maxBytes(end - this.#start)
    if (maxBytes <= limits.inPlaceBytes) return call.respondInPlace(maxBytes, this.#write)
    if (this.#large.length < maxBytes) this.#large = Buffer.allocUnsafeSlow(maxBytes)
    const to = this.#write(this.#large, 0)
    if (to >= 0) call.respond(Buffer.from(this.#large.subarray(0, to)))
    return to >= 0
  }

  /** Writes the answer with its prefix. @returns where it ends; -1 when it is left to the handler. */
  readonly #write = (into: Buffer, at: number): number => {
    const message = at + PREFIX_BYTES
    let to = -1
    try {
      if (this.#direct) to = this.#direct.answer(this.#bytes, this.#start, this.#end, this.#call, into, message)
    } catch (error) {
      // The handler may still answer it.
      this.#onFault(error, 'a call could not be answered in place')
      return -1
    }
    if (to < 0) return -1
    into[at] = 0
    into.writeUInt32BE(to - message, at + 1)
    return to
  }
}
