/** Templates of paths: `/v1/reports/{report}`, and `/files/{rest...}` for all that is below `/files/`. */
import { type Keys, pathToRegexp, type Token, TokenData } from 'path-to-regexp'

export type PathParameters = Readonly<Record<string, string>>

export interface PathTemplate {
  names: readonly string[]
  /**
   * The parameters of a path that the template matches; `nearly` for a path that differs in case or by a slash at its end alone. To some
   * applications, that is the same path, and to others it is not.
   */
  match(path: string): PathParameters | 'nearly' | undefined
}

const tokensOf = (template: string): Token[] => {
  if (!template.startsWith('/')) throw new TypeError('must begin with a slash')
  // It is compared with a path that is decoded, and is plain.
  if (/[%?#\\;]|\/\/|\/\.{1,2}(?:\/|$)/.test(template)) throw new TypeError('must be a plain path, without %, ?, #, \\, ;, // and segments . or ..')
  const tokens: Token[] = []
  let end = 0
  for (const { 0: whole, 1: name = '', 2: rest, index } of template.matchAll(/\{([A-Za-z_]\w*)(\.\.\.)?\}/g)) {
    if (index === end) throw new TypeError('must have text between two parameters')
    tokens.push({ type: 'text', value: template.slice(end, index) })
    end = index + whole.length
    if (rest && (template[index - 1] !== '/' || end < template.length)) throw new TypeError(`must have ${whole} as its last segment`)
    tokens.push({ type: rest ? 'wildcard' : 'param', name })
  }
  if (end < template.length) tokens.push({ type: 'text', value: template.slice(end) })
  if (tokens.some((token) => token.type === 'text' && /[{}]/.test(token.value))) throw new TypeError('must name its parameters as {name} or {name...}')
  return tokens
}

const parametersOf = (keys: Keys, found: RegExpExecArray): PathParameters => Object.fromEntries(keys.map(({ name }, n) => [name, found[n + 1] ?? '']))

/** @throws TypeError that says what it must be. */
export const readPathTemplate = (template: string): PathTemplate => {
  const tokensFor = (path: string) => new TokenData(tokensOf(path), path)
  const exact = pathToRegexp(tokensFor(template), { sensitive: true, trailing: false })
  const near = pathToRegexp(tokensFor(template.replace(/(?<=.)\/$/, '')), { sensitive: false, trailing: true })
  const names = exact.keys.map(({ name }) => name)
  if (new Set(names).size < names.length) throw new TypeError('must not have two parameters of one name')
  return {
    names,
    match: (path) => {
      const found = exact.regexp.exec(path)
      if (found) return parametersOf(exact.keys, found)
      return near.regexp.test(path) ? 'nearly' : undefined
    },
  }
}
