/** A request that is not a call of gRPC: read to its end, and told what is spoken here. */
import { status as Status } from '@grpc/grpc-js'
import type { Connection } from './connection.ts'
import { encodeHeaders } from './hpack/encoder.ts'
import type { Stream, StreamHandler } from './stream.ts'

const headers = encodeHeaders([
  [':status', '415'],
  ['content-type', 'text/plain'],
])
const TEXT = Buffer.from('This is a gRPC server: content-type must be application/grpc.\n')
const trailers = encodeHeaders([['grpc-status', String(Status.UNKNOWN)]])

export class NotGrpc implements StreamHandler {
  readonly isOpenEnded = false
  readonly #connection: Connection
  readonly #stream: Stream

  constructor(connection: Connection, stream: Stream) {
    this.#connection = connection
    this.#stream = stream
  }

  onWhole(): boolean {
    return false
  }

  onData(): void {
    for (const chunk of this.#stream.takeChunks()) this.#connection.consumed(this.#stream, chunk.length)
    if (!this.#stream.remoteClosed) return
    this.#connection.sender.sendHeaders(this.#stream, headers, false)
    this.#connection.sender.sendData(this.#stream, TEXT)
    this.#connection.sender.sendTrailers(this.#stream, trailers)
  }

  onReset(): void {}

  onDrain(): void {}
}
