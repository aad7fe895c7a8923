/** Our own server side of HTTP/2 as a transport. */
import type { Transport, TransportOptions } from '../transport.ts'
import { Methods } from './methods.ts'
import { createFastServer } from './server.ts'

export const createFastTransport = (options: TransportOptions): Transport => {
  const methods = new Methods()
  const server = createFastServer({ ...options, methods })
  return {
    addService: (service, implementation) => methods.addService(service, implementation),
    addDirect: (path, method) => methods.addDirect(path, method),
    listen: (where) => server.listen(where),
    connectionCount: () => server.connectionCount(),
    close: async (drainMs) => {
      const cut = setTimeout(() => server.destroy(), drainMs)
      await server.drain()
      clearTimeout(cut)
    },
  }
}
