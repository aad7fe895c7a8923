/**
 * A Fastify application that sells its reports.
 *
 * Copy it into a project of your own that has `@tollgate/client` (docs/clients.md says how to build it). Run it with a sidecar at
 * TOLLGATE_ADDRESS. It asks about customers of tenant `acme` at its storefront `us`, which has to sell a quota `calls`.
 * Ask it as a customer: curl -H 'x-customer: cust_abc123' http://127.0.0.1:3000/reports
 */
import { createTollgate } from '@tollgate/client'
import { gate } from '@tollgate/client/fastify'
import { fastify } from 'fastify'

const tollgate = createTollgate({ address: process.env.TOLLGATE_ADDRESS, key: process.env.TOLLGATE_KEY, tenant: 'acme', storefront: 'us' })

const app = fastify()
// The header stands in for your authentication.
const customer = (request: { headers: Record<string, unknown> }) => request.headers['x-customer'] as string | undefined
app.get('/reports', { preHandler: gate(tollgate, { entitlement: 'calls', customer }) }, async () => ({ reports: ['march', 'april'] }))

const url = await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT ?? 3000) })
process.stdout.write(`ready ${url}/reports\n`)
