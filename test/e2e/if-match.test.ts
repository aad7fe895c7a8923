/** If-Match on every route: what it is compared with, or that it is refused. No route ignores it. */
import test from 'ava'
import { routes } from '../../control-plane/http/routes/index.ts'
import { everything, openEverything, type RouteRequest } from '../support/every-route.ts'
import { httpClient } from '../support/http-client.ts'
import { inWorlds } from '../support/in-worlds.ts'
import { tenantDocument } from '../support/platform-model.ts'
import { openShop } from '../support/shop.ts'

const STALE = '"999999"'

inWorlds(test, (story) => {
  story(`a stale If-Match is told on every one of ${routes.length} routes, and changes nothing; the right one is let through`, async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const requests = await openEverything(shop)
    t.deepEqual(Object.keys(requests).toSorted(), routes.map(({ method, path }) => `${method} ${path}`).toSorted(), 'the table speaks of every route')
    const send = ({ path, body, headers }: RouteRequest, method: string, ifMatch: string) =>
      shop.api.call(method.toUpperCase(), path, body, { ...headers, 'if-match': ifMatch })

    const before = await everything(shop)
    for (const { method, path, ifMatch } of routes) {
      const name = `${method} ${path}`
      const { status, body } = await send(requests[name] as RouteRequest, method, STALE)
      if (typeof ifMatch === 'object' && 'refused' in ifMatch)
        t.like([status, body], [400, { code: 'invalid_request', field: 'If-Match' }], `${name}: ${JSON.stringify(body)}`)
      else t.like([status, body], [412, { code: 'precondition_failed' }], `${name}: ${JSON.stringify(body)}`)
      t.true(body.detail.length > 30, name)
    }
    t.deepEqual(await everything(shop), before)

    for (const { method, path, ifMatch, status: success } of routes) {
      if (typeof ifMatch === 'object' && 'refused' in ifMatch) continue
      const name = `${method} ${path}`
      const request = requests[name] as RouteRequest
      const etag = request.etag ?? (await shop.api.get(request.read ?? '')).headers.get('etag')
      t.regex(etag ?? '', /^"\d+"$/, name)
      const { status, body } = await send(request, method, etag ?? '')
      t.is(status, request.status ?? success, `${name}: ${JSON.stringify(body)}`)
    }
  })

  story('one of several refunds that were decided on the same reading is made', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const { payment } = (await shop.subscribe('c')).body
    const etag = (await shop.api.get(`/payments/${payment.id}`)).headers.get('etag') ?? ''
    const answers = await Promise.all(Array.from({ length: 5 }, () => shop.api.post(`/payments/${payment.id}/refund`, { amount: 500 }, { 'if-match': etag })))
    t.deepEqual(answers.map(({ status }) => status).toSorted(), [200, 412, 412, 412, 412])
    t.is((await shop.api.get(`/payments/${payment.id}`)).body.refundedAmount, 500)
  })

  story('one of several tries with other cards that were decided on the same reading is made', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const { payment } = (await shop.subscribe('c', 'pm_decline_funds')).body
    const etag = (await shop.api.get(`/payments/${payment.id}`)).headers.get('etag') ?? ''
    const pay = (n: number) => shop.api.post(`/payments/${payment.id}/pay`, { paymentMethod: `pm_decline_funds_${n}` }, { 'if-match': etag })
    const answers = await Promise.all([0, 1, 2].map(pay))
    t.is(answers.filter(({ status }) => status === 412).length, 2, JSON.stringify(answers.map(({ body }) => body)))
    t.is((await shop.api.get(`/payments/${payment.id}`)).body.attempts.length, payment.attempts.length + 1)
  })

  story('one of several moves of the test clock that were decided on the same reading is made', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    await shop.subscribe('c')
    const etag = (await shop.api.get('/test-clock')).headers.get('etag') ?? ''
    const move = (now: string) => shop.api.put('/test-clock', { now }, { 'if-match': etag })
    const answers = await Promise.all([move('2024-05-01T00:00:00Z'), move('2024-06-01T00:00:00Z')])
    t.deepEqual(answers.map(({ status }) => status).toSorted(), [200, 412], JSON.stringify(answers.map(({ body }) => body)))
  })

  story('a preview has the ETag with which the change makes its amounts or none', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    const { id } = (await shop.subscribe('c')).body
    const preview = await shop.api.post(`/subscriptions/${id}/preview-change`, { quantity: 2 })
    const etag = { 'if-match': preview.headers.get('etag') ?? '' }
    await shop.api.patch(`/subscriptions/${id}`, { metadata: { a: 'b' } })
    t.is((await shop.api.post(`/subscriptions/${id}/change`, { quantity: 2 }, etag)).status, 412)
  })

  story('a star means any document, and fails where there is none', async ({ t, tollgate }) => {
    const shop = await openShop(t, tollgate)
    t.is((await shop.api.patch('/storefronts/us-store', { name: 'N' }, { 'if-match': '*' })).status, 200)
    t.is((await shop.api.patch('/storefronts/none', { name: 'N' }, { 'if-match': '*' })).status, 404)
    const report = { id: 'r', account: 'stripe', lines: [] }
    t.is((await shop.api.post('/settlement-reports', report, { 'if-match': '*' })).status, 412)
    t.is((await shop.api.get('/settlement-reports/r')).status, 404)
    t.is((await httpClient(tollgate.http).post('/tenants', { ...tenantDocument, id: 'star' }, { 'if-match': '*' })).status, 400)
  })
})
