/**
 * gRPC over HTTP/2 (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md): messages with their five bytes of
 * length, timeouts, and how an answer ends.
 */
import { status as Status } from '@grpc/grpc-js'
import { table } from '../../../common/table.ts'
import { encodeHeaders } from './hpack/encoder.ts'

/** Compressed or not, and four bytes of length. */
export const PREFIX_BYTES = 5

/** One message with its prefix; never compressed. */
export const framed = (message: Uint8Array): Buffer => {
  const bytes = Buffer.allocUnsafe(PREFIX_BYTES + message.length)
  bytes[0] = 0
  bytes.writeUInt32BE(message.length, 1)
  bytes.set(message, PREFIX_BYTES)
  return bytes
}

export type ReadMessage = { message: Buffer; rest: Buffer } | { wrong: { code: Status; details: string } } | undefined

/** The first message of these bytes; undefined while it is not complete. */
export const readMessage = (bytes: Buffer, maxBytes: number): ReadMessage => {
  if (bytes.length < PREFIX_BYTES) return undefined
  if (bytes[0] !== 0) {
    const details = bytes[0] === 1 ? 'compressed messages are not supported; send them uncompressed' : 'the message has no valid prefix'
    return { wrong: { code: bytes[0] === 1 ? Status.UNIMPLEMENTED : Status.INTERNAL, details } }
  }
  const length = bytes.readUInt32BE(1)
  if (length > maxBytes) return { wrong: { code: Status.RESOURCE_EXHAUSTED, details: `the message has ${length} bytes; at most ${maxBytes} are allowed` } }
  const end = PREFIX_BYTES + length
  return bytes.length < end ? undefined : { message: bytes.subarray(PREFIX_BYTES, end), rest: bytes.subarray(end) }
}

/** The bytes that have to be there before the message that begins with these can be read on. */
export const bytesOfNext = (bytes: Buffer): number => (bytes.length < PREFIX_BYTES ? PREFIX_BYTES : PREFIX_BYTES + bytes.readUInt32BE(1))

/** True if these bytes are one message, complete and not compressed. */
export const isOneMessage = (bytes: Buffer, start: number, end: number): boolean =>
  end - start >= PREFIX_BYTES && bytes[start] === 0 && bytes.readUInt32BE(start + 1) === end - start - PREFIX_BYTES

const UNITS_MS = table<number>({ H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 0.001, n: 0.000_001 })
const MAX_TIMEOUT_DIGITS = 8

/** The milliseconds of a `grpc-timeout` header; undefined when it is none. */
export const timeoutMsOf = (header: string): number | undefined => {
  const digits = header.length - 1
  if (digits < 1 || digits > MAX_TIMEOUT_DIGITS) return undefined
  let count = 0
  for (let at = 0; at < digits; at += 1) {
    const digit = header.charCodeAt(at) - 48
    if (digit < 0 || digit > 9) return undefined
    count = 10 * count + digit
  }
  const unit = UNITS_MS[header.charAt(digits)]
  return unit === undefined ? undefined : count * unit
}

/** Percent-encoded as the specification has it: what is not printable ASCII, and the percent sign. */
const encodeDetails = (details: string): string =>
  [...Buffer.from(details)]
    .map((byte) => (byte >= 0x20 && byte <= 0x7e && byte !== 0x25 ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`))
    .join('')

const answerFields = [
  [':status', '200'],
  ['content-type', 'application/grpc'],
] as const

/** The headers that every answer begins with. */
export const answerHeaders = encodeHeaders(answerFields)
/** The trailers that every answer that succeeds ends with. */
export const okTrailers = encodeHeaders([['grpc-status', '0']])

export type Extra = readonly (readonly [name: string, value: string])[]

export const trailersOf = (code: Status, details: string, extra: Extra = []): Buffer =>
  encodeHeaders([['grpc-status', String(code)], ...(details === '' ? [] : [['grpc-message', encodeDetails(details)] as const]), ...extra])

/** An answer that is nothing but its end: "trailers-only". */
export const onlyTrailers = (code: Status, details: string, extra: Extra = []): Buffer =>
  encodeHeaders([...answerFields, ['grpc-status', String(code)], ...(details === '' ? [] : [['grpc-message', encodeDetails(details)] as const]), ...extra])
