/** A request as a gateway tells of it, whatever the gateway; the rule that is for it, and what it says. */

import type { PathParameters } from './path-template.ts'
import { decodedPart, type RequestTarget } from './request-target.ts'
import type { Rule, Rules, Source } from './rules.ts'

export interface GatewayRequest {
  method: string
  /** May have a port. */
  host: string
  /** The path with its query, as the caller sent it. */
  target: string
  /** By lower-case names. */
  headers: ReadonlyMap<string, string>
  /** What the gateway has verified of a token, at a path in its payload. */
  claim(payload: string | undefined, path: readonly string[]): unknown
  /** What the gateway's own configuration says of the route. */
  context(name: string): string | undefined
}

export interface MatchedRule {
  rule: Rule
  parameters: PathParameters
}

/** A host's name, without its port and the dot at its end. */
const nameOfHost = (host: string): string => host.toLowerCase().replace(/:\d*$/, '').replace(/\.$/, '')

const isHost = (pattern: string, name: string): boolean =>
  pattern.startsWith('*.') ? name.endsWith(pattern.slice(1)) && name.length >= pattern.length : name === pattern

/** Applications answer HEAD as they answer GET. */
const isMethod = (pattern: string, method: string): boolean => pattern === method || (pattern === 'GET' && method === 'HEAD')

/**
 * The first rule that is for a request. `nearly`: the path of that rule differs in case or by a slash at its end alone, and whether the rule is
 * for the request depends on the application.
 */
export const ruleFor = ({ rules }: Rules, request: GatewayRequest, { path }: RequestTarget): MatchedRule | 'nearly' | undefined => {
  const host = nameOfHost(request.host)
  const method = request.method.toUpperCase()
  for (const rule of rules) {
    const { match } = rule
    if (match.method && !match.method.some((pattern) => isMethod(pattern, method))) continue
    if (match.host && !match.host.some((pattern) => isHost(pattern, host))) continue
    if (!match.headers.every(([name, value]) => (value === true ? request.headers.has(name) : request.headers.get(name) === value))) continue
    if (!match.path) return { rule, parameters: {} }
    const found = match.path.map((template) => template.match(path))
    const parameters = found.find((one) => typeof one === 'object')
    if (parameters) return { rule, parameters }
    if (found.includes('nearly')) return 'nearly'
  }
  return undefined
}

/** A claim may be a number; an id is its digits. */
const textOf = (value: unknown): string | undefined => {
  if (typeof value === 'string') return value === '' ? undefined : value
  return Number.isSafeInteger(value) ? String(value) : undefined
}

/** What a request says at a place; undefined if nothing is there, or more than one thing. */
export const valueIn = (source: Source, request: GatewayRequest, target: RequestTarget, parameters: PathParameters): string | undefined => {
  const found = (): unknown => {
    if (source.constant !== undefined) return source.constant
    if (source.header !== undefined) return request.headers.get(source.header)
    if (source.path !== undefined) return decodedPart(parameters[source.path] ?? '')
    if (source.claim !== undefined) return request.claim(source.payload, source.claim)
    if (source.context !== undefined) return request.context(source.context)
    const values = target.query.getAll(source.query ?? '')
    // Of several, an application takes the first, the last, or all.
    return values.length === 1 ? values[0] : undefined
  }
  return textOf(found()) ?? textOf(source.default)
}
