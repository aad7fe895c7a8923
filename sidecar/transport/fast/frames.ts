/** Frames: RFC 9113, section 4.1 (layout), section 6 (types and flags), section 7 (error codes). */

export const FRAME_HEADER_BYTES = 9

export const FrameType = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const

export const FrameFlag = { END_STREAM: 1, ACK: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 32 } as const

export const Http2ErrorCode = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  ENHANCE_YOUR_CALM: 11,
} as const
export type Http2ErrorCode = (typeof Http2ErrorCode)[keyof typeof Http2ErrorCode]

export const Setting = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6,
} as const

/** Section 5.4.1: the connection cannot go on. */
export class ConnectionError extends Error {
  readonly code: Http2ErrorCode

  constructor(code: Http2ErrorCode, message: string) {
    super(message)
    this.code = code
  }
}

/** Section 5.4.2: only this stream cannot. */
export class StreamError extends Error {
  readonly code: Http2ErrorCode
  readonly streamId: number

  constructor(streamId: number, code: Http2ErrorCode, message: string) {
    super(message)
    this.streamId = streamId
    this.code = code
  }
}

export const writeFrameHeader = (into: Buffer, at: number, length: number, type: number, flags: number, streamId: number): number => {
  into[at] = length >>> 16
  into[at + 1] = (length >>> 8) & 255
  into[at + 2] = length & 255
  into[at + 3] = type
  into[at + 4] = flags
  into.writeUInt32BE(streamId, at + 5)
  return at + FRAME_HEADER_BYTES
}

export const frame = (type: number, flags: number, streamId: number, payload: Uint8Array = new Uint8Array(0)): Buffer => {
  const bytes = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payload.length)
  bytes.set(payload, writeFrameHeader(bytes, 0, payload.length, type, flags, streamId))
  return bytes
}

const uint32 = (...values: number[]): Buffer => {
  const bytes = Buffer.allocUnsafe(4 * values.length)
  for (const [n, value] of values.entries()) bytes.writeUInt32BE(value, 4 * n)
  return bytes
}

export const settingsFrame = (settings: readonly (readonly [id: number, value: number])[]): Buffer => {
  const payload = Buffer.allocUnsafe(6 * settings.length)
  for (const [n, [id, value]] of settings.entries()) {
    payload.writeUInt16BE(id, 6 * n)
    payload.writeUInt32BE(value, 6 * n + 2)
  }
  return frame(FrameType.SETTINGS, 0, 0, payload)
}
export const settingsAck = frame(FrameType.SETTINGS, FrameFlag.ACK, 0)
export const pingAck = (payload: Uint8Array): Buffer => frame(FrameType.PING, FrameFlag.ACK, 0, payload)
export const windowUpdateFrame = (streamId: number, increment: number): Buffer => frame(FrameType.WINDOW_UPDATE, 0, streamId, uint32(increment))
export const rstStreamFrame = (streamId: number, code: number): Buffer => frame(FrameType.RST_STREAM, 0, streamId, uint32(code))
export const goAwayFrame = (lastStreamId: number, code: number, why = ''): Buffer =>
  frame(FrameType.GOAWAY, 0, 0, Buffer.concat([uint32(lastStreamId, code), Buffer.from(why)]))
