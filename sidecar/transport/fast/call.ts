/**
 * A call of a method: what came with it, and the only way by which its answer leaves, so that every answer is counted,
 * and none twice. How the request is read is for those that extend it.
 */
import type { status as Status } from '@grpc/grpc-js'
import type { TransportOptions } from '../transport.ts'
import type { AnswerTimes } from './answer-times.ts'
import type { Connection } from './connection.ts'
import type { Http2ErrorCode } from './frames.ts'
import { answerHeaders, type Extra, okTrailers, onlyTrailers, trailersOf } from './grpc-message.ts'
import type { InPlace } from './in-place.ts'
import type { Method, Methods } from './methods.ts'
import type { Stream, StreamHandler } from './stream.ts'

/** The parts that the calls of one connection share. */
export interface CallServer {
  methods: Methods
  /** Address and port of the caller. */
  peer: string
  inPlace: InPlace
  answers: AnswerTimes
  refused: TransportOptions['refused']
  onFault: TransportOptions['onFault']
}

export abstract class GrpcCall implements StreamHandler {
  readonly stream: Stream
  readonly method: Method
  readonly timeoutMs: number | undefined
  readonly authorization: string | undefined
  readonly server: CallServer
  readonly #connection: Connection
  readonly #arrivedMs: number
  /** The time of the request by `performance.now()`; undefined while it is being read. */
  #requestedAt: number | undefined
  /** The first part of the answer has left. */
  #hasAnswered = false

  constructor(connection: Connection, stream: Stream, method: Method, timeoutMs: number | undefined, authorization: string | undefined, server: CallServer) {
    this.stream = stream
    this.method = method
    this.timeoutMs = timeoutMs
    this.authorization = authorization
    this.server = server
    this.#connection = connection
    this.#arrivedMs = stream.movedAtMs
  }

  /** Its request may be read from now on. */
  abstract start(): void
  abstract get isOpenEnded(): boolean
  abstract onWhole(bytes: Buffer, start: number, end: number): boolean
  abstract onData(): void
  abstract onReset(): void
  abstract onDrain(): void

  /** The deadline in milliseconds since the epoch; infinite without one. */
  get deadlineMs(): number {
    return this.timeoutMs === undefined ? Number.POSITIVE_INFINITY : this.#arrivedMs + this.timeoutMs
  }

  /** A message of the request has come whole: from here on its answer takes time. */
  requested(): void {
    this.#requestedAt = performance.now()
  }

  /** The whole answer, written where it is sent from. @returns false when it could not be: nothing is sent. */
  respondInPlace(maxBytes: number, write: (into: Buffer, at: number) => number): boolean {
    const isSent = this.#connection.sender.respondInPlace(this.stream, answerHeaders, okTrailers, maxBytes, write)
    if (isSent) this.#answered()
    return isSent
  }

  /** The whole answer. @param message with its prefix. */
  respond(message: Buffer): void {
    this.#connection.sender.respond(this.stream, answerHeaders, message, okTrailers)
    this.#answered()
  }

  /** One of many messages, with its prefix. @returns false when it waits for the caller: `onDrain` tells when there is room. */
  write(message: Buffer): boolean {
    if (!this.#hasAnswered) this.#connection.sender.sendHeaders(this.stream, answerHeaders, false)
    this.#answered()
    return this.#connection.sender.sendData(this.stream, message)
  }

  /** The end of the answer, or all of it. */
  end(code: Status, details: string, extra?: Extra): void {
    if (this.#hasAnswered) this.#connection.sender.sendTrailers(this.stream, trailersOf(code, details, extra))
    else this.#connection.sender.sendHeaders(this.stream, onlyTrailers(code, details, extra), true)
    this.#answered()
  }

  /** Ends it without an answer. */
  reset(code: Http2ErrorCode): void {
    this.#connection.reset(this.stream, code)
  }

  /** So much of the request has been read. */
  consumed(bytes: number): void {
    this.#connection.consumed(this.stream, bytes)
  }

  #answered(): void {
    if (this.#hasAnswered) return
    this.#hasAnswered = true
    this.server.answers.add(this.method, this.#requestedAt)
  }
}
