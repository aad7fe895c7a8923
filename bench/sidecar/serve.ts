/**
 * One server of the comparison, in a process of its own: `node bench/sidecar/serve.ts <what> <customers>`. It prints
 * `ready <port>`.
 *
 *   fast, grpc-js   Tollgate's sidecar on either transport, with all the customers in memory
 *   bare-grpc-js    the least that a server of grpc-js can do: the same messages by ts-proto, one constant answer
 *   http2           the least that node:http2 can do: gRPC framed by hand, one constant answer
 */
import { createServer } from 'node:http2'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { systemClock } from '../../common/clock.ts'
import { readConfig } from '../../common/config.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { createLog } from '../../common/log.ts'
import { CheckEntitlementResponse, EntitlementServiceService, Kind, Reason } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { startSidecar } from '../../sidecar/compose.ts'
import { setOf } from './population.ts'

const [what = 'fast', customers = '100000'] = process.argv.slice(2)

const answer = (): CheckEntitlementResponse => ({
  allowed: true,
  reason: Reason.REASON_GRANTED,
  kind: Kind.KIND_FLAG,
  limit: 0n,
  used: 0n,
  remaining: 0n,
  unlimited: false,
  resetsAt: undefined,
  value: '',
  validUntil: new Date(Date.UTC(2036, 0, 15)),
  bundleId: 'pro-plan',
  subscriptionId: 'sub_01J00000000000000000000001',
  revision: 3n,
  asOf: new Date(),
  stale: false,
})

const startTollgate = async (transport: 'fast' | 'grpc-js'): Promise<number> => {
  const env = {
    SIDECAR_TRANSPORT: transport,
    GRPC_PORT: '0',
    SIDECAR_HTTP_PORT: '0',
    LOG_LEVEL: 'error',
    ...(process.env.GRPC_SOCKET === undefined ? {} : { GRPC_SOCKET: process.env.GRPC_SOCKET }),
    CACHE_MAX_BYTES: process.env.CACHE_MAX_BYTES ?? '1GiB',
  }
  const feed = createInProcessFeed({
    clock: systemClock,
    lookup: { getSet: async (customer) => setOf(Number.parseInt(customer.customerId.slice(9), 10)), getClock: async () => undefined },
  })
  const sidecar = await startSidecar({ config: readConfig(env), feed, clock: systemClock, log: createLog('error') })
  for (let n = 0; n < Number(customers); n += 1) sidecar.replica.cache.set(setOf(n), Date.now())
  // What filling it has left behind is not what it holds.
  globalThis.gc?.()
  return Number(sidecar.address.split(':').at(-1))
}

const startBare = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = new Server()
    server.addService(EntitlementServiceService, {
      checkEntitlement: (_: unknown, callback: (error: null, response: CheckEntitlementResponse) => void) => callback(null, answer()),
    } as never)
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port)))
  })

const startHttp2 = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer()
    server.on('stream', (stream) => {
      // The load ends by cutting its connections.
      stream.on('error', () => undefined)
      stream.on('data', () => undefined)
      stream.on('end', () => {
        const message = CheckEntitlementResponse.encode(answer()).finish()
        const framed = Buffer.alloc(5 + message.length)
        framed.writeUInt32BE(message.length, 1)
        framed.set(message, 5)
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
        stream.end(framed)
      })
    })
    server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port))
  })

const port = what === 'bare-grpc-js' ? await startBare() : what === 'http2' ? await startHttp2() : await startTollgate(what === 'grpc-js' ? 'grpc-js' : 'fast')
process.send?.({ port })
process.stdout.write(`ready ${port}\n`)

process.on('SIGTERM', () => process.exit(0))
