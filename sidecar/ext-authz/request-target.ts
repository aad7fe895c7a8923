/**
 * The target of a request, read as an application would read it. A gateway and an application may read one target differently (`%2F`,
 * `..`, `//`), and then a rule for one path would judge a request for another. So whatever is not plain is ambiguous, and refused.
 */

/** Forms that applications read differently, and that somebody may still need. */
export interface PathRules {
  /** `%2F`: `keep` if it is a part of a segment to the application. */
  encodedSlashes: 'refuse' | 'keep'
  /** `;`: `keep` if the application gives it no meaning. */
  semicolons: 'refuse' | 'keep'
}

export interface RequestTarget {
  /** Decoded; an encoded slash that is kept is still `%2F`. */
  path: string
  query: URLSearchParams
}

const ENCODED_SLASH = '%2F'

/** By what the caller has written. Undefined: it is plain so far. */
const whyWrittenAmbiguous = (path: string, { encodedSlashes }: PathRules): string | undefined => {
  if (!path.startsWith('/')) return 'it does not begin with a slash'
  // Read as UTF-8, such bytes are another path than read as Latin-1.
  if (/[^\x21-\x7e]/.test(path)) return 'it has characters that are not percent-encoded'
  if (/%(?![0-9a-f]{2})/i.test(path)) return 'it has a % without two hexadecimal digits'
  if (path.includes('#')) return 'it has a fragment'
  if (path.includes('//')) return 'it has an empty segment'
  if (encodedSlashes === 'refuse' && /%2f/i.test(path)) return 'it has an encoded slash'
  return undefined
}

/** @param parts between slashes, encoded ones included; decoded. */
const whyDecodedAmbiguous = (parts: readonly string[], { semicolons }: PathRules): string | undefined => {
  const has = (pattern: RegExp) => parts.some((part) => pattern.test(part))
  if (has(/%[0-9a-f]{2}/i)) return 'it is percent-encoded twice'
  if (has(/\p{Cc}/u)) return 'it has a control character'
  if (has(/\\/)) return 'it has a backslash'
  if (semicolons === 'refuse' && has(/;/)) return 'it has a semicolon'
  if (has(/^\.{1,2}(?:;|$)/)) return 'it has a segment . or ..'
  return undefined
}

/** @param target the path with its query, as the caller sent it. */
export const readTarget = (target: string, rules: PathRules): RequestTarget | { ambiguous: string } => {
  const end = target.indexOf('?')
  const path = end < 0 ? target : target.slice(0, end)
  const ambiguous = whyWrittenAmbiguous(path, rules)
  if (ambiguous !== undefined) return { ambiguous }
  let segments: string[][]
  try {
    segments = path.split('/').map((segment) => segment.split(/%2f/i).map(decodeURIComponent))
  } catch {
    return { ambiguous: 'it is not UTF-8' }
  }
  const stillAmbiguous = whyDecodedAmbiguous(segments.flat(), rules)
  if (stillAmbiguous !== undefined) return { ambiguous: stillAmbiguous }
  return {
    path: segments.map((parts) => parts.join(ENCODED_SLASH)).join('/'),
    query: new URLSearchParams(end < 0 ? '' : target.slice(end + 1)),
  }
}

/** A part of a path, as the application gets it. */
export const decodedPart = (part: string): string => part.replaceAll(ENCODED_SLASH, '/')
