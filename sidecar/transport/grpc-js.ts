/** The reference: grpc-js. */
import { Server, ServerCredentials } from '@grpc/grpc-js'
import type { Transport } from './transport.ts'

export const createGrpcJsTransport = (): Transport => {
  const server = new Server()
  return {
    addService: (service, implementation) => server.addService(service, implementation),
    listen: (host, port) =>
      new Promise<number>((resolve, reject) => {
        server.bindAsync(`${host}:${port}`, ServerCredentials.createInsecure(), (error, bound) =>
          // grpc-js does not say why; nearly always somebody else has the port.
          error ? reject(Object.assign(error, { code: 'EADDRINUSE' })) : resolve(bound),
        )
      }),
    close: (drainMs) =>
      new Promise<void>((resolve) => {
        const cut = setTimeout(() => {
          server.forceShutdown()
          resolve()
        }, drainMs)
        server.tryShutdown(() => {
          clearTimeout(cut)
          resolve()
        })
      }),
  }
}
