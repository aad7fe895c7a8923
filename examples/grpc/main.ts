/**
 * A gRPC server that sells its reports.
 *
 * Copy it into a project of your own that has `@tollgate/client` (docs/clients.md says how to build it). Run it with a sidecar at
 * TOLLGATE_ADDRESS. It asks about customers of tenant `acme` at its storefront `us`, which has to sell a quota `calls`.
 * Call it with the customer in the metadata `x-customer`.
 */
import { Server, ServerCredentials, type ServiceDefinition, type sendUnaryData } from '@grpc/grpc-js'
import { createTollgate } from '@tollgate/client'
import { gate } from '@tollgate/client/grpc'

const tollgate = createTollgate({ address: process.env.TOLLGATE_ADDRESS, key: process.env.TOLLGATE_KEY, tenant: 'acme', storefront: 'us' })

// In place of generated code: methods whose messages are JSON.
const json = (path: string) => ({
  path,
  requestStream: false as const,
  responseStream: false as const,
  requestSerialize: (message: unknown) => Buffer.from(JSON.stringify(message)),
  requestDeserialize: (bytes: Buffer): unknown => JSON.parse(bytes.toString()),
  responseSerialize: (message: unknown) => Buffer.from(JSON.stringify(message)),
  responseDeserialize: (bytes: Buffer): unknown => JSON.parse(bytes.toString()),
})
const Reports = { list: json('/acme.Reports/List'), about: json('/acme.Reports/About') } satisfies ServiceDefinition

const server = new Server({
  interceptors: [
    gate(tollgate, {
      // Everybody may read what the service is about.
      entitlement: ({ path }) => (path === Reports.about.path ? undefined : 'calls'),
      // It stands in for your authentication.
      customer: ({ metadata }) => metadata.get('x-customer')[0]?.toString(),
    }),
  ],
})
server.addService(Reports, {
  list: (_call: unknown, answer: sendUnaryData<unknown>) => answer(null, { reports: ['march', 'april'] }),
  about: (_call: unknown, answer: sendUnaryData<unknown>) => answer(null, { about: 'reports' }),
})
server.bindAsync(`127.0.0.1:${process.env.PORT ?? 3000}`, ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error
  process.stdout.write(`ready 127.0.0.1:${port}\n`)
})
