/**
 * Fields of requests: RFC 9113, section 8.2 (which may be there) and section 8.3 (pseudo fields). What is wrong with a
 * field is found out once, when it is first read: one that a table holds is not looked at again.
 */
import { Http2ErrorCode, StreamError } from './frames.ts'

/** The fields that somebody here asks for. */
export const FieldKind = {
  OTHER: 0,
  METHOD: 1,
  SCHEME: 2,
  AUTHORITY: 3,
  PATH: 4,
  CONTENT_LENGTH: 5,
  CONTENT_TYPE: 6,
  TIMEOUT: 7,
  ENCODING: 8,
  AUTHORIZATION: 9,
} as const

/** Pseudo fields come first in the order of kinds. */
const LAST_PSEUDO = FieldKind.PATH
const REQUIRED = (1 << FieldKind.METHOD) | (1 << FieldKind.SCHEME) | (1 << FieldKind.PATH)

const kindOf: ReadonlyMap<string, number> = new Map([
  [':method', FieldKind.METHOD],
  [':scheme', FieldKind.SCHEME],
  [':authority', FieldKind.AUTHORITY],
  [':path', FieldKind.PATH],
  ['content-length', FieldKind.CONTENT_LENGTH],
  ['content-type', FieldKind.CONTENT_TYPE],
  ['grpc-timeout', FieldKind.TIMEOUT],
  ['grpc-encoding', FieldKind.ENCODING],
  ['authorization', FieldKind.AUTHORIZATION],
])

const CONNECTION_SPECIFIC = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'])

/** A class, so that V8 does not take it for something that lasts: fields that a table holds do, the others go at once. */
export class Field {
  readonly name: string
  readonly value: string
  readonly kind: number
  /** Why no request may have it. */
  readonly fault: string | undefined

  constructor(name: string, value: string, kind: number, fault: string | undefined) {
    this.name = name
    this.value = value
    this.kind = kind
    this.fault = fault
  }
}

const faultOf = (name: string, value: string, kind: number): string | undefined => {
  if (name.startsWith(':')) {
    if (kind === FieldKind.OTHER) return `${name} is not a field of a request`
    return kind === FieldKind.PATH && value === '' ? 'the path is empty' : undefined
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what may not be in a name (section 8.2.1).
  if (name === '' || /[\u0000-\u0020A-Z\u007f-\u00ff:]/.test(name)) return 'the name of a field is not in lower case'
  if (/[\0\r\n]/.test(value)) return 'a field contains a line break'
  if (CONNECTION_SPECIFIC.has(name)) return `${name} has no meaning in HTTP/2`
  return name === 'te' && value !== 'trailers' ? 'te is trailers or nothing' : undefined
}

export const makeField = (name: string, value: string): Field => {
  const kind = kindOf.get(name) ?? FieldKind.OTHER
  return new Field(name, value, kind, faultOf(name, value, kind))
}

const malformed = (streamId: number, why: string) => new StreamError(streamId, Http2ErrorCode.PROTOCOL_ERROR, why)

/** @throws StreamError. */
export const checkRequestHeaders = (streamId: number, fields: readonly Field[]): void => {
  let pseudo = 0
  let regular = false
  for (let n = 0; n < fields.length; n += 1) {
    const { kind, fault, name } = fields[n] as Field
    if (fault !== undefined) throw malformed(streamId, fault)
    if (kind === FieldKind.OTHER || kind > LAST_PSEUDO) {
      regular = true
      continue
    }
    if (regular) throw malformed(streamId, 'pseudo fields come first')
    if ((pseudo & (1 << kind)) !== 0) throw malformed(streamId, `${name} comes twice`)
    pseudo |= 1 << kind
  }
  if ((pseudo & REQUIRED) !== REQUIRED) throw malformed(streamId, 'a pseudo field is missing: :method, :scheme and :path are required')
}

/** @throws StreamError. */
export const checkTrailers = (streamId: number, fields: readonly Field[]): void => {
  for (const { name, fault } of fields) {
    if (name.startsWith(':')) throw malformed(streamId, 'trailers have no pseudo fields')
    if (fault !== undefined) throw malformed(streamId, fault)
  }
}

/** @throws StreamError when it is no number, or two that differ. */
export const contentLengthOf = (streamId: number, fields: readonly Field[]): number | undefined => {
  let length: number | undefined
  for (let n = 0; n < fields.length; n += 1) {
    const { kind, value } = fields[n] as Field
    if (kind !== FieldKind.CONTENT_LENGTH) continue
    if (!/^\d{1,15}$/.test(value) || (length !== undefined && length !== Number(value))) throw malformed(streamId, 'content-length is not a number')
    length = Number(value)
  }
  return length
}
