/** SIGTERM under load: nobody's call fails. */
import { promisify } from 'node:util'
import { Client, credentials, Metadata } from '@grpc/grpc-js'
import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { CheckEntitlementRequest } from '../../proto/gen/entitlement/v1/entitlement.ts'
import { openSidecar, setOf, type TestSidecar } from '../support/sidecar.ts'

const same = (bytes: Buffer) => bytes
const request = Buffer.from(
  CheckEntitlementRequest.encode({ tenantId: 'acme', storefrontId: 'us', customerId: 'anna', entitlement: 'sso', amount: 0n, minRevision: 0n }).finish(),
)

for (const transport of ['fast', 'grpc-js']) {
  test.serial(`${transport}: of two sidecars one is stopped under load, again and again, and no call fails`, async (t) => {
    const feed = createInProcessFeed({ clock: systemClock })
    await feed.putSet(setOf('anna'))
    const open = () => openSidecar({ SIDECAR_TRANSPORT: transport }, { feed })
    let pair: [TestSidecar, TestSidecar] = [await open(), await open()]
    /** As a balancer does: whoever goes away is not asked any more, and calls that it refused are asked elsewhere. */
    let clients = pair.map(({ address }) => new Client(address, credentials.createInsecure()))
    let [running, calls, failed] = [true, 0, 0]
    const ask = async (nth: number) => {
      while (running) {
        await new Promise<void>((resolve) => {
          const client = clients[(calls + nth) % clients.length] as Client
          client.makeUnaryRequest(
            '/entitlement.v1.EntitlementService/CheckEntitlement',
            same,
            same,
            request,
            new Metadata({ waitForReady: false }),
            { deadline: Date.now() + 5_000 },
            (error) => {
              calls += 1
              // Never sent: this test closes a client whose calls it may not have come to on a busy machine.
              if (error && !error.message.includes('Channel closed before call started')) {
                failed += 1
                t.log(error.message)
              }
              resolve()
            },
          )
        })
      }
    }
    const load = Array.from({ length: 16 }, (_, nth) => ask(nth))
    for (let round = 0; round < 5; round += 1) {
      await new Promise((resolve) => setTimeout(resolve, 150))
      const [leaving, staying] = pair
      const coming = await open()
      const next = new Client(coming.address, credentials.createInsecure())
      // A balancer sends nothing to who is not ready.
      await promisify(next.waitForReady.bind(next))(Date.now() + 10_000)
      const gone = clients[0]
      // The balancer hears of it first, as Kubernetes has it; calls that are under way are the sidecar's to finish.
      clients = [clients[1] as Client, next]
      await leaving.close()
      gone?.close()
      pair = [staying, coming]
    }
    running = false
    await Promise.all(load)
    t.true(calls > 500)
    t.is(failed, 0, `${failed} of ${calls} calls failed`)
    for (const client of clients) client.close()
    for (const sidecar of pair) await sidecar.close()
  })
}
