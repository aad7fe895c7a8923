/** SIGTERM: not ready first, then every listener to its end, under writers and with connections that say nothing. */
import { once } from 'node:events'
import { connect } from 'node:net'
import test from 'ava'
import { eventually } from '../support/eventually.ts'
import { httpClient } from '../support/http-client.ts'
import { openShop } from '../support/shop.ts'
import { worlds } from '../support/tollgate.ts'

for (const world of worlds) {
  const run = world.missing === undefined ? test.serial : test.skip
  run(
    `${world.name}: it ends with 0 under writers, with a silent connection and half a request, and loses nothing${world.missing ? ` (${world.missing})` : ''}`,
    async (t) => {
      t.timeout(120_000)
      const tollgate = await world.start()
      t.teardown(tollgate.close)
      const shop = await openShop(t, tollgate)
      const { hostname, port } = new URL(tollgate.http)
      const sockets = [connect(Number(port), hostname), connect(Number(port), hostname)]
      await Promise.all(sockets.map((socket) => once(socket, 'connect')))
      for (const socket of sockets) socket.on('error', () => {})
      sockets[1]?.write('POST /v1/customers HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"id')
      const acknowledged: string[] = []
      let closing = 0
      const writer = async (name: number) => {
        for (let n = 0; ; n += 1) {
          const id = `w${name}-${n}`
          try {
            const answer = await fetch(`${tollgate.http}/v1/customers`, {
              method: 'POST',
              headers: { authorization: `Bearer ${shop.apiKey}`, 'content-type': 'application/json' },
              body: JSON.stringify({ id, storefrontId: 'us-store' }),
            })
            if (answer.status === 201) acknowledged.push(id)
            if (answer.headers.get('connection') === 'close') closing += 1
            await answer.text()
          } catch {
            return
          }
        }
      }
      const writers = Array.from({ length: 8 }, (_, name) => writer(name))
      await eventually(() => acknowledged.length > 50)
      const asked = Date.now()
      const code = await tollgate.controlPlane.stop('SIGTERM')
      t.is(code, 0)
      t.true(Date.now() - asked < 10_000)
      await Promise.all(writers)
      t.true(closing > 0, 'answers say that the connection ends')
      for (const socket of sockets) socket.destroy()
      await tollgate.restartControlPlane()
      const api = httpClient(tollgate.http, { key: shop.apiKey })
      for (const id of acknowledged.slice(-20)) t.is((await api.get(`/storefronts/us-store/customers/${id}`)).status, 200, id)
      if (tollgate.sidecar === tollgate.controlPlane) return
      const http = connect(Number(tollgate.env.SIDECAR_HTTP_PORT), '127.0.0.1')
      await once(http, 'connect')
      http.on('error', () => {})
      t.is(await tollgate.sidecar.stop('SIGTERM'), 0, 'a silent connection does not keep a sidecar')
    },
  )
}
