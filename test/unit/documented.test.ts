/** The look at the document that every end-to-end test has: it finds what it is for. */
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import test from 'ava'
import { openApiDocument } from '../../control-plane/http/openapi.ts'
import { routes } from '../../control-plane/http/routes/index.ts'
import { httpClient } from '../support/http-client.ts'

const document = JSON.stringify(openApiDocument(routes))

const answerings = async (answer: (response: ServerResponse) => void) => {
  const server = createServer((request, response) => {
    if (request.url !== '/openapi.json') return answer(response)
    response.end(document)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { api: httpClient(`http://127.0.0.1:${(server.address() as AddressInfo).port}`), close: () => server.close() }
}

const wrong: [what: string, status: number, type: string, body: unknown, path: string, found: RegExp | undefined][] = [
  ['as it is documented', 200, 'application/json', { now: '2024-03-15T00:00:00.000Z' }, '/test-clock', undefined],
  ['a field that is no instant', 200, 'application/json', { now: 'noon' }, '/test-clock', /date-time/],
  ['a field that the schema does not name', 200, 'application/json', { now: '2024-03-15T00:00:00.000Z', later: 1 }, '/test-clock', /more than its schema/],
  ['a field that is missing', 200, 'application/json', {}, '/test-clock', /required/],
  ['a status that the route has not', 202, 'application/json', { now: '2024-03-15T00:00:00.000Z' }, '/test-clock', /status 202/],
  ['another type', 200, 'text/html', { now: '2024-03-15T00:00:00.000Z' }, '/test-clock', /text\/html/],
  ['a problem without its code', 404, 'application/problem+json', { type: 't', title: 't', status: 404, detail: 'd', requestId: 'r' }, '/payments/p', /code/],
  [
    'a code that the route does not have',
    409,
    'application/problem+json',
    { type: 't', title: 't', status: 409, code: 'already_exists', detail: 'd', requestId: 'r' },
    '/payments/p',
    /enum/,
  ],
  ['what is at no path of it', 200, 'text/html', {}, '/nowhere', undefined],
]

for (const [what, status, type, body, path, found] of wrong) {
  test(what, async (t) => {
    const { api, close } = await answerings((response) => response.writeHead(status, { 'content-type': type }).end(JSON.stringify(body)))
    t.teardown(close)
    if (found) await t.throwsAsync(api.get(path), { message: found })
    else t.is((await api.get(path)).status, status)
  })
}
