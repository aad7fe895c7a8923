/**
 * A billing run with two control planes, each killed with -9 again and again at random moments: every subscription
 * that was due is billed exactly once.
 *
 *   BILLING_RUN=10000 npx ava test/e2e/billing-run.test.ts
 */
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import pMap from 'p-map'
import { keys } from '../../control-plane/keys.ts'
import { MAX_PAGE } from '../../control-plane/storage/storage.ts'
import { copyOf, openStorageOf } from '../support/due-subscriptions.ts'
import { eventually } from '../support/eventually.ts'
import { httpClient } from '../support/http-client.ts'
import { ledgerOf } from '../support/ledger.ts'
import { bundleDocument } from '../support/platform-model.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { mongodbAndNats, type Process, sqliteAndNats, startProcess, type World } from '../support/tollgate.ts'

const DUE = Number(process.env.BILLING_RUN ?? 600)
const SEED = Number(process.env.BILLING_RUN_SEED ?? Date.now() % 100_000)
const tenantId = 'billing-run'

const run = (world: World, count: number) => {
  const title = `${world.name}: ${count} renewals by two workers that are killed again and again are made once each`
  if (world.missing !== undefined) {
    test.skip(`${title} (${world.missing})`, () => {})
    return
  }
  test.serial(title, async (t) => {
    t.timeout(180_000 + count * 60)
    t.log(`BILLING_RUN=${count} BILLING_RUN_SEED=${SEED}`)
    const random = seededRandom(SEED)
    const tollgate = await world.start()
    t.teardown(tollgate.close)
    const storefronts = [{ id: 'us-store', currency: 'USD', paymentProviders: ['sim'] }]
    t.is((await httpClient(tollgate.http).post('/tenants', { id: tenantId, name: 'Billing run', storefronts })).status, 201)
    const api = httpClient(tollgate.http, { tenant: tenantId })
    t.is((await api.post('/psp-accounts', { id: 'sim', provider: 'simulator' })).status, 201)
    t.is((await api.post('/bundles', { ...bundleDocument, pricing: { amount: 100, currency: 'USD', interval: 'day' } })).status, 201)
    const order = { customerId: 'template', bundleId: 'pro-plan', storefrontId: 'us-store', paymentMethod: 'pm_card' }
    const { body } = await api.post('/subscriptions', order)
    t.is(body.status, 'active', JSON.stringify(body))
    await tollgate.controlPlane.stop('SIGKILL')

    const storage = await openStorageOf(tollgate.env)
    t.teardown(storage.close)
    const template = {
      subscription: await storage.subscriptions.get(keys.subscription(tenantId, body.id)),
      customer: await storage.customers.get(keys.customer(tenantId, 'us-store', 'template')),
    }
    const dueAt = new Date(Date.now() - 3_600_000)
    await pMap(
      Array.from({ length: count }, (_, n) => copyOf(template, `due-${n}`, dueAt)),
      async ({ subscription, customer }) => {
        await storage.customers.insert(customer)
        await storage.subscriptions.insert(subscription)
      },
      { concurrency: 16 },
    )

    const start = () => startProcess('control-plane/main.ts', { ...tollgate.env, HTTP_PORT: '0' })
    let [one, other]: Process[] = await Promise.all([start(), start()])
    t.teardown(() => Promise.all([one?.stop('SIGKILL'), other?.stop('SIGKILL')]))
    const isDue = async () => (await storage.subscriptions.due({ by: 'dueAt', where: { clock: 'system', tenantId }, until: new Date(), limit: 1 })).length > 0
    const startedAt = Date.now()
    let kills = 0
    while (await isDue()) {
      await sleep(500 + random() * 2_500)
      // Now the one, now the other, now both.
      const which = random()
      if (which < 0.6) {
        await one?.stop('SIGKILL')
        one = await start()
        kills += 1
      }
      if (which > 0.4) {
        await other?.stop('SIGKILL')
        other = await start()
        kills += 1
      }
    }
    const all = async () => {
      const found = []
      let cursor: string | undefined
      do {
        const page = await storage.subscriptions.page({ where: { tenantId }, limit: MAX_PAGE, cursor })
        found.push(...page.data)
        cursor = page.nextCursor
      } while (cursor)
      return found
    }
    await eventually(async () => (await all()).every((subscription) => !subscription.repairAt && subscription.bills.length === 0), 120_000, 1_000)
    t.log(`${kills} kills in ${Math.round((Date.now() - startedAt) / 1000)} s`)
    t.true(kills > 0)

    const subscriptions = await all()
    t.is(subscriptions.length, count + 1)
    for (const { id, status, currentPeriod } of subscriptions) {
      t.is(status, 'active', id)
      if (id !== body.id) t.is(currentPeriod.start.getTime(), dueAt.getTime(), `${id} is in its next period`)
    }
    const { charges, refunds } = await ledgerOf(tollgate, tenantId)
    t.deepEqual(refunds, [])
    t.is(charges.length, count + 1, 'one charge each')
    t.is(new Set(charges.map(({ reference }) => reference.replace(/-\d+$/, ''))).size, count + 1)
    t.true(charges.every(({ status }) => status === 'succeeded'))
  })
}

run(sqliteAndNats, DUE)
// The MongoDB-compatible server of the tests scans where MongoDB uses an index: each of many is slow there.
run(mongodbAndNats, DUE)
