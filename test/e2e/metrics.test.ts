/** The control plane's metrics on a port of their own. */
import test from 'ava'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { openShop } from '../support/shop.ts'
import { worlds } from '../support/tollgate.ts'

inWorlds(
  test,
  (story, world) => {
    const metricsOf = async (env: Record<string, string>) => (await fetch(`http://127.0.0.1:${env.METRICS_PORT}/metrics`)).text()
    const sampleOf = (text: string, sample: string) =>
      Number(
        text
          .split('\n')
          .find((line) => line.startsWith(`${sample} `))
          ?.slice(sample.length) ?? Number.NaN,
      )

    story('metrics have a port of their own, which has nothing else and needs no key', async ({ t, tollgate }) => {
      const { METRICS_PORT: port = '' } = tollgate.env
      const answer = await fetch(`http://127.0.0.1:${port}/metrics`)
      t.is(answer.status, 200)
      t.regex(answer.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/)
      t.regex(await answer.text(), /^tollgate_build_info\{version="\d+\.\d+\.\d+",node="24\./m)
      t.is((await fetch(`http://127.0.0.1:${port}/v1/tenants`)).status, 404)
    })

    story('they count requests, attempts, publications and work, and name no customer', async ({ t, tollgate }) => {
      const shop = await openShop(t, tollgate)
      const text = () => metricsOf(tollgate.env)
      const before = await text()
      t.is((await shop.subscribe('mystery-customer')).status, 201)
      t.is((await shop.subscribe('mystery-customer-2', 'pm_decline_funds')).status, 201)
      t.is((await shop.api.get('/storefronts/us-store/customers/mystery-customer')).status, 200)
      const after = await text()
      const grown = (sample: string) => sampleOf(after, sample) - (sampleOf(before, sample) || 0)
      t.is(grown('tollgate_http_requests_total{method="POST",route="/v1/subscriptions",status="2xx"}'), 2)
      t.is(grown('tollgate_http_request_seconds_count{method="GET",route="/v1/storefronts/{storefront}/customers/{customer}"}'), 1)
      t.is(grown('tollgate_payment_attempts_total{provider="sandbox",outcome="succeeded",decline_class=""}'), 1)
      t.true(grown('tollgate_payment_attempts_total{provider="sandbox",outcome="declined",decline_class="funds"}') >= 1)
      t.true(grown('tollgate_feed_puts_total{outcome="put"}') >= 1)
      t.true(grown('tollgate_storage_seconds_count{operation="replace"}') >= 4)
      t.is(sampleOf(after, 'tollgate_unknown_outcomes'), 0)
      // The provider decides later, and says so by a webhook.
      const order = { storefrontId: 'us-store', customerId: 'mystery-customer', amount: 100, currency: 'USD', paymentMethod: 'pm_pending_1h' }
      t.is((await shop.api.post('/payments', order)).status, 201)
      const ofOutcome = async (outcome: string) =>
        sampleOf(await text(), `tollgate_payment_attempts_total{provider="sandbox",outcome="${outcome}",decline_class=""}`)
      t.is(await ofOutcome('pending'), 1)
      const succeeded = await ofOutcome('succeeded')
      t.is((await shop.setClock('2024-03-15T06:00:00Z')).status, 200)
      await eventually(async () => (await ofOutcome('succeeded')) === succeeded + 1)
      t.false(after.includes('mystery'))
      await eventually(async () => sampleOf(await text(), 'tollgate_work_due{lane="repair subscriptions"}') === 0)
      // A feed in the same process needs no beats.
      if (world.name.includes('NATS')) t.true(sampleOf(await text(), 'tollgate_feed_beat_age_seconds') < 30)
      else t.notRegex(after, /^tollgate_feed_beat_age_seconds /m)
      t.is(/^tollgate_storage_pool_wait_seconds_count [1-9]/m.test(after), world.name.includes('MongoDB'))
    })
  },
  worlds,
  async () => ({ METRICS_PORT: String(await freePort()) }),
)
