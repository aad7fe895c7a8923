/**
 * The whole OpenAPI document, fuzzed by Schemathesis for a bounded time: no 5xx, no answer that is not in it, and no operation
 * left out. SCHEMATHESIS names the program, SCHEMATHESIS_SECONDS and SCHEMATHESIS_SEED how long and which requests.
 */
import test, { type ExecutionContext } from 'ava'
import { openFuzzedShop } from '../support/fuzzed-shop.ts'
import { type FuzzReport, fuzz } from '../support/schemathesis.ts'
import { openShop } from '../support/shop.ts'
import { embedded, PLATFORM_KEY } from '../support/tollgate.ts'

const { SCHEMATHESIS: program } = process.env
const seconds = Number(process.env.SCHEMATHESIS_SECONDS ?? 60)
const seed = Number(process.env.SCHEMATHESIS_SEED ?? 1)

/** What takes its own key or its own tenant away is called with the platform's key. */
const ofItself = ['--exclude-path-regex', '^/v1/api-keys/', '--exclude-operation-id', 'deleteTenant']
const platformPaths = '^/(metrics|v1/tenants|v1/platform|v1/api-keys)'

const nothingWrong = (t: ExecutionContext, report: FuzzReport, what: string) => {
  const { stop_reason, operations, test_cases, failures, errors, output } = report
  t.log(`${what}: ${test_cases.generated} requests to ${operations.tested} operations; SCHEMATHESIS_SEED=${seed}`)
  const taken = Object.entries(report.valid_rates).map(([operation, phases]) => ({
    operation,
    accepted: Object.values(phases).reduce((sum, { accepted }) => sum + accepted, 0),
  }))
  t.log(`none taken: ${taken.flatMap(({ operation, accepted }) => (accepted === 0 ? [operation] : [])).join(', ')}`)
  t.deepEqual(failures, [], output)
  t.deepEqual(errors, [], output)
  t.true(['completed', 'max_time'].includes(stop_reason), output)
  t.is(operations.tested, operations.selected, output)
  t.is(operations.errored, 0, output)
}

if (program === undefined || program === '') test.skip('Schemathesis (SCHEMATHESIS is not set)', () => {})
else
  test('Schemathesis finds no 5xx and no answer against the document, in any operation', async (t) => {
    t.timeout((seconds + 300) * 1_000)
    const nowhere = 'http://127.0.0.1:9'
    const tollgate = await embedded.start({
      KEY_REQUESTS_PER_SECOND: '1000000',
      KEY_CONCURRENCY: '10000',
      // Accounts that it makes up must not reach a provider.
      STRIPE_URL: nowhere,
      ADYEN_URL: nowhere,
      PAYPAL_URL: nowhere,
      MERCADOPAGO_URL: nowhere,
    })
    t.teardown(tollgate.close)
    const { shop, values, valuesOf } = await openFuzzedShop(t, tollgate)
    const all = { url: tollgate.http, values, seed }
    const ofTenant = { key: shop.apiKey, valuesOf, only: ofItself, without: ['x-tn'] }
    const asAdmin = await fuzz(program, { ...all, ...ofTenant, seconds: Math.ceil(seconds * 0.8) })
    nothingWrong(t, asAdmin, 'with an admin key')
    t.is((await shop.api.get('/test-clock')).status, 200, 'the key is good to the end')
    const toEnd = await openShop(t, tollgate)
    const ofPlatform = { key: PLATFORM_KEY, values: { ...values, 'path.tenant': [toEnd.tenantId] }, only: ['--include-path-regex', platformPaths] }
    const asPlatform = await fuzz(program, { ...all, ...ofPlatform, seconds: Math.ceil(seconds * 0.2) })
    nothingWrong(t, asPlatform, 'with the platform key')
  })
