/**
 * An Express application that sells its reports, and counts each that it serves.
 *
 * Copy it into a project of your own that has `@tollgate/client` (docs/clients.md says how to build it). Run it with a sidecar at
 * TOLLGATE_ADDRESS. It asks about customers of tenant `acme` at its storefront `us`, which has to sell a quota `calls`.
 * Ask it as a customer: curl -H 'x-customer: cust_abc123' http://127.0.0.1:3000/reports
 */
import type { AddressInfo } from 'node:net'
import { createTollgate } from '@tollgate/client'
import { gate } from '@tollgate/client/express'
import express from 'express'

const tollgate = createTollgate({ address: process.env.TOLLGATE_ADDRESS, key: process.env.TOLLGATE_KEY, tenant: 'acme', storefront: 'us' })

const app = express()
// The header stands in for your authentication.
const counted = gate(tollgate, { entitlement: 'calls', consume: 1, customer: (request) => request.get('x-customer') })
app.get('/reports', counted, (_request, response) => {
  response.json({ reports: ['march', 'april'] })
})

const server = app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  process.stdout.write(`ready http://127.0.0.1:${(server.address() as AddressInfo).port}/reports\n`)
})
