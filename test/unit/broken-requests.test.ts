/** What is no request that can be read is told so in the words of the API, and never amid another answer. */
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { answerBrokenRequests } from '../../control-plane/http/broken-requests.ts'

/** @returns everything that comes back until the connection is closed. */
const sendRaw = async (t: ExecutionContext, bytes: string, listener: RequestListener = (_, response) => response.end('fine')): Promise<string> => {
  const server = createServer({ requestTimeout: 500, headersTimeout: 500, connectionsCheckingInterval: 50 }, listener)
  answerBrokenRequests(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.write(bytes)
  let text = ''
  socket.on('data', (data) => {
    text += data
  })
  await new Promise((resolve) => socket.on('error', () => {}).on('close', resolve))
  return text
}

const post = 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n'

const broken: [what: string, bytes: string, status: number, code: string, listener?: RequestListener][] = [
  ['an address that is too long', `GET /${'a'.repeat(20_000)} HTTP/1.1\r\nhost: x\r\n\r\n`, 431, 'headers_too_large'],
  ['headers that are too long', `GET / HTTP/1.1\r\nhost: x\r\nlong: ${'a'.repeat(20_000)}\r\n\r\n`, 431, 'headers_too_large'],
  ['what is not HTTP', 'hello\r\n\r\n', 400, 'invalid_request'],
  ['headers that do not end', 'GET / HTTP/1.1\r\nhost: x\r\n', 408, 'request_timeout'],
  ['a body that does not end', `${post}half`, 408, 'request_timeout', () => {}],
]

for (const [what, bytes, status, code, listener] of broken) {
  test(what, async (t) => {
    const [head = '', body = ''] = (await sendRaw(t, bytes, listener)).split('\r\n\r\n')
    t.true(head.startsWith(`HTTP/1.1 ${status} `), head)
    t.regex(head, /^content-type: application\/problem\+json$/m)
    const problem = JSON.parse(body)
    t.like(problem, { code, status })
    t.regex(head, new RegExp(`^x-request-id: ${problem.requestId}$`, 'm'))
  })
}

test('a broken request behind one that is being answered is not answered in its place', async (t) => {
  t.is(await sendRaw(t, 'GET / HTTP/1.1\r\nhost: x\r\n\r\nhello\r\n\r\n', () => {}), '')
  const begun = await sendRaw(t, 'GET / HTTP/1.1\r\nhost: x\r\n\r\nhello\r\n\r\n', (_, response) => response.write('half'))
  t.false(begun.includes('invalid_request'), begun)
})
