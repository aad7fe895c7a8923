/** What a failed call proves, met on real sockets. */
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import test from 'ava'
import { transportFailure } from '../../control-plane/payments/psp/transport-errors.ts'
import { freePort } from '../support/free-port.ts'

const failureOf = async (url: string, timeoutMs = 5_000) => {
  try {
    await (await fetch(url, { method: 'POST', body: '{}', signal: AbortSignal.timeout(timeoutMs) })).text()
    return undefined
  } catch (error) {
    return transportFailure(error)
  }
}

test('a refused connection and an unknown host never reached anybody', async (t) => {
  t.deepEqual(await failureOf(`http://127.0.0.1:${await freePort()}/`), { status: 'not_sent', pspCode: 'econnrefused' })
  t.is((await failureOf('http://nowhere.invalid/'))?.status, 'not_sent')
})

test('silence, a reset and a broken answer prove nothing', async (t) => {
  const silent = createServer(() => {})
  const resets = createTcpServer((socket) => socket.once('data', () => socket.resetAndDestroy()))
  const breaks = createTcpServer((socket) => socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{')))
  const urlOf = async (server: typeof resets) => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  }
  t.deepEqual(await failureOf(await urlOf(silent), 100), { status: 'unknown', pspCode: 'timeout' })
  t.is((await failureOf(await urlOf(resets)))?.status, 'unknown')
  t.is((await failureOf(await urlOf(breaks)))?.status, 'unknown')
  silent.closeAllConnections()
  for (const server of [silent, resets, breaks]) server.close()
})
