/**
 * The server's side of one HTTP/2 connection: RFC 9113. Frames in, each by its type; what is sent of streams goes by
 * `sender`. It knows nothing of gRPC: whoever makes it is told of each request.
 */
import type { Socket } from 'node:net'
import { Budget } from './budget.ts'
import { DEFAULT_WINDOW, ReceiveWindow } from './flow-control.ts'
import { checkForm, dependencyAt, endOfPadded } from './frame-form.ts'
import { FrameReader } from './frame-reader.ts'
import {
  ConnectionError,
  FrameFlag,
  FrameType,
  goAwayFrame,
  Http2ErrorCode,
  pingAck,
  rstStreamFrame,
  Setting,
  StreamError,
  settingsAck,
  settingsFrame,
  windowUpdateFrame,
} from './frames.ts'
import { HeaderBlock } from './header-block.ts'
import { HpackDecoder } from './hpack/decoder.ts'
import { HpackError } from './hpack/hpack-error.ts'
import { staticTable } from './hpack/static-table.ts'
import { limits } from './limits.ts'
import { checkRequestHeaders, checkTrailers, contentLengthOf, type Field, makeField } from './request-headers.ts'
import { Sender } from './sender.ts'
import { SocketWriter } from './socket-writer.ts'
import { Stream } from './stream.ts'
import { Streams } from './streams.ts'
import { Watchdog } from './watchdog.ts'

/** DATA of fewer bytes brings next to nothing. */
const SMALL_DATA_BYTES = 64
const staticFields = staticTable.map(([name, value]) => makeField(name, value))

export interface ConnectionOptions {
  socket: Socket
  nowMs: () => number
  /** A request's headers are complete: the stream is given its handler. */
  onRequest: (connection: Connection, stream: Stream) => void
  onClose: (connection: Connection) => void
  /** A fault of ours: a stream, or the connection, ended by it. */
  onFault: (error: unknown, what: string) => void
  /** Bytes have come, and are read now. */
  onReadBegins: () => void
  /** They have been read, and what they led to at once has been sent. */
  onReadEnds: () => void
}

export class Connection {
  readonly sender: Sender
  readonly #socket: Socket
  readonly #options: ConnectionOptions
  readonly #writer: SocketWriter
  readonly #reader: FrameReader
  readonly #watchdog: Watchdog
  readonly #decoder = new HpackDecoder<Field>({ make: makeField, staticFields, maxTableBytes: limits.headerTableBytes, maxListBytes: limits.headerListBytes })
  readonly #streams = new Streams()
  readonly #receiveWindow = new ReceiveWindow()
  readonly #resets: Budget
  readonly #control: Budget
  #settingsSeen = false
  #block: HeaderBlock | undefined
  #draining = false
  /** The clock's time when the bytes that are being read came. */
  #nowMs: number

  constructor(options: ConnectionOptions) {
    const { socket, nowMs } = options
    this.#options = options
    this.#socket = socket
    this.#nowMs = nowMs()
    this.#watchdog = new Watchdog(this.#nowMs)
    this.#resets = new Budget(limits.resets, this.#nowMs)
    this.#control = new Budget(limits.control, this.#nowMs)
    this.#reader = new FrameReader({ onFrame: (type, flags, streamId, bytes, start, end) => this.#onFrame(type, flags, streamId, bytes, start, end) })
    this.#writer = new SocketWriter(socket, () => this.#orFail(() => this.#onRoom()))
    this.sender = new Sender(this.#writer, { onSent: (stream) => this.#endIfDone(stream), reset: (stream, code) => this.reset(stream, code) }, nowMs)
    socket.on('data', (chunk: Buffer) => this.#onBytes(chunk))
    for (const event of ['error', 'close', 'end']) socket.on(event, () => this.#end())
    this.#writer.write(
      settingsFrame([
        [Setting.MAX_CONCURRENT_STREAMS, limits.concurrentStreams],
        [Setting.INITIAL_WINDOW_SIZE, limits.streamWindow],
        [Setting.MAX_HEADER_LIST_SIZE, limits.headerListBytes],
      ]),
    )
    this.#writer.write(windowUpdateFrame(0, limits.connectionWindow - DEFAULT_WINDOW))
    this.#writer.flush()
  }

  get streamCount(): number {
    return this.#streams.size
  }

  /** The bytes that it makes us hold: messages that have not arrived whole, and answers that have not been accepted. */
  get heldBytes(): number {
    return this.#receiveWindow.heldBytes + this.#reader.pendingBytes + this.#writer.heldBytes + this.sender.queuedBytes
  }

  /** Ends a stream from our side, whatever state it is in. */
  reset(stream: Stream, code: Http2ErrorCode): void {
    this.#writer.write(rstStreamFrame(stream.id, code))
    this.#forget(stream)
    this.#tellReset(stream)
  }

  /** The peer may send again as many bytes as have been read of a stream. */
  consumed(stream: Stream, bytes: number): void {
    if (bytes === 0 || this.#writer.isClosed) return
    this.#giveBack(bytes)
    stream.receiveWindow += bytes
    if (!stream.remoteClosed) this.#writer.write(windowUpdateFrame(stream.id, bytes))
  }

  /** No new streams; the connection ends when those that run are done. */
  drain(): void {
    if (this.#draining || this.#writer.isClosed) return
    this.#draining = true
    this.#writer.write(goAwayFrame(this.#streams.lastId, Http2ErrorCode.NO_ERROR))
    if (this.#streams.size === 0) this.#writer.end()
    else this.#writer.flush()
  }

  destroy(): void {
    this.#socket.destroy()
    this.#end()
  }

  /** Called now and then: ends what has stood still for too long. */
  sweep(nowMs: number): void {
    this.#orFail(() => this.#sweep(nowMs))
  }

  #sweep(nowMs: number): void {
    const unsentBytes = this.#socket.writableLength
    if (this.#watchdog.standsStill(unsentBytes, this.#socket.bytesWritten - unsentBytes, nowMs)) {
      this.destroy()
      return
    }
    for (const stream of this.#streams.values()) {
      // The rest of a request is waited for, unless it is a stream of them; and that an answer is taken, always.
      const waits = stream.queue.length > 0 || (!stream.remoteClosed && !stream.handler?.isOpenEnded)
      if (waits && nowMs - stream.movedAtMs > limits.stallMs) this.reset(stream, Http2ErrorCode.CANCEL)
    }
    this.#writer.flush()
  }

  #onBytes(chunk: Buffer): void {
    if (this.#writer.isClosed) return
    this.#options.onReadBegins()
    this.#nowMs = this.#options.nowMs()
    this.#writer.hold()
    try {
      const gotOn = this.#reader.read(chunk)
      this.#watchdog.read(gotOn, this.#reader.pendingBytes > 0 || this.#block !== undefined, this.#nowMs)
    } catch (error) {
      this.#fail(error)
    }
    this.#writer.release()
    this.#options.onReadEnds()
  }

  #onFrame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): boolean {
    try {
      this.#dispatch(type, flags, streamId, bytes, start, end)
    } catch (error) {
      if (error instanceof StreamError) this.#onStreamError(error)
      else if (error instanceof ConnectionError || error instanceof HpackError) throw error
      // A fault of ours with one call: the others go on.
      else {
        this.#options.onFault(error, 'a call could not be served')
        this.#onStreamError(new StreamError(streamId, Http2ErrorCode.INTERNAL_ERROR, 'the call could not be served'))
      }
    }
    return !this.#writer.isClosed
  }

  #onStreamError({ streamId, code }: StreamError): void {
    const stream = this.#streams.get(streamId)
    if (stream) this.reset(stream, code)
    else {
      this.#writer.write(rstStreamFrame(streamId, code))
      // What the peer has sent of it before it hears of that is still to come.
      this.#streams.refuse(streamId)
    }
    this.#spendReset()
  }

  #dispatch(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    if (!this.#settingsSeen && (type !== FrameType.SETTINGS || (flags & FrameFlag.ACK) !== 0)) {
      throw new ConnectionError(Http2ErrorCode.PROTOCOL_ERROR, 'the first frame must be SETTINGS')
    }
    if (this.#block && (type !== FrameType.CONTINUATION || streamId !== this.#block.streamId)) {
      throw new ConnectionError(Http2ErrorCode.PROTOCOL_ERROR, 'a header block is interrupted')
    }
    switch (type) {
      case FrameType.DATA:
        this.#onData(flags, streamId, bytes, start, end)
        break
      case FrameType.HEADERS:
        this.#onHeaders(flags, streamId, bytes, start, end)
        break
      default:
        this.#onSeldom(type, flags, streamId, bytes.subarray(start, end))
    }
  }

  #onSeldom(type: number, flags: number, streamId: number, payload: Buffer): void {
    checkForm(type, flags, streamId, payload.length)
    switch (type) {
      case FrameType.PRIORITY:
        this.#onPriority(streamId, payload)
        break
      case FrameType.RST_STREAM:
        this.#onRstStream(streamId)
        break
      case FrameType.SETTINGS:
        this.#onSettings(flags, payload)
        break
      case FrameType.PING:
        this.#onPing(flags, payload)
        break
      case FrameType.GOAWAY:
        this.#onGoAway()
        break
      case FrameType.WINDOW_UPDATE:
        this.#onWindowUpdate(streamId, payload)
        break
      case FrameType.CONTINUATION:
        this.#onContinuation(flags, payload)
        break
      default:
        // Section 5.5: frames of unknown types are ignored.
        this.#spendControl()
    }
  }

  /** Section 6.1. */
  #onData(flags: number, streamId: number, bytes: Buffer, frameStart: number, frameEnd: number): void {
    if (streamId === 0) throw new ConnectionError(Http2ErrorCode.PROTOCOL_ERROR, 'DATA belongs to a stream')
    this.#streams.mustNotBeIdle(streamId)
    // Flow control counts the padding, and what comes for streams that have ended.
    const counted = frameEnd - frameStart
    this.#receiveWindow.take(counted)
    const start = (flags & FrameFlag.PADDED) === 0 ? frameStart : frameStart + 1
    const end = (flags & FrameFlag.PADDED) === 0 ? frameEnd : endOfPadded(bytes, frameStart, frameEnd)
    const stream = this.#streams.get(streamId)
    if (!stream || stream.remoteClosed) {
      this.#giveBack(counted)
      if (this.#streams.isLate(streamId)) this.#spendControl()
      return
    }
    this.#receiveWindow.takeOf(stream, counted)
    const length = end - start
    const isLast = (flags & FrameFlag.END_STREAM) !== 0
    // Frames that bring next to nothing cost as much as those that bring much.
    if (length < SMALL_DATA_BYTES && !isLast) this.#spendControl()
    const isFirst = stream.received === 0
    stream.received += length
    stream.movedAtMs = this.#nowMs
    const { contentLength } = stream
    if (contentLength !== undefined && stream.received > contentLength)
      throw new StreamError(streamId, Http2ErrorCode.PROTOCOL_ERROR, 'the body is longer than content-length')
    if (isLast) this.#closeRemote(stream)
    if (isFirst && isLast && stream.handler?.onWhole(bytes, start, end)) {
      this.#giveBack(counted)
      return
    }
    // Padding is read at once.
    if (counted > length) this.consumed(stream, counted - length)
    if (length > 0) stream.addChunk(bytes.subarray(start, end))
    // A message is put together when it is there, not with every piece of it.
    if (isLast || stream.chunkBytes >= stream.neededBytes) stream.handler?.onData()
    this.#endIfDone(stream)
  }

  /** Section 6.2. */
  #onHeaders(flags: number, streamId: number, bytes: Buffer, frameStart: number, frameEnd: number): void {
    if (streamId === 0 || streamId % 2 === 0) throw new ConnectionError(Http2ErrorCode.PROTOCOL_ERROR, 'HEADERS belong to a stream of the client')
    let start = (flags & FrameFlag.PADDED) === 0 ? frameStart : frameStart + 1
    const end = (flags & FrameFlag.PADDED) === 0 ? frameEnd : endOfPadded(bytes, frameStart, frameEnd)
    if ((flags & FrameFlag.PRIORITY) !== 0) {
      if (end - start < 5) throw new ConnectionError(Http2ErrorCode.FRAME_SIZE_ERROR, 'HEADERS are cut off')
      // Read before the block is: whatever is wrong with the stream, the table has to follow.
      if (dependencyAt(bytes, start) === streamId) throw new ConnectionError(Http2ErrorCode.PROTOCOL_ERROR, 'a stream depends on itself')
      start += 5
    }
    if ((flags & FrameFlag.END_HEADERS) !== 0) {
      this.#onBlock(streamId, flags, bytes, start, end)
      return
    }
    this.#block = new HeaderBlock(streamId, flags, bytes.subarray(start, end))
  }

  /** Section 6.10. */
  #onContinuation(flags: number, payload: Buffer): void {
    const block = this.#block
    if (!block) throw new ConnectionError(Http2ErrorCode.PROTOCOL_ERROR, 'CONTINUATION of nothing')
    block.add(payload)
    if ((flags & FrameFlag.END_HEADERS) === 0) return
    this.#block = undefined
    const whole = block.whole()
    this.#onBlock(block.streamId, block.flags, whole, 0, whole.length)
  }

  #onBlock(streamId: number, flags: number, bytes: Buffer, start: number, end: number): void {
    const headers = this.#decoder.decode(bytes, start, end)
    const endStream = (flags & FrameFlag.END_STREAM) !== 0
    const known = this.#streams.get(streamId)
    if (known) {
      if (known.remoteClosed) throw new StreamError(streamId, Http2ErrorCode.STREAM_CLOSED, 'the stream is closed')
      if (!endStream) throw new StreamError(streamId, Http2ErrorCode.PROTOCOL_ERROR, 'trailers must end the stream')
      if (headers) checkTrailers(streamId, headers)
      this.#closeRemote(known)
      known.handler?.onData()
      this.#endIfDone(known)
      return
    }
    if (!this.#streams.begin(streamId)) {
      this.#spendControl()
      return
    }
    if (this.#draining || this.#streams.size >= limits.concurrentStreams)
      throw new StreamError(streamId, Http2ErrorCode.REFUSED_STREAM, 'too many streams are open')
    if (!headers) throw new StreamError(streamId, Http2ErrorCode.ENHANCE_YOUR_CALM, 'the header list is too long')
    checkRequestHeaders(streamId, headers)
    const stream = new Stream(streamId, headers, contentLengthOf(streamId, headers), this.sender.window.initial, limits.streamWindow, this.#nowMs)
    this.#streams.add(stream)
    if (endStream) this.#closeRemote(stream)
    this.#options.onRequest(this, stream)
    this.#endIfDone(stream)
  }

  #closeRemote(stream: Stream): void {
    stream.remoteClosed = true
    if (stream.contentLength !== undefined && stream.received !== stream.contentLength) {
      throw new StreamError(stream.id, Http2ErrorCode.PROTOCOL_ERROR, 'the body is shorter than content-length')
    }
  }

  /** Section 6.3: read for its form, and otherwise ignored. */
  #onPriority(streamId: number, payload: Buffer): void {
    this.#spendControl()
    if (dependencyAt(payload, 0) === streamId) throw new StreamError(streamId, Http2ErrorCode.PROTOCOL_ERROR, 'a stream depends on itself')
  }

  /** Section 6.4. */
  #onRstStream(streamId: number): void {
    this.#streams.mustNotBeIdle(streamId)
    const stream = this.#streams.get(streamId)
    if (!stream) {
      this.#spendControl()
      return
    }
    this.#spendReset()
    stream.remoteClosed = true
    this.#forget(stream)
    this.#tellReset(stream)
  }

  /** Section 6.5. */
  #onSettings(flags: number, payload: Buffer): void {
    if ((flags & FrameFlag.ACK) !== 0) return
    this.#settingsSeen = true
    this.#watchdog.begun()
    this.#spendControl()
    for (let at = 0; at < payload.length; at += 6) this.#onSetting(payload.readUInt16BE(at), payload.readUInt32BE(at + 2))
    this.#writer.write(settingsAck)
    this.sender.pumpWaiting()
  }

  #onSetting(id: number, value: number): void {
    switch (id) {
      case Setting.ENABLE_PUSH:
        if (value > 1) throw new ConnectionError(Http2ErrorCode.PROTOCOL_ERROR, 'ENABLE_PUSH is 0 or 1')
        return
      case Setting.INITIAL_WINDOW_SIZE:
        this.sender.window.setInitial(value, this.#streams.values())
        return
      case Setting.MAX_FRAME_SIZE:
        this.sender.window.setFrameBytes(value)
        return
      default:
        // Our blocks add nothing to the peer's table, and we push nothing: its size and its streams are all the same to us.
        return
    }
  }

  /** Section 6.7. */
  #onPing(flags: number, payload: Buffer): void {
    this.#spendControl()
    if ((flags & FrameFlag.ACK) === 0) this.#writer.write(pingAck(payload))
  }

  /** Section 6.8. */
  #onGoAway(): void {
    this.#draining = true
    if (this.#streams.size === 0) this.#writer.end()
  }

  /** Section 6.9. */
  #onWindowUpdate(streamId: number, payload: Buffer): void {
    const { window } = this.sender
    if (!window.spendCredit()) this.#spendControl()
    const increment = payload.readUInt32BE(0) & 0x7fffffff
    if (streamId === 0) {
      window.grow(increment)
      this.sender.pumpWaiting()
      return
    }
    this.#streams.mustNotBeIdle(streamId)
    if (increment === 0) throw new StreamError(streamId, Http2ErrorCode.PROTOCOL_ERROR, 'a window grows by something')
    const stream = this.#streams.get(streamId)
    if (!stream) return
    window.growOf(stream, increment)
    this.sender.pump(stream)
  }

  /** Also when the socket ends, where nobody would catch what it throws. */
  #tellReset({ handler }: Stream): void {
    try {
      handler?.onReset()
    } catch (error) {
      this.#options.onFault(error, 'a call could not be told that it is over')
    }
  }

  #endIfDone(stream: Stream): void {
    if (!stream.localClosed || !this.#streams.has(stream)) return
    // Section 8.1: an answer that does not need the rest of the request says so.
    if (!stream.remoteClosed) this.#writer.write(rstStreamFrame(stream.id, Http2ErrorCode.NO_ERROR))
    this.#forget(stream)
  }

  #forget(stream: Stream): void {
    this.#streams.delete(stream)
    this.sender.forget(stream)
    stream.localClosed = true
    if (stream.chunks.length > 0) {
      // What it held of the connection's window is the connection's again.
      this.#giveBack(stream.chunkBytes)
      stream.takeChunks()
    }
    if (this.#draining && this.#streams.size === 0 && !this.#writer.isClosed) this.#writer.end()
  }

  #giveBack(bytes: number): void {
    const grown = this.#receiveWindow.giveBack(bytes)
    if (grown > 0) this.#writer.write(windowUpdateFrame(0, grown))
  }

  #spendReset(): void {
    if (!this.#resets.spend(this.#options.nowMs())) throw new ConnectionError(Http2ErrorCode.ENHANCE_YOUR_CALM, 'too many streams are reset')
  }

  #spendControl(): void {
    if (!this.#control.spend(this.#options.nowMs())) throw new ConnectionError(Http2ErrorCode.ENHANCE_YOUR_CALM, 'too many frames without effect')
  }

  #fail(error: unknown): void {
    if (this.#writer.isClosed) return
    const code = error instanceof ConnectionError ? error.code : error instanceof HpackError ? Http2ErrorCode.COMPRESSION_ERROR : Http2ErrorCode.INTERNAL_ERROR
    if (code === Http2ErrorCode.INTERNAL_ERROR) this.#options.onFault(error, 'a connection could not be served')
    this.#writer.write(goAwayFrame(this.#streams.lastId, code, error instanceof Error ? error.message : ''))
    this.#writer.end()
    this.#end()
  }

  /** Runs an act that no incoming bytes have called: nobody else would catch what it throws. */
  #orFail(act: () => void): void {
    try {
      act()
    } catch (error) {
      this.#fail(error)
    }
  }

  #onRoom(): void {
    this.#writer.resume()
    this.sender.pumpWaiting()
  }

  #end(): void {
    if (this.#writer.isClosed) return
    this.#writer.close()
    this.#reader.clear()
    for (const stream of this.#streams.values()) {
      stream.localClosed = true
      this.#tellReset(stream)
    }
    this.#streams.clear()
    this.sender.clear()
    this.#options.onClose(this)
  }
}
