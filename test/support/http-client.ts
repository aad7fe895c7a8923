/** A caller of the HTTP API. */
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

export const httpClient = (base: string, options: { key?: string | undefined; tenant?: string } = {}): HttpClient => {
  const { tenant } = options
  // With `key: undefined` none is shown.
  const key = 'key' in options ? options.key : PLATFORM_KEY
  const call: HttpClient['call'] = async (method, path, body, headers = {}) => {
    const answer = await fetch(`${base}${path.startsWith('/v1') || path === '/openapi.json' ? '' : '/v1'}${path}`, {
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
    return { status: answer.status, body: text === '' ? undefined : isJson ? JSON.parse(text) : text, headers: answer.headers }
  }
  return {
    call,
    get: (path, headers) => call('GET', path, undefined, headers),
    post: (path, body = {}, headers) => call('POST', path, body, headers),
    put: (path, body, headers) => call('PUT', path, body, headers),
    patch: (path, body, headers) => call('PATCH', path, body, headers),
  }
}
