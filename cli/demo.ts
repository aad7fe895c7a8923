/**
 * `npm run demo`: the three example businesses of the platform model, set up over HTTP in a running Tollgate, each
 * call printed as it is made; then what a sidecar answers. Needs the platform key in PLATFORM_API_KEY.
 * Run again it says that the businesses are there, and asks the sidecar again.
 */
import { credentials, Metadata } from '@grpc/grpc-js'
import { ConfigError, readConfig } from '../common/config.ts'
import { formatMoney } from '../common/money.ts'
import { type CheckEntitlementResponse, EntitlementServiceClient } from '../proto/gen/entitlement/v1/entitlement.ts'
import { businesses } from './demo-businesses.ts'
import { describeAnswer } from './describe-answer.ts'

const DEADLINE_MS = 5_000

const say = (line: string) => process.stdout.write(`${line}\n`)

interface Subscribed {
  status: string
  entitlementRevision: number
  nextPayment: { amount: number; currency: string; on: string } | null
}

const run = async (): Promise<void> => {
  const { HOST, HTTP_PORT, GRPC_PORT, PLATFORM_API_KEY } = readConfig()
  if (!PLATFORM_API_KEY) throw new ConfigError('PLATFORM_API_KEY must be set, to the key that the server printed at its first start or was given.')
  const base = `http://${HOST}:${HTTP_PORT}`

  /** @returns the answer; undefined when what was to be made is there already. */
  const call = async (method: string, path: string, body: object, tenant?: string): Promise<unknown> => {
    const answer = await fetch(`${base}/v1${path}`, {
      method,
      body: JSON.stringify(body),
      headers: { authorization: `Bearer ${PLATFORM_API_KEY}`, 'content-type': 'application/json', ...(tenant ? { 'x-tn': tenant } : {}) },
    }).catch((error: Error) => {
      throw new ConfigError(
        `no Tollgate answers at ${base} (${error.cause instanceof Error ? error.cause.message : error.message}); start one with npm start, or say where it is with HOST and HTTP_PORT`,
      )
    })
    const said = (await answer.json()) as { detail?: string }
    say(`${method} /v1${path}${tenant ? `   x-tn: ${tenant}` : ''}\n  ${JSON.stringify(body)}\n  → ${answer.status}${answer.ok ? '' : ` ${said.detail}`}`)
    if (answer.ok) return said
    if (answer.status === 409) return undefined
    throw new ConfigError(`${method} ${path} was refused: ${said.detail}`)
  }

  const client = new EntitlementServiceClient(`${HOST}:${GRPC_PORT}`, credentials.createInsecure())
  const check = (question: { tenantId: string; storefrontId: string; customerId: string; entitlement: string; minRevision: number }) =>
    new Promise<CheckEntitlementResponse>((resolve, reject) => {
      const request = { ...question, amount: 1n, minRevision: BigInt(question.minRevision) }
      client.checkEntitlement(request, new Metadata(), { deadline: Date.now() + DEADLINE_MS }, (error, response) => (error ? reject(error) : resolve(response)))
    })

  for (const { tenant, now, bundles, customers } of businesses) {
    say(`\n=== ${tenant.name} ===`)
    const isNew = (await call('POST', '/tenants', tenant)) !== undefined
    if (isNew) await call('PUT', '/test-clock', { now }, tenant.id)
    for (const bundle of bundles) await call('POST', '/bundles', bundle, tenant.id)
    for (const { customer, subscription, usage, checks } of customers) {
      await call('POST', '/customers', customer, tenant.id)
      let minRevision = 0
      if (isNew) {
        const subscribed = (await call('POST', '/subscriptions', subscription, tenant.id)) as Subscribed
        const next = subscribed.nextPayment
        say(`  ${customer.id} is ${subscribed.status}${next ? `; next payment ${formatMoney(next.amount, next.currency)} on ${next.on}` : ''}`)
        minRevision = subscribed.entitlementRevision
        for (const report of usage) minRevision = ((await call('POST', '/usage', report, tenant.id)) as Subscribed).entitlementRevision
      }
      for (const entitlement of checks) {
        const question = { tenantId: tenant.id, storefrontId: customer.storefrontId, customerId: customer.id, entitlement, minRevision }
        say(`CheckEntitlement ${tenant.id} ${customer.storefrontId} ${customer.id} ${entitlement}`)
        say(describeAnswer(await check(question)).replaceAll(/^/gm, '  '))
      }
    }
  }
  client.close()
}

try {
  await run()
} catch (error) {
  process.stderr.write(`${error instanceof ConfigError ? error.message : error instanceof Error ? error.stack : String(error)}\n`)
  process.exit(1)
}
