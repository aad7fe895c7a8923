/**
 * A provider that was away sends everything at once, and twice: all of it is acknowledged, and each payment is changed
 * once.
 *
 *   WEBHOOK_BURST=10000 npx ava test/e2e/payments/webhook-burst.test.ts
 */
import { performance } from 'node:perf_hooks'
import test from 'ava'
import pMap from 'p-map'
import { eventually } from '../../support/eventually.ts'
import { openCounter } from '../../support/psp/counter.ts'
import { type StandIn, standIns } from '../../support/psp/index.ts'

const EVENTS = Number(process.env.WEBHOOK_BURST ?? 400)
const AT_ONCE = 128

test.serial(`a burst of ${EVENTS} webhooks, each sent twice, is acknowledged and applied once each`, async (t) => {
  t.timeout(600_000)
  const bank = (await standIns.local()) as StandIn
  bank.fake.webhooks.mode = 'never'
  const counter = await openCounter({ bank }, { paymentProviders: ['bank'] }, { env: { PSP_TIMEOUT_MS: '10000' } })
  try {
    const paymentMethods = [{ id: 'card', tokens: { bank: bank.token('pending') } }]
    await counter.api.post('/customers', { id: 'c', storefrontId: 'store', paymentMethods })
    const order = { storefrontId: 'store', customerId: 'c', amount: 2900, currency: 'USD', paymentMethod: 'card' }
    const made = await pMap(Array.from({ length: EVENTS }), () => counter.api.post('/payments', order), { concurrency: 16 })
    t.true(made.every(({ body }) => body.status === 'processing'))

    const events = bank.fake.charges().map((charge) => {
      charge.status = 'captured'
      return bank.eventOf(charge)
    })
    const tookMs: number[] = []
    const statuses = await pMap(
      [...events, ...events],
      async (event) => {
        const from = performance.now()
        const status = await bank.fake.send(event)
        tookMs.push(performance.now() - from)
        return status
      },
      { concurrency: AT_ONCE },
    )
    t.deepEqual([...new Set(statuses)], [200])
    const open = async (status: string) => (await counter.api.get(`/webhook-events?status=${status}&limit=1`)).body.data.length > 0
    await eventually(async () => !(await open('received')) && !(await open('failed')), 300_000, 200)

    let applied = 0
    let cursor = ''
    do {
      const { body } = await counter.api.get(`/webhook-events?status=applied&limit=500${cursor}`)
      applied += body.data.length
      cursor = body.nextCursor ? `&cursor=${body.nextCursor}` : ''
    } while (cursor)
    t.is(applied, EVENTS)
    const payments = await pMap(made, async ({ body }) => (await counter.api.get(`/payments/${body.id}`)).body, { concurrency: 16 })
    t.true(payments.every(({ status, attempts, refunds }) => status === 'succeeded' && attempts.length === 1 && refunds.length === 0))
    tookMs.sort((a, b) => a - b)
    const at = (share: number) => tookMs[Math.floor(share * (tookMs.length - 1))]?.toFixed(0)
    t.log(`${2 * EVENTS} webhooks, ${AT_ONCE} at once: answered in p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, at most ${at(1)} ms`)
  } finally {
    await counter.close()
    await bank.fake.close()
  }
})
