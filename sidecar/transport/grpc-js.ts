/** The reference: grpc-js. */
import { experimental, Server, ServerCredentials } from '@grpc/grpc-js'
import type { Transport, TransportOptions, Where } from './transport.ts'

export const createGrpcJsTransport = ({ certificates }: Pick<TransportOptions, 'certificates'> = {}): Transport => {
  const server = new Server()
  const credentialsFor = (where: Where): ServerCredentials => {
    if ('path' in where || !certificates) return ServerCredentials.createInsecure()
    const ca = certificates.current.ca === undefined ? null : certificates
    // The server's own first, whatever the library calls its parameters.
    return experimental.createCertificateProviderServerCredentials(certificates, ca, ca !== null)
  }
  return {
    addService: (service, implementation) => server.addService(service, implementation),
    addDirect: () => undefined,
    listen: (where) =>
      new Promise<number>((resolve, reject) => {
        const address = 'path' in where ? `unix:${where.path}` : `${where.host}:${where.port}`
        server.bindAsync(address, credentialsFor(where), (error, bound) =>
          // grpc-js does not say why; nearly always somebody else has the port.
          error ? reject(Object.assign(error, { code: 'EADDRINUSE' })) : resolve('path' in where ? 0 : bound),
        )
      }),
    // It does not say.
    connectionCount: () => 0,
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
