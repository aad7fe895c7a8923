/**
 * A NestJS application that sells its reports.
 *
 * Copy it into a project of your own that has `@tollgate/client` (docs/clients.md says how to build it). Run it with a sidecar at
 * TOLLGATE_ADDRESS. It asks about customers of tenant `acme` at its storefront `us`, which has to sell a quota `calls`.
 * Ask it as a customer: curl -H 'x-customer: cust_abc123' http://127.0.0.1:3000/reports
 *
 * Node runs this file as it is, and cannot erase decorators. So they are called here; in an application that is compiled, write
 * `@UseGuards(gate(tollgate, …))` above the method, and the others as usual.
 */
import 'reflect-metadata'
import { Controller, Get, Module, UseGuards } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { createTollgate } from '@tollgate/client'
import { gate } from '@tollgate/client/nest'

const tollgate = createTollgate({ address: process.env.TOLLGATE_ADDRESS, key: process.env.TOLLGATE_KEY, tenant: 'acme', storefront: 'us' })

class Reports {
  list() {
    return { reports: ['march', 'april'] }
  }
}
const list = Object.getOwnPropertyDescriptor(Reports.prototype, 'list') as PropertyDescriptor
Get()(Reports.prototype, 'list', list)
// The header stands in for your authentication.
UseGuards(gate(tollgate, { entitlement: 'calls', customer: ({ headers }) => headers['x-customer']?.toString() }))(Reports.prototype, 'list', list)
Controller('reports')(Reports)

class App {}
Module({ controllers: [Reports] })(App)

const app = await NestFactory.create(App, { logger: ['error'] })
await app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1')
process.stdout.write(`ready ${await app.getUrl()}/reports\n`)
