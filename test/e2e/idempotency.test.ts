/** A repeat under an Idempotency-Key while a provider takes its time, and after the process that asked it has died. */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { eventually } from '../support/eventually.ts'
import { inWorlds } from '../support/in-worlds.ts'
import type { StandIn } from '../support/psp/index.ts'
import { openLiveShop } from '../support/psp/live-shop.ts'
import { startFakeStripe } from '../support/psp/stripe.ts'
import { type World, worlds } from '../support/tollgate.ts'

/** As long as a lock lasts that nobody renews. */
const LOCK_MS = 5_000
/** Longer than that. */
const SLOW_MS = LOCK_MS + 3_000
const order = { bundleId: 'pro-plan', storefrontId: 'us-store' }

const stripes = new Map<World, StandIn>()
test.after.always(async () => {
  for (const { fake } of stripes.values()) await fake.close()
})

inWorlds(
  test,
  (story, world) => {
    story('a repeat waits as long as the provider does, and finds no last word in what a dead process has left', async ({ t, tollgate }) => {
      const stripe = stripes.get(world) as StandIn
      const shop = await openLiveShop(t, tollgate, { stripe }, { paymentProviders: ['stripe'] })
      const buy = (customerId: string) => shop.api.post('/subscriptions', { ...order, customerId }, { 'idempotency-key': customerId })

      await shop.customer('patient')
      stripe.fake.latencyMs = SLOW_MS
      const first = buy('patient')
      await sleep(LOCK_MS + 1_000)
      for (let n = 0; n < 2; n += 1) {
        const repeat = await buy('patient')
        t.is(repeat.status, 409, JSON.stringify(repeat.body))
        t.is(repeat.body.code, 'idempotency_in_progress')
        t.is(repeat.headers.get('retry-after'), '1')
      }
      t.like(await first, { status: 201, body: { status: 'active' } })
      const after = await buy('patient')
      t.is(after.headers.get('idempotent-replayed'), 'true')
      t.deepEqual(after.body, (await first).body)

      await shop.customer('unlucky')
      // The provider is still at it when the lock of the dead has run out.
      stripe.fake.latencyMs = 4 * LOCK_MS
      const cutOff = buy('unlucky').catch(() => undefined)
      const payments = async () => (await shop.api.get('/payments?storefrontId=us-store&customerId=unlucky')).body.data
      await eventually(async () => (await payments())[0]?.attempts[0]?.status === 'sent')
      await tollgate.controlPlane.stop('SIGKILL')
      await cutOff
      await tollgate.restartControlPlane()
      await eventually(async () => (await buy('unlucky')).status !== 409, 2 * LOCK_MS, 100)
      const found = await buy('unlucky')
      t.like(found, { status: 201, body: { status: 'incomplete', payment: { attempts: [{ status: 'sent' }] } } }, JSON.stringify(found.body))
      t.is(found.headers.get('idempotent-replayed'), null, 'it is not kept')
      stripe.fake.latencyMs = 0
      await eventually(async () => (await buy('unlucky')).body.status === 'active', 60_000, 500)
      const kept = await buy('unlucky')
      t.is(kept.headers.get('idempotent-replayed'), 'true')
      t.like(kept.body, { id: found.body.id, status: 'active' })
      t.is((await payments()).length, 1)
      t.is(stripe.fake.charges().filter(({ status }) => status === 'captured').length, 2, 'each was charged once')
    })
  },
  worlds,
  async (world) => {
    const fake = (await startFakeStripe()) as unknown as StandIn
    stripes.set(world, fake)
    return { STRIPE_URL: fake.fake.url, PSP_TIMEOUT_MS: String(SLOW_MS + 2_000), CREDENTIALS_KEY: randomBytes(32).toString('base64') }
  },
)
