/**
 * `npm run demo`: the three example businesses of the platform model, set up over HTTP in a running Tollgate, each
 * call printed as it is made; then what a sidecar answers. Needs the platform key in PLATFORM_API_KEY.
 * Run again it says that the businesses are there, and asks the sidecar again.
 */
import { ConfigError, readConfig } from '../common/config.ts'
import { formatMoney } from '../common/money.ts'
import { Kind } from '../proto/gen/entitlement/v1/entitlement.ts'
import { businesses } from './demo-businesses.ts'
import { describeAnswer } from './describe-answer.ts'
import { sidecarToAsk } from './sidecar.ts'

const say = (line: string) => process.stdout.write(`${line}\n`)

interface Subscribed {
  status: string
  entitlementRevision: number
  nextPayment: { amount: number; currency: string; on: string } | null
}

const run = async (): Promise<void> => {
  const { HOST, HTTP_PORT, PLATFORM_API_KEY } = readConfig()
  if (!PLATFORM_API_KEY)
    throw new ConfigError("PLATFORM_API_KEY must be set to the server's key: the one that you gave it, or that it printed at its first start.")
  const key = PLATFORM_API_KEY[0]?.reveal()
  const base = `http://${HOST}:${HTTP_PORT}`

  /** @returns the answer; undefined when what was to be made is there already. */
  const call = async (method: string, path: string, body?: object, tenant?: string): Promise<unknown> => {
    const answer = await fetch(`${base}/v1${path}`, {
      method,
      ...(body ? { body: JSON.stringify(body) } : {}),
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...(tenant ? { 'x-tn': tenant } : {}) },
    }).catch((error: Error) => {
      throw new ConfigError(
        `no Tollgate answers at ${base} (${error.cause instanceof Error ? error.cause.message : error.message}); start one with npm start, or set HOST and HTTP_PORT to its address`,
      )
    })
    const said = (await answer.json()) as { detail?: string }
    const sent = body ? `\n  ${JSON.stringify(body)}` : ''
    say(`${method} /v1${path}${tenant ? `   x-tn: ${tenant}` : ''}${sent}\n  → ${answer.status}${answer.ok ? '' : ` ${said.detail}`}`)
    if (answer.ok) return said
    if (answer.status === 409) return undefined
    throw new ConfigError(`${method} ${path} was refused: ${said.detail}`)
  }

  const sidecar = sidecarToAsk()
  for (const { tenant, now, bundles, customers } of businesses) {
    say(`\n=== ${tenant.name} ===`)
    const isNew = (await call('POST', '/tenants', tenant)) !== undefined
    if (isNew) await call('PUT', '/test-clock', { now }, tenant.id)
    for (const bundle of bundles) await call('POST', '/bundles', bundle, tenant.id)
    for (const { customer, subscription, usage, checks } of customers) {
      await call('POST', '/customers', customer, tenant.id)
      let minRevision = 0
      // One that ended half way is gone on with.
      const where = new URLSearchParams({ storefrontId: customer.storefrontId, customerId: customer.id })
      const { data } = (await call('GET', `/subscriptions?${where}`, undefined, tenant.id)) as { data: unknown[] }
      if (data.length === 0) {
        const subscribed = (await call('POST', '/subscriptions', subscription, tenant.id)) as Subscribed
        const next = subscribed.nextPayment
        say(`  ${customer.id} is ${subscribed.status}${next ? `; next payment ${formatMoney(next.amount, next.currency)} on ${next.on}` : ''}`)
        minRevision = subscribed.entitlementRevision
        for (const report of usage) minRevision = ((await call('POST', '/usage', report, tenant.id)) as Subscribed).entitlementRevision
      }
      for (const entitlement of checks) {
        const question = { tenantId: tenant.id, storefrontId: customer.storefrontId, customerId: customer.id, entitlement }
        say(`CheckEntitlement ${tenant.id} ${customer.storefrontId} ${customer.id} ${entitlement}`)
        const answer = await sidecar.check({ ...question, amount: 1n, minRevision: BigInt(minRevision) })
        say(describeAnswer(answer).replaceAll(/^/gm, '  '))
        if (answer.kind !== Kind.KIND_QUOTA || !answer.allowed) continue
        say(`ConsumeEntitlement ${tenant.id} ${customer.storefrontId} ${customer.id} ${entitlement}`)
        const { counted, decision } = await sidecar.consume({ ...question, amount: 1n, minRevision: BigInt(minRevision) })
        say(`  ${counted ? 'counted' : 'not counted'}: ${decision?.used} of ${decision?.limit} used`)
      }
    }
  }
  sidecar.close()
}

try {
  await run()
} catch (error) {
  process.stderr.write(`${error instanceof ConfigError ? error.message : error instanceof Error ? error.stack : String(error)}\n`)
  process.exit(1)
}
