/**
 * The server's side of one HTTP/2 connection: RFC 9113. Bytes in, frames out. All answers to what one read brought leave
 * in one write. It knows nothing of gRPC: whoever makes it is told of each request.
 */
import type { Socket } from 'node:net'
import { Budget } from './budget.ts'
import {
  ConnectionError,
  ErrorCode,
  Flag,
  FRAME_HEADER_BYTES,
  FrameType,
  frame,
  goAwayFrame,
  pingAck,
  rstStreamFrame,
  Setting,
  StreamError,
  settingsAck,
  settingsFrame,
  windowUpdateFrame,
  writeFrameHeader,
} from './frames.ts'
import { HpackDecoder } from './hpack/decoder.ts'
import { HpackError } from './hpack/hpack-error.ts'
import { staticTable } from './hpack/static-table.ts'
import { limits } from './limits.ts'
import { Output } from './output.ts'
import { checkRequestHeaders, checkTrailers, contentLengthOf, type Field, makeField } from './request-headers.ts'
import { Stream } from './stream.ts'
import { StreamTable } from './stream-table.ts'

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
const DEFAULT_WINDOW = 65_535
const MAX_WINDOW = 2 ** 31 - 1
const SMALL_DATA_BYTES = 64
/** Ids of streams that ended lately: what still comes for them is late, or wrong. */
const REMEMBERED = 256
const staticFields = staticTable.map(([name, value]) => makeField(name, value))

interface HeaderBlock {
  streamId: number
  flags: number
  parts: Buffer[]
  bytes: number
  frames: number
}

export interface ConnectionOptions {
  socket: Socket
  nowMs: () => number
  /** A request's headers are complete. */
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
  readonly #socket: Socket
  readonly #options: ConnectionOptions
  readonly #decoder = new HpackDecoder<Field>({ make: makeField, staticFields, maxTableBytes: limits.headerTableBytes, maxListBytes: limits.headerListBytes })
  readonly #streams = new StreamTable()
  readonly #ended = new Int32Array(REMEMBERED)
  #endedAt = 0
  /** While the peer had not: what it sent before it heard of that is read over. */
  readonly #endedByUs = new Int32Array(REMEMBERED)
  #endedByUsAt = 0
  readonly #resets: Budget
  readonly #control: Budget
  #pending: Buffer | undefined
  #prefaceDone = false
  #settingsSeen = false
  readonly #output = new Output()
  #flushAsked = false
  #reading = false
  /** A header block that is not complete: nothing else may come before it is. */
  #block: HeaderBlock | undefined
  #lastStreamId = 0
  #sendWindow = DEFAULT_WINDOW
  /** WINDOW_UPDATE frames that the peer has good reason for: of the stream and of the connection, for each DATA that it was sent. */
  #windowCredit = 0
  /** Streams with something to send that waits for a window, or for the peer to read. */
  readonly #waitingStreams = new Set<Stream>()
  #receiveWindow: number = limits.connectionWindow
  /** What of the connection's window has been read, and not given back yet. */
  #owed = 0
  #peerInitialWindow = DEFAULT_WINDOW
  #peerFrameBytes = 16_384
  #draining = false
  #closed = false
  readonly #openedAtMs: number
  /** It does not read: neither do we, so that what it asks for cannot pile up. */
  #paused = false
  /** Streams have more to send than the socket takes. */
  #waiting = false
  /** What had been sent when it was last looked at, and since when that is all. */
  #sentBytes = 0
  #stuckSinceMs: number | undefined
  /** A frame or a header block has begun, and not ended. */
  #cutOffSinceMs: number | undefined
  /** By the clock, when the bytes that are being read came. */
  #nowMs: number

  constructor(options: ConnectionOptions) {
    this.#options = options
    this.#socket = options.socket
    this.#openedAtMs = options.nowMs()
    this.#nowMs = this.#openedAtMs
    this.#resets = new Budget(limits.resets, this.#openedAtMs)
    this.#control = new Budget(limits.control, this.#openedAtMs)
    this.#socket.on('data', (chunk: Buffer) => this.#onBytes(chunk))
    this.#socket.on('drain', () => this.#orFail(() => this.#onDrain()))
    this.#socket.on('error', () => this.#end())
    this.#socket.on('close', () => this.#end())
    this.#socket.on('end', () => this.#end())
    this.#write(
      settingsFrame([
        [Setting.MAX_CONCURRENT_STREAMS, limits.concurrentStreams],
        [Setting.INITIAL_WINDOW_SIZE, limits.streamWindow],
        [Setting.MAX_HEADER_LIST_SIZE, limits.headerListBytes],
      ]),
    )
    this.#write(windowUpdateFrame(0, limits.connectionWindow - DEFAULT_WINDOW))
    this.#flush()
  }

  get streamCount(): number {
    return this.#streams.size
  }

  /** What it makes us hold: messages that have not come whole, and answers that have not been taken. */
  get heldBytes(): number {
    let bytes = limits.connectionWindow - this.#receiveWindow + (this.#pending?.length ?? 0) + this.#output.length + this.#socket.writableLength
    for (const { queuedBytes } of this.#waitingStreams) bytes += queuedBytes
    return bytes
  }

  /** HEADERS, DATA and trailers of a whole answer, in one go where the windows allow it. */
  respond(stream: Stream, headers: Buffer, message: Buffer, trailers: Buffer): void {
    if (stream.localClosed || this.#closed) return
    const bytes = message.length
    if (stream.queue.length > 0 || bytes > this.#sendWindow || bytes > stream.sendWindow || bytes > this.#peerFrameBytes) {
      this.sendHeaders(stream, headers, false)
      this.sendData(stream, message)
      this.sendTrailers(stream, trailers)
      return
    }
    const into = this.#output.room(3 * FRAME_HEADER_BYTES + headers.length + bytes + trailers.length)
    let at = writeFrameHeader(into, this.#output.at, headers.length, FrameType.HEADERS, Flag.END_HEADERS, stream.id)
    at += headers.copy(into, at)
    at = writeFrameHeader(into, at, bytes, FrameType.DATA, 0, stream.id)
    at += message.copy(into, at)
    at = writeFrameHeader(into, at, trailers.length, FrameType.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, stream.id)
    at += trailers.copy(into, at)
    this.#wrote(at)
    this.#sent(stream, bytes)
    stream.localClosed = true
    this.#endIfDone(stream)
  }

  /**
   * A whole answer, its message written where it is sent from.
   * @param write writes the message at `at`, and says where it ends; -1 when it cannot.
   * @returns false when it could not: nothing is sent, and the stream is as it was.
   */
  respondInPlace(stream: Stream, headers: Buffer, trailers: Buffer, maxBytes: number, write: (into: Buffer, at: number) => number): boolean {
    if (stream.queue.length > 0 || maxBytes > this.#sendWindow || maxBytes > stream.sendWindow || maxBytes > this.#peerFrameBytes) return false
    const into = this.#output.room(3 * FRAME_HEADER_BYTES + headers.length + maxBytes + trailers.length)
    const data = writeFrameHeader(into, this.#output.at, headers.length, FrameType.HEADERS, Flag.END_HEADERS, stream.id) + headers.length
    const start = data + FRAME_HEADER_BYTES
    const end = write(into, start)
    if (end < 0) return false
    into.set(headers, data - headers.length)
    writeFrameHeader(into, data, end - start, FrameType.DATA, 0, stream.id)
    const at = writeFrameHeader(into, end, trailers.length, FrameType.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, stream.id)
    into.set(trailers, at)
    this.#wrote(at + trailers.length)
    this.#sent(stream, end - start)
    stream.localClosed = true
    this.#endIfDone(stream)
    return true
  }

  sendHeaders(stream: Stream, block: Buffer, endStream: boolean): void {
    if (stream.localClosed || this.#closed) return
    this.#write(frame(FrameType.HEADERS, Flag.END_HEADERS | (endStream ? Flag.END_STREAM : 0), stream.id, block))
    if (!endStream) return
    stream.localClosed = true
    this.#endIfDone(stream)
  }

  /** @returns false when it waits for the peer: `onDrain` tells when there is room. */
  sendData(stream: Stream, bytes: Buffer): boolean {
    if (stream.localClosed || this.#closed) return true
    stream.enqueue(bytes)
    this.#pump(stream)
    if (stream.queuedBytes > limits.queuedBytes) {
      this.#reset(stream, ErrorCode.ENHANCE_YOUR_CALM)
      return true
    }
    return stream.queue.length === 0
  }

  sendTrailers(stream: Stream, block: Buffer): void {
    if (stream.localClosed || this.#closed) return
    stream.trailers = block
    this.#pump(stream)
  }

  /** Ends a stream from our side, whatever state it is in. */
  reset(stream: Stream, code: ErrorCode): void {
    this.#reset(stream, code)
  }

  /** What the caller has read of a stream may be sent again. */
  consumed(stream: Stream, bytes: number): void {
    if (bytes === 0 || this.#closed) return
    this.#giveBack(bytes)
    stream.receiveWindow += bytes
    if (!stream.remoteClosed) this.#write(windowUpdateFrame(stream.id, bytes))
  }

  /** No new streams; the connection ends when those that run are done. */
  drain(): void {
    if (this.#draining || this.#closed) return
    this.#draining = true
    this.#write(goAwayFrame(this.#lastStreamId, ErrorCode.NO_ERROR))
    this.#flush()
    if (this.#streams.size === 0) this.#socket.end()
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
    const late = (since: number) => nowMs - since > limits.stallMs
    const unsent = this.#socket.writableLength
    const sent = this.#socket.bytesWritten - unsent
    if (unsent === 0) this.#stuckSinceMs = undefined
    else if (this.#stuckSinceMs === undefined || sent !== this.#sentBytes) this.#stuckSinceMs = nowMs
    this.#sentBytes = sent
    const stuck = this.#stuckSinceMs !== undefined && late(this.#stuckSinceMs)
    if (stuck || (!this.#settingsSeen && late(this.#openedAtMs)) || (this.#cutOffSinceMs !== undefined && late(this.#cutOffSinceMs))) {
      this.destroy()
      return
    }
    for (const stream of this.#streams.values()) {
      // The rest of a request is waited for, unless it is a stream of them; and that an answer is taken, always.
      const waits = stream.queue.length > 0 || (!stream.remoteClosed && !stream.handler?.isOpenEnded)
      if (waits && late(stream.movedAtMs)) this.#reset(stream, ErrorCode.CANCEL)
    }
    this.#flush()
  }

  #onBytes(chunk: Buffer): void {
    if (this.#closed) return
    this.#reading = true
    this.#options.onReadBegins()
    this.#nowMs = this.#options.nowMs()
    try {
      const bytes = this.#pending ? Buffer.concat([this.#pending, chunk]) : chunk
      this.#pending = undefined
      const rest = this.#readFrames(bytes)
      if (rest < bytes.length) this.#pending = bytes.subarray(rest)
      if (rest > 0) this.#cutOffSinceMs = undefined
      if (this.#pending || this.#block) this.#cutOffSinceMs ??= this.#nowMs
    } catch (error) {
      this.#fail(error)
    }
    this.#reading = false
    this.#flush()
    this.#options.onReadEnds()
  }

  /** @returns where the first frame begins that is not complete. */
  #readFrames(bytes: Buffer): number {
    let at = 0
    if (!this.#prefaceDone) {
      const had = Math.min(bytes.length, PREFACE.length)
      if (!bytes.subarray(0, had).equals(PREFACE.subarray(0, had))) throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'this is not the preface of HTTP/2')
      if (bytes.length < PREFACE.length) return 0
      this.#prefaceDone = true
      at = PREFACE.length
    }
    while (at + FRAME_HEADER_BYTES <= bytes.length && !this.#closed) {
      const length = bytes.readUIntBE(at, 3)
      if (length > limits.frameBytes) throw new ConnectionError(ErrorCode.FRAME_SIZE_ERROR, 'the frame is larger than was allowed')
      const end = at + FRAME_HEADER_BYTES + length
      if (end > bytes.length) break
      const streamId = bytes.readUInt32BE(at + 5) & 0x7fffffff
      try {
        this.#onFrame(bytes[at + 3] as number, bytes[at + 4] as number, streamId, bytes, at + FRAME_HEADER_BYTES, end)
      } catch (error) {
        if (error instanceof StreamError) this.#onStreamError(error)
        else if (error instanceof ConnectionError || error instanceof HpackError) throw error
        // A fault of ours with one call: the others go on.
        else {
          this.#options.onFault(error, 'a call could not be served')
          this.#onStreamError(new StreamError(streamId, ErrorCode.INTERNAL_ERROR, 'the call could not be served'))
        }
      }
      at = end
    }
    return at
  }

  #onStreamError({ streamId, code }: StreamError): void {
    const stream = this.#streams.get(streamId)
    if (stream) this.#reset(stream, code)
    else {
      this.#write(rstStreamFrame(streamId, code))
      // What the peer has sent of it before it hears of that is still to come.
      this.#remember(streamId, false)
    }
    this.#spendReset()
  }

  #onFrame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    if (!this.#settingsSeen && (type !== FrameType.SETTINGS || (flags & Flag.ACK) !== 0)) {
      throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'the first frame has to be SETTINGS')
    }
    if (this.#block && (type !== FrameType.CONTINUATION || streamId !== this.#block.streamId)) {
      throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'a header block is interrupted')
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
    switch (type) {
      case FrameType.PRIORITY:
        this.#onPriority(streamId, payload)
        break
      case FrameType.RST_STREAM:
        this.#onRstStream(streamId, payload)
        break
      case FrameType.SETTINGS:
        this.#onSettings(flags, streamId, payload)
        break
      case FrameType.PUSH_PROMISE:
        throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'a client does not push')
      case FrameType.PING:
        this.#onPing(flags, streamId, payload)
        break
      case FrameType.GOAWAY:
        this.#onGoAway(streamId, payload)
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
    if (streamId === 0) throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'DATA belongs to a stream')
    this.#mustNotBeIdle(streamId)
    // Flow control counts the padding, and what comes for streams that have ended.
    const counted = frameEnd - frameStart
    this.#receiveWindow -= counted
    if (this.#receiveWindow < 0) throw new ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, 'more than the window of the connection')
    const start = (flags & Flag.PADDED) === 0 ? frameStart : frameStart + 1
    const end = (flags & Flag.PADDED) === 0 ? frameEnd : endOfPadded(bytes, frameStart, frameEnd)
    const stream = this.#streams.get(streamId)
    if (!stream || stream.remoteClosed) {
      this.#giveBack(counted)
      // Section 5.1: what comes for a stream that we have ended is read over.
      if (!stream && this.#endedByUs.includes(streamId)) {
        this.#spendControl()
        return
      }
      throw this.#lateFor(streamId, stream)
    }
    stream.receiveWindow -= counted
    if (stream.receiveWindow < 0) throw new StreamError(streamId, ErrorCode.FLOW_CONTROL_ERROR, 'more than the window of the stream')
    const length = end - start
    const isLast = (flags & Flag.END_STREAM) !== 0
    // Frames that bring next to nothing cost as much as those that bring much.
    if (length < SMALL_DATA_BYTES && !isLast) this.#spendControl()
    const isFirst = stream.received === 0
    stream.received += length
    stream.movedAtMs = this.#nowMs
    const { contentLength } = stream
    if (contentLength !== undefined && stream.received > contentLength) throw new StreamError(streamId, ErrorCode.PROTOCOL_ERROR, 'more than content-length')
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
    if (streamId === 0 || streamId % 2 === 0) throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'HEADERS belong to a stream of the client')
    let start = (flags & Flag.PADDED) === 0 ? frameStart : frameStart + 1
    const end = (flags & Flag.PADDED) === 0 ? frameEnd : endOfPadded(bytes, frameStart, frameEnd)
    if ((flags & Flag.PRIORITY) !== 0) {
      if (end - start < 5) throw new ConnectionError(ErrorCode.FRAME_SIZE_ERROR, 'HEADERS are cut off')
      // Read before the block is: whatever is wrong with the stream, the table has to follow.
      if ((bytes.readUInt32BE(start) & 0x7fffffff) === streamId) throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'a stream depends on itself')
      start += 5
    }
    if ((flags & Flag.END_HEADERS) !== 0) {
      this.#onBlock(streamId, flags, bytes, start, end)
      return
    }
    this.#block = { streamId, flags, parts: [bytes.subarray(start, end)], bytes: end - start, frames: 0 }
  }

  /** Section 6.10. */
  #onContinuation(flags: number, payload: Buffer): void {
    const block = this.#block
    if (!block) throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'CONTINUATION of nothing')
    block.parts.push(payload)
    block.bytes += payload.length
    block.frames += 1
    if (block.bytes > limits.headerBlockBytes || block.frames > limits.continuations) {
      throw new ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, 'the header block does not end')
    }
    if ((flags & Flag.END_HEADERS) === 0) return
    this.#block = undefined
    const whole = Buffer.concat(block.parts)
    this.#onBlock(block.streamId, block.flags, whole, 0, whole.length)
  }

  #onBlock(streamId: number, flags: number, bytes: Buffer, start: number, end: number): void {
    const headers = this.#decoder.decode(bytes, start, end)
    const endStream = (flags & Flag.END_STREAM) !== 0
    const known = this.#streams.get(streamId)
    if (known) {
      if (known.remoteClosed) throw new StreamError(streamId, ErrorCode.STREAM_CLOSED, 'the stream is closed')
      if (!endStream) throw new StreamError(streamId, ErrorCode.PROTOCOL_ERROR, 'trailers have to end the stream')
      if (headers) checkTrailers(streamId, headers)
      this.#closeRemote(known)
      known.handler?.onData()
      this.#endIfDone(known)
      return
    }
    if (streamId <= this.#lastStreamId) {
      if (this.#endedByUs.includes(streamId)) {
        this.#spendControl()
        return
      }
      const code = this.#ended.includes(streamId) ? ErrorCode.STREAM_CLOSED : ErrorCode.PROTOCOL_ERROR
      throw new ConnectionError(code, 'the stream is not new')
    }
    this.#lastStreamId = streamId
    if (this.#draining || this.#streams.size >= limits.concurrentStreams) throw new StreamError(streamId, ErrorCode.REFUSED_STREAM, 'no more streams')
    if (!headers) throw new StreamError(streamId, ErrorCode.ENHANCE_YOUR_CALM, 'the header list is too long')
    checkRequestHeaders(streamId, headers)
    const stream = new Stream(streamId, headers, contentLengthOf(streamId, headers), this.#peerInitialWindow, limits.streamWindow, this.#nowMs)
    this.#streams.add(stream)
    if (endStream) this.#closeRemote(stream)
    this.#options.onRequest(this, stream)
    this.#endIfDone(stream)
  }

  #closeRemote(stream: Stream): void {
    stream.remoteClosed = true
    if (stream.contentLength !== undefined && stream.received !== stream.contentLength) {
      throw new StreamError(stream.id, ErrorCode.PROTOCOL_ERROR, 'less than content-length')
    }
  }

  /** Section 6.3: read for its form, and otherwise ignored. */
  #onPriority(streamId: number, payload: Buffer): void {
    if (streamId === 0) throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'PRIORITY belongs to a stream')
    if (payload.length !== 5) throw new StreamError(streamId, ErrorCode.FRAME_SIZE_ERROR, 'PRIORITY has five bytes')
    this.#spendControl()
    if ((payload.readUInt32BE(0) & 0x7fffffff) === streamId) throw new StreamError(streamId, ErrorCode.PROTOCOL_ERROR, 'a stream depends on itself')
  }

  /** Section 6.4. */
  #onRstStream(streamId: number, payload: Buffer): void {
    if (streamId === 0) throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'RST_STREAM belongs to a stream')
    if (payload.length !== 4) throw new ConnectionError(ErrorCode.FRAME_SIZE_ERROR, 'RST_STREAM has four bytes')
    this.#mustNotBeIdle(streamId)
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
  #onSettings(flags: number, streamId: number, payload: Buffer): void {
    if (streamId !== 0) throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'SETTINGS belong to the connection')
    if ((flags & Flag.ACK) !== 0) {
      if (payload.length !== 0) throw new ConnectionError(ErrorCode.FRAME_SIZE_ERROR, 'an acknowledgement is empty')
      return
    }
    if (payload.length % 6 !== 0) throw new ConnectionError(ErrorCode.FRAME_SIZE_ERROR, 'SETTINGS are cut off')
    this.#settingsSeen = true
    this.#spendControl()
    for (let at = 0; at < payload.length; at += 6) this.#onSetting(payload.readUInt16BE(at), payload.readUInt32BE(at + 2))
    this.#write(settingsAck)
    this.#pumpWaiting()
  }

  #onSetting(id: number, value: number): void {
    switch (id) {
      case Setting.ENABLE_PUSH:
        if (value > 1) throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'ENABLE_PUSH is 0 or 1')
        return
      case Setting.INITIAL_WINDOW_SIZE: {
        if (value > MAX_WINDOW) throw new ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, 'the window is too large')
        // Section 6.9.2: streams that run are moved by the difference, below zero if it comes to that.
        const difference = value - this.#peerInitialWindow
        this.#peerInitialWindow = value
        for (const stream of this.#streams.values()) {
          stream.sendWindow += difference
          if (stream.sendWindow > MAX_WINDOW) throw new ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, 'a window is too large')
        }
        return
      }
      case Setting.MAX_FRAME_SIZE:
        if (value < 16_384 || value > 2 ** 24 - 1) throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'MAX_FRAME_SIZE is out of range')
        this.#peerFrameBytes = value
        return
      default:
        // Our blocks add nothing to the peer's table, and we push nothing: its size and its streams are all the same to us.
        return
    }
  }

  /** Section 6.7. */
  #onPing(flags: number, streamId: number, payload: Buffer): void {
    if (streamId !== 0) throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'PING belongs to the connection')
    if (payload.length !== 8) throw new ConnectionError(ErrorCode.FRAME_SIZE_ERROR, 'PING has eight bytes')
    this.#spendControl()
    if ((flags & Flag.ACK) === 0) this.#write(pingAck(payload))
  }

  /** Section 6.8. */
  #onGoAway(streamId: number, payload: Buffer): void {
    if (streamId !== 0) throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'GOAWAY belongs to the connection')
    if (payload.length < 8) throw new ConnectionError(ErrorCode.FRAME_SIZE_ERROR, 'GOAWAY is cut off')
    this.#draining = true
    if (this.#streams.size > 0) return
    this.#flush()
    this.#socket.end()
  }

  /** Section 6.9. */
  #onWindowUpdate(streamId: number, payload: Buffer): void {
    if (payload.length !== 4) throw new ConnectionError(ErrorCode.FRAME_SIZE_ERROR, 'WINDOW_UPDATE has four bytes')
    if (this.#windowCredit > 0) this.#windowCredit -= 1
    else this.#spendControl()
    const increment = payload.readUInt32BE(0) & 0x7fffffff
    if (streamId === 0) {
      if (increment === 0) throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'a window grows by something')
      this.#sendWindow += increment
      if (this.#sendWindow > MAX_WINDOW) throw new ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, 'the window is too large')
      this.#pumpWaiting()
      return
    }
    this.#mustNotBeIdle(streamId)
    if (increment === 0) throw new StreamError(streamId, ErrorCode.PROTOCOL_ERROR, 'a window grows by something')
    const stream = this.#streams.get(streamId)
    if (!stream) return
    stream.sendWindow += increment
    if (stream.sendWindow > MAX_WINDOW) throw new StreamError(streamId, ErrorCode.FLOW_CONTROL_ERROR, 'the window is too large')
    this.#pump(stream)
  }

  /** Section 5.1: of a stream that was never opened. */
  #mustNotBeIdle(streamId: number): void {
    if (streamId % 2 === 0 || streamId > this.#lastStreamId) throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'the stream is idle')
  }

  #lateFor(streamId: number, stream: Stream | undefined): Error {
    if (stream || this.#ended.includes(streamId)) return new StreamError(streamId, ErrorCode.STREAM_CLOSED, 'the stream is closed')
    return new ConnectionError(ErrorCode.STREAM_CLOSED, 'the stream is closed')
  }

  /** Sends what is queued as far as the windows go, and then the trailers. */
  #pump(stream: Stream): void {
    if (stream.localClosed) return
    while (stream.queue.length > 0) {
      if (this.#isBackedUp()) {
        this.#waiting = true
        this.#waitingStreams.add(stream)
        return
      }
      const head = stream.queue[0] as (typeof stream.queue)[number]
      const left = head.bytes.length - head.at
      const room = Math.min(this.#sendWindow, stream.sendWindow, this.#peerFrameBytes)
      if (left > 0 && room <= 0) {
        this.#waitingStreams.add(stream)
        return
      }
      const count = Math.min(left, room)
      this.#write(frame(FrameType.DATA, 0, stream.id, head.bytes.subarray(head.at, head.at + count)))
      this.#sent(stream, count)
      stream.queuedBytes -= count
      stream.movedAtMs = this.#options.nowMs()
      head.at += count
      if (head.at === head.bytes.length) stream.queue.shift()
    }
    this.#waitingStreams.delete(stream)
    if (stream.trailers) {
      const block = stream.trailers
      stream.trailers = undefined
      this.sendHeaders(stream, block, true)
      return
    }
    stream.handler?.onDrain()
  }

  /** A frame of DATA takes of both windows, and may be answered by an update of each. */
  #sent(stream: Stream, bytes: number): void {
    this.#sendWindow -= bytes
    stream.sendWindow -= bytes
    this.#windowCredit += 2
  }

  #pumpWaiting(): void {
    for (const stream of [...this.#waitingStreams]) {
      // The others wait for more of the same.
      if (this.#sendWindow <= 0) return
      this.#pump(stream)
    }
  }

  #reset(stream: Stream, code: ErrorCode): void {
    this.#write(rstStreamFrame(stream.id, code))
    this.#forget(stream)
    this.#tellReset(stream)
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
    if (!stream.localClosed || this.#streams.get(stream.id) !== stream) return
    // Section 8.1: an answer that does not need the rest of the request says so.
    if (!stream.remoteClosed) this.#write(rstStreamFrame(stream.id, ErrorCode.NO_ERROR))
    this.#forget(stream)
  }

  #forget(stream: Stream): void {
    this.#streams.delete(stream)
    this.#waitingStreams.delete(stream)
    stream.localClosed = true
    this.#remember(stream.id, stream.remoteClosed)
    if (stream.chunks.length > 0) {
      // What it held of the connection's window is the connection's again.
      this.#giveBack(stream.chunkBytes)
      stream.takeChunks()
    }
    if (this.#draining && this.#streams.size === 0 && !this.#closed) {
      this.#flush()
      this.#socket.end()
    }
  }

  /** @param byPeer it has said that it sends no more. */
  #remember(streamId: number, byPeer: boolean): void {
    if (byPeer) {
      this.#ended[this.#endedAt] = streamId
      this.#endedAt = (this.#endedAt + 1) % REMEMBERED
    } else if (!this.#endedByUs.includes(streamId)) {
      this.#endedByUs[this.#endedByUsAt] = streamId
      this.#endedByUsAt = (this.#endedByUsAt + 1) % REMEMBERED
    }
  }

  #giveBack(bytes: number): void {
    this.#receiveWindow += bytes
    this.#owed += bytes
    if (this.#owed < limits.connectionWindow / 4) return
    this.#write(windowUpdateFrame(0, this.#owed))
    this.#owed = 0
  }

  #spendReset(): void {
    if (!this.#resets.spend(this.#options.nowMs())) throw new ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, 'too many streams are reset')
  }

  #spendControl(): void {
    if (!this.#control.spend(this.#options.nowMs())) throw new ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, 'too many frames that bring nothing')
  }

  #fail(error: unknown): void {
    if (this.#closed) return
    const code = error instanceof ConnectionError ? error.code : error instanceof HpackError ? ErrorCode.COMPRESSION_ERROR : ErrorCode.INTERNAL_ERROR
    if (code === ErrorCode.INTERNAL_ERROR) this.#options.onFault(error, 'a connection could not be served')
    this.#write(goAwayFrame(this.#lastStreamId, code, error instanceof Error ? error.message : ''))
    this.#flush()
    this.#socket.end()
    this.#end()
  }

  #write(bytes: Buffer): void {
    if (this.#closed) return
    this.#output.add(bytes)
    this.#askFlush()
  }

  #wrote(end: number): void {
    this.#output.wrote(end)
    this.#askFlush()
  }

  #askFlush(): void {
    if (this.#reading || this.#flushAsked) return
    this.#flushAsked = true
    // What is answered in one turn of the event loop leaves together.
    queueMicrotask(() => {
      this.#flushAsked = false
      this.#flush()
    })
  }

  #flush(): void {
    if (this.#output.isEmpty || this.#closed) return
    const taken = this.#socket.write(this.#output.take())
    // What the system took at once is not followed by a 'drain'; others come first all the same.
    if (taken && this.#waiting) setImmediate(() => this.#orFail(() => this.#onDrain()))
    if (this.#paused || this.#socket.writableLength <= limits.outputBytes / 2) return
    this.#paused = true
    this.#socket.pause()
  }

  /** What is not called by bytes that came: nobody else would catch what it throws. */
  #orFail(act: () => void): void {
    try {
      act()
    } catch (error) {
      this.#fail(error)
    }
  }

  #onDrain(): void {
    if (this.#paused) this.#socket.resume()
    this.#paused = false
    this.#waiting = false
    this.#pumpWaiting()
  }

  /** The peer reads more slowly than it is sent to. */
  #isBackedUp(): boolean {
    return this.#socket.writableLength + this.#output.length > limits.outputBytes
  }

  #end(): void {
    if (this.#closed) return
    this.#closed = true
    this.#output.clear()
    this.#pending = undefined
    for (const stream of this.#streams.values()) {
      stream.localClosed = true
      this.#tellReset(stream)
    }
    this.#streams.clear()
    this.#waitingStreams.clear()
    this.#options.onClose(this)
  }
}

/** Sections 6.1 and 6.2: where the rest of a frame ends whose first byte says how much padding follows it. */
const endOfPadded = (bytes: Buffer, start: number, end: number): number => {
  const padding = start < end ? (bytes[start] as number) : 0
  if (start === end || padding >= end - start) throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'more padding than there is')
  return end - padding
}
