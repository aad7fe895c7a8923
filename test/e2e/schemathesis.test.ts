/**
 * The whole OpenAPI document, fuzzed by Schemathesis for a bounded time: no 5xx, no answer that is not in it, and no operation
 * left out. SCHEMATHESIS names the program, SCHEMATHESIS_SECONDS and SCHEMATHESIS_SEED how long and which requests. A quarter of the
 * time is for the platform's key: it has few operations, but the program must have started by then, beside all other tests.
 */
import test, { type ExecutionContext } from 'ava'
import { openFuzzedShop } from '../support/fuzzed-shop.ts'
import { type FuzzReport, fuzz } from '../support/schemathesis.ts'
import { openShop } from '../support/shop.ts'
import { embedded, PLATFORM_KEY } from '../support/tollgate.ts'

const { SCHEMATHESIS: program } = process.env
const seconds = Number(process.env.SCHEMATHESIS_SECONDS ?? 120)
const seed = Number(process.env.SCHEMATHESIS_SEED ?? 1)

/**
 * What takes its own key or its own tenant away is called with the platform's key, and so is what names an identity provider:
 * signing in at one that is made up is 503, for good reason.
 */
const notAsAdmin = ['deleteApiKey', 'postApiKeyRotate', 'deleteTenant', 'putIdentityProvider']
const asPlatform = [...notAsAdmin, 'getMetrics', 'getPlatformAuditLog', 'postTenants', 'getTenant', 'postApiKeys', 'getApiKey']
const oneOf = (operations: string[]): string => `^(${operations.join('|')})$`

const nothingWrong = (t: ExecutionContext, report: FuzzReport, what: string) => {
  const { stop_reason, operations, test_cases, failures, errors, output } = report
  t.log(`${what}: ${test_cases.generated} requests to ${operations.tested} operations; SCHEMATHESIS_SEED=${seed}`)
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
      KEY_BYTES_PER_SECOND: '1000000000',
      OPEN_REQUESTS_PER_SECOND: '1000000',
      // Accounts that it makes up must not reach a provider.
      STRIPE_URL: nowhere,
      ADYEN_URL: nowhere,
      PAYPAL_URL: nowhere,
      MERCADOPAGO_URL: nowhere,
    })
    t.teardown(tollgate.close)
    const { shop, values, valuesOf } = await openFuzzedShop(t, tollgate)
    const all = { url: tollgate.http, seed }
    const byAdmin = await fuzz(program, {
      ...all,
      ...{ key: shop.apiKey, values, valuesOf, without: ['x-tn'], seconds: Math.ceil(seconds * 0.75) },
      only: ['--exclude-operation-id-regex', oneOf(notAsAdmin)],
    })
    nothingWrong(t, byAdmin, 'with an admin key')
    t.is(byAdmin.operations.selected, byAdmin.operations.total - notAsAdmin.length)
    t.is((await shop.api.get('/test-clock')).status, 200, 'the key is good to the end')
    const toEnd = await openShop(t, tollgate)
    const byPlatform = await fuzz(program, {
      ...all,
      ...{ key: PLATFORM_KEY, values: { ...values, 'path.tenant': [toEnd.tenantId] }, seconds: Math.ceil(seconds * 0.25) },
      only: ['--include-operation-id-regex', oneOf(asPlatform)],
    })
    nothingWrong(t, byPlatform, 'with the platform key')
    t.is(byPlatform.operations.selected, asPlatform.length)
  })
