/** Bodies of requests: read within their bound, and slowed down where they have none. */
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { bodyParser } from '@koa/bodyparser'
import type Koa from 'koa'
import { AppError, fieldError } from '../../common/errors.ts'
import { MOST_NAME, under } from './problem.ts'
import { RateLimitedError } from './throttle.ts'

/** Larger than any sensible request (500 entitlements), small enough to hold many. */
const MAX_BODY = '256kb'

/** 1,000 CloudEvents of a kilobyte each. */
const MAX_LIST = '1mb'

const parserOf = (limit: string, options: Parameters<typeof bodyParser>[0] = {}) =>
  bodyParser({
    enableTypes: ['json'],
    jsonLimit: limit,
    // A JSON value that is no object is a question for validation, which names the field.
    jsonStrict: false,
    ...options,
    onError: (error) => {
      const { status } = error as { status?: number }
      if (status === 413) throw new AppError('body_too_large', `the body is larger than ${limit}`)
      throw new AppError('malformed_json', 'the body is not JSON, or has a field named __proto__')
    },
  })

const parse = parserOf(MAX_BODY)
// Whether it is JSON has been seen to.
const parseList = parserOf(MAX_LIST, { detectJSON: () => true })

/** @param lists types of JSON that may be larger, since they have many things in them. @throws AppError `unsupported_media_type`, `body_too_large` or `malformed_json`. */
export const readBody = async (context: Koa.Context, lists: readonly string[]): Promise<void> => {
  // Whether the route takes it is for the route to say.
  if (context.is('text/csv')) return
  const hasBody = (context.request.length ?? 0) > 0 || context.get('transfer-encoding') !== ''
  if (hasBody && !context.is('json', '+json')) throw new AppError('unsupported_media_type', 'the body must be JSON: send Content-Type: application/json')
  const isList = lists.length > 0 && context.is([...lists])
  await (isList ? parseList : parse)(context, async () => {})
}

/** Half of a character that takes two, as `"\\ud800"` writes it: storage and logs would each make something else of it. */
const illFormed = (body: unknown): string | undefined => {
  // Not by recursion: a body may be deeper than the stack.
  const left: [at: string, value: unknown][] = [['', body]]
  for (let next = left.pop(); next; next = left.pop()) {
    const [at, value] = next
    if (typeof value === 'string' && !value.isWellFormed()) return at || 'body'
    if (typeof value !== 'object' || value === null) continue
    for (const [name, part] of Object.entries(value)) {
      const here = under(at, Array.isArray(value) ? Number(name) : name).slice(0, MOST_NAME)
      if (!name.isWellFormed()) return here.toWellFormed()
      left.push([here, part])
    }
  }
  return undefined
}

/** Checks the text of callers with a key; what providers send is stored as it comes, whatever it holds. @throws AppError `invalid_request`. */
export const checkText = (context: Koa.Context): void => {
  const { body, rawBody } = context.request as { body?: unknown; rawBody?: string }
  // Nearly no body has any; those that may are looked through.
  if (!rawBody || !/\\u[dD][89a-fA-F]/.test(rawBody)) return
  const field = illFormed(body)
  if (field !== undefined) throw fieldError('invalid_request', field, 'contains half of a character (an unpaired surrogate): send complete Unicode characters')
}

/** No body is taken as an empty object, so that what is missing is named; `null` is a body, and a wrong one. */
export const bodyOf = (context: Koa.Context): unknown => {
  const { body, rawBody } = context.request as { body?: unknown; rawBody?: string }
  return rawBody === undefined || rawBody === '' ? {} : body
}

/** A body of any length is slowed down to what its sender may send, not refused. */
export const metered = (body: Readable, took: (bytes: number) => Promise<void>): Readable =>
  Readable.from(
    (async function* () {
      for await (const chunk of body) {
        await took((chunk as Buffer).length).catch((error: unknown) => {
          if (!(error instanceof RateLimitedError)) throw error
          return sleep(error.retryAfterS * 1_000)
        })
        yield chunk
      }
    })(),
    { objectMode: false },
  )
