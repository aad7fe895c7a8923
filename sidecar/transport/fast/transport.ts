/** Our own server side of HTTP/2 as a transport. */
import type { Transport } from '../transport.ts'
import { Methods } from './calls.ts'
import { createFastServer } from './server.ts'

export const createFastTransport = (nowMs: () => number): Transport => {
  const methods = new Methods()
  const server = createFastServer({ methods, nowMs })
  return {
    addService: (service, implementation) => methods.addService(service, implementation),
    listen: (host, port) => server.listen({ host, port }),
    close: async (drainMs) => {
      const cut = setTimeout(() => server.destroy(), drainMs)
      await server.drain()
      clearTimeout(cut)
    },
  }
}
