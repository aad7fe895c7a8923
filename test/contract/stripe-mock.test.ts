/** Every request of the Stripe adapter, checked by Stripe's own mock server against Stripe's own description. */

import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import { Secret } from '../../common/secret.ts'
import type { ChargeRequest, Psp } from '../../control-plane/payments/psp/psp.ts'
import { stripeProvider } from '../../control-plane/payments/psp/stripe/adapter.ts'
import { startStripeMock, stripeMockMissing } from '../support/psp/stripe-mock.ts'

interface Seen {
  method: string
  path: string
  status: number
  answer: string
}

const withMock = stripeMockMissing === undefined ? test.serial : undefined
if (!withMock) test.skip(`stripe-mock (${stripeMockMissing})`, () => {})

let stop = () => {}
let proxy: Server
let psp: Psp
const seen: Seen[] = []

if (withMock) {
  test.before(async () => {
    const mock = await startStripeMock()
    stop = mock.stop
    proxy = createServer(async (request, response) => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      const { host: _, connection: __, 'content-length': ___, 'transfer-encoding': ____, ...headers } = request.headers
      // The mock knows the versions of the API up to its own, and the library is newer.
      const body = Buffer.concat(chunks)
        .toString()
        .replace(/&api_version=[^&]+/, '')
      const answer = await fetch(`${mock.url}${request.url}`, {
        method: request.method ?? 'GET',
        headers: headers as Record<string, string>,
        ...(body.length > 0 ? { body } : {}),
      })
      const text = await answer.text()
      seen.push({ method: request.method ?? '', path: (request.url ?? '').split('?')[0] ?? '', status: answer.status, answer: text })
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(text)
    })
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
    const baseUrl = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
    const { create } = stripeProvider({ clock: systemClock, baseUrl })
    const credentials = { secretKey: new Secret('sk_test_123') }
    psp = create({ credentials, webhookSecret: undefined, capture: 'automatic', returnUrl: 'https://shop.example/back', timeoutMs: 10_000 })
  })
  test.after.always(() => {
    proxy?.close()
    stop()
  })
}

const order: ChargeRequest = {
  reference: 'pay_1-1',
  amountMinor: 2900,
  currency: 'USD',
  token: 'cus_1/pm_1',
  description: 'pro-plan from 2024-03-15',
  capture: 'automatic',
  offSession: false,
}
const charge = { reference: 'pay_1-1', pspReference: 'pi_1', amountMinor: 2900, currency: 'USD' }

const calls: [what: string, path: RegExp, call: () => Promise<unknown>][] = [
  ['a charge with the customer there', /payment_intents$/, () => psp.charge(order)],
  ['a renewal', /payment_intents$/, () => psp.charge({ ...order, reference: 'pay_2-1', offSession: true })],
  ['a charge that asks for authentication', /payment_intents$/, () => psp.charge({ ...order, reference: 'pay_5-1', authenticate: true })],
  ['a charge that is captured separately', /payment_intents$/, () => psp.charge({ ...order, reference: 'pay_3-1', capture: 'separate' })],
  ['a charge without a customer of Stripe', /payment_intents$/, () => psp.charge({ ...order, reference: 'pay_4-1', token: 'pm_2' })],
  ['an inquiry by our reference', /payment_intents\/search$/, () => psp.inquire({ ...charge, pspReference: undefined })],
  ['an inquiry by theirs', /payment_intents\/pi_1$/, () => psp.inquire(charge)],
  ['a capture', /payment_intents\/pi_1\/capture$/, () => psp.capture('pay_1-1-capture', charge)],
  ['a release', /payment_intents\/pi_1\/cancel$/, () => psp.release('pay_1-1-release', charge)],
  ['giving up', /payment_intents\/pi_1\/cancel$/, () => psp.cancel('pay_1-1-cancel', charge)],
  ['a refund', /refunds$/, () => psp.refund({ reference: 'pay_1-1.ref_1', charge, amountMinor: 900 })],
  ['an inquiry about a refund', /refunds$/, () => psp.inquireRefund({ reference: 'pay_1-1.ref_1', charge, amountMinor: 900 })],
  ['a look-up', /payment_intents\/pi_1$/, () => psp.lookUp('pi_1')],
]

for (const [what, path, call] of calls) {
  withMock?.(`${what} is a request that Stripe takes`, async (t) => {
    seen.length = 0
    await call()
    t.is(seen.length, 1)
    t.regex(seen[0]?.path ?? '', path)
    t.is(seen[0]?.status, 200, seen[0]?.answer)
  })
}

withMock?.('a webhook is listed, made, changed and removed by requests that Stripe takes', async (t) => {
  const { webhooks } = psp
  if ('byHand' in webhooks) return t.fail()
  seen.length = 0
  // The mock keeps nothing: it lists one endpoint of its own, and makes one without a secret.
  await webhooks.register('https://tollgate.example/v1/webhooks/psp/t/stripe', undefined).catch(() => undefined)
  const listed: { id: string; url: string }[] = JSON.parse(seen[0]?.answer ?? '').data
  const [{ id, url } = t.fail('the mock lists none')] = listed
  t.like(await webhooks.register(url, id), { id })
  await webhooks.removeOthers?.(url, 'we_another')
  const endpoints = '/v1/webhook_endpoints'
  t.deepEqual(
    seen.map(({ method, path, status }) => [method, path, status]),
    [
      ['GET', endpoints, 200],
      ['POST', endpoints, 200],
      ['GET', endpoints, 200],
      ['POST', `${endpoints}/${id}`, 200],
      ['GET', endpoints, 200],
      ['DELETE', `${endpoints}/${id}`, 200],
    ],
    seen.map(({ answer }) => answer).join('\n'),
  )
})

withMock?.('what Stripe would refuse is refused here too', async (t) => {
  seen.length = 0
  const outcome = await psp.charge({ ...order, reference: 'pay_9-1', currency: 'USD', amountMinor: 2.5 as number })
  t.like(outcome, { status: 'declined', declineClass: 'config' })
})
