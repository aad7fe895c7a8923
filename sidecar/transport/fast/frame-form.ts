/** The form of frames, whatever they say: whom they belong to, how long they are, and where their padding begins. RFC 9113, section 6. */
import { ConnectionError, FrameFlag, FrameType, Http2ErrorCode, StreamError } from './frames.ts'

const mustBeOfStream = (streamId: number, name: string): void => {
  if (streamId === 0) throw new ConnectionError(Http2ErrorCode.PROTOCOL_ERROR, `${name} belongs to a stream`)
}
const mustBeOfConnection = (streamId: number, name: string): void => {
  if (streamId !== 0) throw new ConnectionError(Http2ErrorCode.PROTOCOL_ERROR, `${name} belongs to the connection`)
}
const mustHave = (has: boolean, what: string): void => {
  if (!has) throw new ConnectionError(Http2ErrorCode.FRAME_SIZE_ERROR, what)
}

/** Checks frames other than DATA and HEADERS. @throws ConnectionError, or StreamError. */
export const checkForm = (type: number, flags: number, streamId: number, length: number): void => {
  switch (type) {
    case FrameType.PRIORITY:
      mustBeOfStream(streamId, 'PRIORITY')
      if (length !== 5) throw new StreamError(streamId, Http2ErrorCode.FRAME_SIZE_ERROR, 'PRIORITY has five bytes')
      break
    case FrameType.RST_STREAM:
      mustBeOfStream(streamId, 'RST_STREAM')
      mustHave(length === 4, 'RST_STREAM has four bytes')
      break
    case FrameType.SETTINGS:
      mustBeOfConnection(streamId, 'SETTINGS')
      if ((flags & FrameFlag.ACK) === 0) mustHave(length % 6 === 0, 'SETTINGS are cut off')
      else mustHave(length === 0, 'an acknowledgement is empty')
      break
    case FrameType.PUSH_PROMISE:
      throw new ConnectionError(Http2ErrorCode.PROTOCOL_ERROR, 'a client does not push')
    case FrameType.PING:
      mustBeOfConnection(streamId, 'PING')
      mustHave(length === 8, 'PING has eight bytes')
      break
    case FrameType.GOAWAY:
      mustBeOfConnection(streamId, 'GOAWAY')
      mustHave(length >= 8, 'GOAWAY is cut off')
      break
    case FrameType.WINDOW_UPDATE:
      mustHave(length === 4, 'WINDOW_UPDATE has four bytes')
      break
    default:
      // CONTINUATION has what its block needs; of others nothing is known.
      break
  }
}

/** Sections 6.1 and 6.2: where what a frame brings ends; its first byte says how much padding follows. @throws ConnectionError. */
export const endOfPadded = (bytes: Buffer, start: number, end: number): number => {
  const padding = start < end ? (bytes[start] as number) : 0
  if (start === end || padding >= end - start) throw new ConnectionError(Http2ErrorCode.PROTOCOL_ERROR, 'more padding than there is')
  return end - padding
}

/** Section 5.3.1 of RFC 7540, which senders of priorities still follow: the stream that another depends on. */
export const dependencyAt = (bytes: Buffer, at: number): number => bytes.readUInt32BE(at) & 0x7fffffff
