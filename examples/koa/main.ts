/**
 * A Koa application that sells its reports.
 *
 * Copy it into a project of your own that has `@tollgate/client` (docs/clients.md says how to build it). Run it with a sidecar at
 * TOLLGATE_ADDRESS. It asks about customers of tenant `acme` at its storefront `us`, which has to sell a quota `calls`.
 * Ask it as a customer: curl -H 'x-customer: cust_abc123' http://127.0.0.1:3000/reports
 */
import type { AddressInfo } from 'node:net'
import { createTollgate } from '@tollgate/client'
import { gate } from '@tollgate/client/koa'
import Koa from 'koa'

const tollgate = createTollgate({ address: process.env.TOLLGATE_ADDRESS, key: process.env.TOLLGATE_KEY, tenant: 'acme', storefront: 'us' })

const app = new Koa()
// In place of your authentication.
app.use(async (ctx, next) => {
  ctx.state.customer = ctx.get('x-customer') || undefined
  await next()
})
app.use(gate(tollgate, { entitlement: 'calls', customer: (ctx) => ctx.state.customer }))
app.use((ctx) => {
  ctx.body = { reports: ['march', 'april'] }
})

const server = app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  process.stdout.write(`ready http://127.0.0.1:${(server.address() as AddressInfo).port}/reports\n`)
})
