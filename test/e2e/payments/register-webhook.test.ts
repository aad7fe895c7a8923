/** `register-webhook`: our address is set up at providers that have an API for it, and their events verify from then on. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { eventually } from '../../support/eventually.ts'
import { startFakeAdyen } from '../../support/psp/adyen.ts'
import { startFakeBank } from '../../support/psp/bank.ts'
import { openCounter } from '../../support/psp/counter.ts'
import { openLiveShop } from '../../support/psp/live-shop.ts'
import { startFakeMercadopago } from '../../support/psp/mercadopago.ts'
import { startFakePaypal } from '../../support/psp/paypal.ts'
import { startFakeStripe } from '../../support/psp/stripe.ts'
import { embedded, runCommand } from '../../support/tollgate.ts'

const PUBLIC_URL = 'https://tollgate.example'
const HOUR_MS = 3_600_000

const starts = { stripe: startFakeStripe, adyen: startFakeAdyen, paypal: startFakePaypal }
type Name = keyof typeof starts

const open = async (t: ExecutionContext, name: Name, env: Record<string, string> = { PUBLIC_URL }) => {
  const standIn = await starts[name]()
  const counter = await openCounter({ [name]: standIn }, { paymentProviders: [name] }, { env: { PSP_TIMEOUT_MS: '5000', ...env } })
  t.teardown(async () => {
    await counter.close()
    await standIn.fake.close()
  })
  const { api } = counter
  const path = `/psp-accounts/${name}`
  return {
    ...counter,
    standIn,
    register: (headers: Record<string, string> = {}) => api.post(`${path}/register-webhook`, {}, headers),
    account: async () => (await api.get(path)).body,
    path,
    only: () => {
      const [hook, ...others] = standIn.hooks.values()
      if (!hook || others.length > 0) throw new Error(`${standIn.hooks.size} webhooks`)
      return hook
    },
    /** @returns how an event that is signed so is answered. */
    sent: (hook?: Parameters<typeof standIn.signAs>[0]) => {
      standIn.signAs(hook)
      return standIn.fake.send(standIn.unknownEvent())
    },
  }
}

for (const name of Object.keys(starts) as Name[]) {
  test.serial(`${name}: from then on its events verify, and those of before for a day`, async (t) => {
    const { api, advance, register, account, only, sent, standIn } = await open(t, name)
    t.is((await account()).webhook, null)
    t.is(await sent(), 200)
    const { status, body } = await register()
    t.is(status, 200, JSON.stringify(body))
    const hook = only()
    const url = `${PUBLIC_URL}/v1/webhooks/psp/shop/${name}`
    t.like(hook, { url, active: true })
    t.deepEqual({ ...body, registeredAt: '' }, { url, events: hook.events, registeredAt: '', providerWebhookId: hook.id })
    const seen = await account()
    t.deepEqual(seen.webhook, body)
    t.is(seen.webhookProblem, null)

    t.is(await sent(hook), 200, 'with the new secret')
    t.is(await sent(), 200, 'with the old secret')
    t.is(await sent({ ...hook, secret: name === 'adyen' ? 'AB'.repeat(32) : 'whsec_another' }), 401)

    // The event does what it says: the payment is known by it.
    standIn.signAs(hook)
    await api.post('/customers', { id: 'c', storefrontId: 'store', paymentMethods: [{ id: 'm', tokens: { [name]: standIn.token('pending') } }] })
    const paid = await api.post('/payments', { storefrontId: 'store', customerId: 'c', amount: 2900, currency: 'USD', paymentMethod: 'm' })
    t.is(paid.body.status, 'processing', JSON.stringify(paid.body))
    await standIn.fake.conclude(paid.body.attempts[0].id, 'captured')
    await eventually(async () => (await api.get(`/payments/${paid.body.id}`)).body.status === 'succeeded')

    // A repeat makes no second one, and changes no secret.
    const { secret } = hook
    for (let n = 0; n < 2; n += 1) t.is((await register()).body.providerWebhookId, hook.id)
    t.is(only().secret, secret)
    advance(23 * HOUR_MS)
    t.is(await sent(), 200)
    advance(2 * HOUR_MS)
    t.is(await sent(), 401, 'a day later the old secret is over')
    t.is(await sent(hook), 200)

    // PayPal's is its webhook's id, which is no secret.
    const told = JSON.stringify([body, seen, (await api.get('/audit-log?limit=100')).body])
    t.true(told.includes('post /v1/psp-accounts/{account}/register-webhook'))
    if (name !== 'paypal') t.false(told.includes(secret))
  })

  test.serial(`${name}: of several calls at once one registers, and there is one webhook`, async (t) => {
    const { register, only, sent } = await open(t, name)
    const answers = await Promise.all(Array.from({ length: 5 }, () => register()))
    const statuses = answers.map(({ status }) => status)
    t.true(statuses.includes(200))
    for (const { status, body } of answers.filter((one) => one.status !== 200)) {
      t.like(body, { code: 'not_allowed_in_state' }, `${status}`)
      t.regex(body.detail, /another call registers the webhook/)
    }
    t.is(await sent(only()), 200)
  })

  test.serial(`${name}: what the provider refuses changes nothing, and is tried again at once`, async (t) => {
    const { register, account, only, sent, standIn } = await open(t, name)
    standIn.fake.answerNext({ status: 403, body: { error: { type: 'invalid_request_error', message: 'rk_live_1 may not' } } }, 'before')
    const refused = await register()
    t.like(refused, { status: 422, body: { code: 'refused_by_provider' } })
    t.notRegex(refused.body.detail, /rk_live_1/)
    t.is((await account()).webhook, null)
    // Made, and the answer is lost.
    standIn.fake.answerNext('failed', 'after')
    t.like(await register(), { status: 503, body: { code: 'unavailable' } })
    t.is(await sent(), 200, 'nothing has changed for the events of before')
    t.is((await register()).status, 200)
    t.is(await sent(only()), 200)
  })
}

test.serial('a secret that is given by hand is the only one, and the next call replaces the webhook', async (t) => {
  const { api, path, register, account, only, sent, standIn } = await open(t, 'stripe')
  await register()
  const first = only()
  await api.patch(path, { webhookSecret: 'whsec_by_hand' })
  t.is((await account()).webhook, null)
  t.is(await sent(first), 401)
  t.is(await sent(), 401)
  t.is(await sent({ ...first, secret: 'whsec_by_hand' }), 200)
  await register()
  t.not(only().id, first.id)
  t.is(await sent(only()), 200)
  t.is(await sent({ ...first, secret: 'whsec_by_hand' }), 200, 'replaced, and so accepted for a day')
  // Other changes leave it as it is.
  const { webhook } = await account()
  await api.patch(path, { capture: 'separate', credentials: { secretKey: 'sk_test_1' } })
  t.deepEqual((await account()).webhook, webhook)
  t.is(await sent({ ...first, secret: 'whsec_by_hand' }), 200)
  t.is(standIn.hooks.size, 1)
})

test.serial('it heeds If-Match and Idempotency-Key', async (t) => {
  const { api, path, register, standIn, only } = await open(t, 'stripe')
  const etag = (await api.get(path)).headers.get('etag') ?? ''
  t.like(await register({ 'if-match': '"99"' }), { status: 412, body: { code: 'precondition_failed' } })
  t.is(standIn.hooks.size, 0)
  const done = await register({ 'if-match': etag, 'idempotency-key': 'k' })
  t.is(done.status, 200, JSON.stringify(done.body))
  t.is(done.headers.get('etag'), (await api.get(path)).headers.get('etag'))
  standIn.hooks.clear()
  t.deepEqual((await register({ 'if-match': etag, 'idempotency-key': 'k' })).body, done.body, 'a repeat is answered, and not done')
  t.is(standIn.hooks.size, 0)
  t.is((await register({ 'if-match': etag })).status, 412)
  t.is((await register()).status, 200)
  t.not(only().id, done.body.providerWebhookId, 'whatever somebody has removed at the provider is made again')
})

test.serial('an address that no provider reaches is refused, with the fix', async (t) => {
  for (const env of [{}, { PUBLIC_URL: 'http://tollgate.example' }, { PUBLIC_URL: 'https://localhost:8443' }, { PUBLIC_URL: 'https://10.0.0.7' }]) {
    const { register, standIn } = await open(t, 'stripe', env as Record<string, string>)
    const { status, body } = await register()
    t.is(status, 409)
    t.is(body.code, 'not_allowed_in_state')
    t.regex(body.detail, /cannot reach http.*set PUBLIC_URL to the https address/)
    t.is(standIn.hooks.size, 0)
  }
})

test.serial('a provider without such an API is said, with what to do by hand', async (t) => {
  const standIns = { bank: await startFakeBank(), mp: await startFakeMercadopago() }
  const { api, close } = await openCounter(standIns as never, { paymentProviders: ['bank', 'mp'] }, { env: { PUBLIC_URL } })
  t.teardown(async () => {
    await close()
    await Promise.all([standIns.bank.fake.close(), standIns.mp.fake.close()])
  })
  t.is((await api.post('/psp-accounts', { id: 'sim', provider: 'simulator' })).status, 201)
  for (const id of ['bank', 'mp', 'sim']) {
    const { status, body } = await api.post(`/psp-accounts/${id}/register-webhook`, {})
    t.like({ status, code: body.code }, { status: 422, code: 'unsupported_by_provider' })
    t.true(body.detail.endsWith(`. Our URL is ${PUBLIC_URL}/v1/webhooks/psp/shop/${id}`), body.detail)
  }
  t.is((await api.post('/psp-accounts', { id: 'new', provider: 'stripe' })).status, 201)
  t.regex((await api.post('/psp-accounts/new/register-webhook', {})).body.detail, /cannot be used: credentials.secretKey/)
})

test.serial('npm run reseal encrypts the secrets of before as well', async (t) => {
  const stripe = await startFakeStripe()
  const [first, second] = [1, 2].map((n) => Buffer.alloc(32, n).toString('base64'))
  const tollgate = await embedded.start({ STRIPE_URL: stripe.fake.url, PUBLIC_URL, CREDENTIALS_KEY: first ?? '' })
  t.teardown(async () => {
    await tollgate.close()
    await stripe.fake.close()
  })
  const { api } = await openLiveShop(t, tollgate, { stripe }, { paymentProviders: ['stripe'] })
  t.is((await api.post('/psp-accounts/stripe/register-webhook', {})).status, 200)
  t.is(await stripe.fake.send(stripe.unknownEvent()), 200)
  await tollgate.controlPlane.stop()
  const reseal = (keys: string) => runCommand('control-plane/reseal.ts', [], { ...tollgate.env, CREDENTIALS_KEY: keys })
  t.regex(await reseal(`${second},${first}`), /^3 secrets were encrypted with key /m)
  // With the second key alone: nothing is left that needs the first.
  t.regex(await reseal(second ?? ''), /^0 secrets were re-encrypted; all are on key /m)
})

test.serial('killed between the answer of the provider and our write, it is repaired by another call', async (t) => {
  const stripe = await startFakeStripe()
  let isHeld = true
  let made = () => {}
  const isMade = new Promise<void>((resolve) => {
    made = resolve
  })
  // The endpoint is made, and the answer does not arrive while it is held.
  const between = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const { host: _, connection: __, 'content-length': ___, 'transfer-encoding': ____, ...headers } = request.headers
    const body = Buffer.concat(chunks)
    const answer = await fetch(`${stripe.fake.url}${request.url}`, {
      method: request.method ?? 'GET',
      headers: headers as Record<string, string>,
      ...(body.length > 0 ? { body } : {}),
    })
    const text = await answer.text()
    if (isHeld && request.method === 'POST') return made()
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(text)
  })
  await new Promise<void>((resolve) => between.listen(0, '127.0.0.1', resolve))
  const env = { STRIPE_URL: `http://127.0.0.1:${(between.address() as AddressInfo).port}`, PUBLIC_URL, PSP_TIMEOUT_MS: '1000' }
  const tollgate = await embedded.start(env)
  t.teardown(async () => {
    await tollgate.close()
    between.closeAllConnections()
    between.close()
    await stripe.fake.close()
  })
  const { api } = await openLiveShop(t, tollgate, { stripe }, { paymentProviders: ['stripe'] })
  const register = () => api.post('/psp-accounts/stripe/register-webhook', {})
  const cutOff = register().catch(() => undefined)
  await isMade
  await tollgate.controlPlane.stop('SIGKILL')
  await cutOff
  isHeld = false
  const [orphan] = stripe.hooks.values()
  t.is(stripe.hooks.size, 1)
  await tollgate.restartControlPlane()
  t.is((await api.get('/psp-accounts/stripe')).body.webhook, null)
  t.is(await stripe.fake.send(stripe.unknownEvent()), 200, 'the secret of before is still the one')
  const early = await register()
  t.true(early.status === 200 || /call again in \d seconds/.test(early.body.detail), JSON.stringify(early.body))
  await eventually(async () => (await register()).status === 200)
  t.is(stripe.hooks.size, 1)
  const [hook] = stripe.hooks.values()
  t.not(hook?.id, orphan?.id)
  stripe.signAs(hook)
  t.is(await stripe.fake.send(stripe.unknownEvent()), 200)
})
