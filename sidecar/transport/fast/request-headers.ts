/** What the headers of a request have to be: RFC 9113, sections 8.2 and 8.3. */
import { ErrorCode, StreamError } from './frames.ts'
import type { Header } from './hpack/decoder.ts'

const PSEUDO = [':method', ':scheme', ':path', ':authority']
/** Section 8.2.2: they are about a connection of HTTP/1. */
const CONNECTION_SPECIFIC = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'])

const malformed = (streamId: number, why: string) => new StreamError(streamId, ErrorCode.PROTOCOL_ERROR, why)

const checkField = (streamId: number, [name, value]: Header): void => {
  if (name === '') throw malformed(streamId, 'a field has no name')
  for (let at = 0; at < name.length; at += 1) {
    const code = name.charCodeAt(at)
    // Section 8.2.1: no capitals, no blanks, nothing that is not visible.
    if (code <= 0x20 || code >= 0x7f || (code >= 0x41 && code <= 0x5a)) throw malformed(streamId, 'the name of a field is not in lower case')
  }
  if (/[\0\r\n]/.test(value)) throw malformed(streamId, 'a field has a line break in it')
  if (CONNECTION_SPECIFIC.has(name)) throw malformed(streamId, `${name} has no meaning in HTTP/2`)
  if (name === 'te' && value !== 'trailers') throw malformed(streamId, 'te is trailers or nothing')
}

/** @throws StreamError. */
export const checkRequestHeaders = (streamId: number, headers: readonly Header[]): void => {
  const pseudo = new Set<string>()
  let regular = false
  for (const header of headers) {
    const [name, value] = header
    if (name.startsWith(':')) {
      if (regular) throw malformed(streamId, 'pseudo fields come first')
      if (!PSEUDO.includes(name) || pseudo.has(name)) throw malformed(streamId, `${name} is not a field of a request, or comes twice`)
      if (name === ':path' && value === '') throw malformed(streamId, 'the path is empty')
      pseudo.add(name)
    } else {
      regular = true
      checkField(streamId, header)
    }
  }
  for (const name of [':method', ':scheme', ':path']) if (!pseudo.has(name)) throw malformed(streamId, `${name} is missing`)
}

/** @throws StreamError. */
export const checkTrailers = (streamId: number, headers: readonly Header[]): void => {
  for (const header of headers) {
    if (header[0].startsWith(':')) throw malformed(streamId, 'trailers have no pseudo fields')
    checkField(streamId, header)
  }
}

/** @throws StreamError when it is no number, or two that differ. */
export const contentLengthOf = (streamId: number, headers: readonly Header[]): number | undefined => {
  let length: number | undefined
  for (const [name, value] of headers) {
    if (name !== 'content-length') continue
    if (!/^\d{1,15}$/.test(value) || (length !== undefined && length !== Number(value))) throw malformed(streamId, 'content-length is no number')
    length = Number(value)
  }
  return length
}
