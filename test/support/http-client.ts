/** A caller of the HTTP API, who holds every answer against the document. */
import { checkDocumented } from './documented.ts'
import { PLATFORM_KEY } from './tollgate.ts'

export interface HttpAnswer {
  status: number
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape.
  body: any
  headers: Headers
}

export interface HttpClient {
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<HttpAnswer>
  get(path: string, headers?: Record<string, string>): Promise<HttpAnswer>
  post(path: string, body?: unknown, headers?: Record<string, string>): Promise<HttpAnswer>
  put(path: string, body: unknown, headers?: Record<string, string>): Promise<HttpAnswer>
  patch(path: string, body: unknown, headers?: Record<string, string>): Promise<HttpAnswer>
}

export interface HttpClientOptions {
  /** With `key: undefined` none is shown. */
  key?: string | undefined
  tenant?: string
  /** For measurements, which the look at the document would be a part of. */
  unchecked?: boolean
}

export const httpClient = (base: string, options: HttpClientOptions = {}): HttpClient => {
  const { tenant, unchecked = false } = options
  const key = 'key' in options ? options.key : PLATFORM_KEY
  const call: HttpClient['call'] = async (method, path, body, headers = {}) => {
    const target = `${path.startsWith('/v1') || path === '/openapi.json' ? '' : '/v1'}${path}`
    const answer = await fetch(`${base}${target}`, {
      method,
      headers: {
        ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
        ...(tenant ? { 'x-tn': tenant } : {}),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const text = await answer.text()
    const isJson = /json(;|$)/.test(answer.headers.get('content-type') ?? '')
    const given = { status: answer.status, body: text === '' ? undefined : isJson ? JSON.parse(text) : text, headers: answer.headers }
    if (!unchecked) await checkDocumented(base, method, target, given)
    return given
  }
  return {
    call,
    get: (path, headers) => call('GET', path, undefined, headers),
    post: (path, body = {}, headers) => call('POST', path, body, headers),
    put: (path, body, headers) => call('PUT', path, body, headers),
    patch: (path, body, headers) => call('PATCH', path, body, headers),
  }
}
