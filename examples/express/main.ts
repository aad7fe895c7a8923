/** An Express application that sells its reports, and counts each that it serves. Run it with a sidecar at TOLLGATE_ADDRESS, and ask it as a customer: curl -H 'x-customer: cust_abc123' … */
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
