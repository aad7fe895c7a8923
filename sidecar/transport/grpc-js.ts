/** The reference: grpc-js. */
import { experimental, Server, ServerCredentials, ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js'
import type { ListenAddress, Transport, TransportOptions } from './transport.ts'

/**
 * Each call is counted once: with the first message of its answer, or with its status when it has none. What the library
 * refuses by itself (a message that is too large, a deadline that is over) does not come by here.
 */
const countedBy =
  (onAnswered: NonNullable<TransportOptions['onAnswered']>): ServerInterceptor =>
  ({ path }, call) => {
    let requestedAt = performance.now()
    let hasAnswered = false
    const answered = () => {
      if (!hasAnswered) onAnswered(path, 1, (performance.now() - requestedAt) / 1000)
      hasAnswered = true
    }
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMessage: (message, pass) => {
            requestedAt = performance.now()
            pass(message)
          },
        }),
      sendMessage: (message, next) => {
        next(message)
        answered()
      },
      sendStatus: (status, next) => {
        next(status)
        answered()
      },
    })
  }

export const createGrpcJsTransport = ({ certificates, onAnswered }: Pick<TransportOptions, 'certificates' | 'onAnswered'> = {}): Transport => {
  const server = new Server(onAnswered ? { interceptors: [countedBy(onAnswered)] } : {})
  const credentialsFor = (where: ListenAddress): ServerCredentials => {
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
