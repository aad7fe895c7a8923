/** Listens, keeps the connections, and ends them: at once, or when what they run is done. */
import { createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'
import { type Methods, serveCall } from './calls.ts'
import { Connection } from './connection.ts'

/** How often connections are looked at for what stands still. */
const SWEEP_MS = 1_000

export interface FastServerOptions {
  methods: Methods
  nowMs: () => number
  /** With TLS: ALPN has to say h2. */
  tls?: TlsOptions
}

export interface FastServer {
  listen(where: { host: string; port: number } | { path: string }): Promise<number>
  /** No new connections and streams; resolves when the last stream is done. */
  drain(): Promise<void>
  destroy(): void
}

export const createFastServer = ({ methods, nowMs, tls }: FastServerOptions): FastServer => {
  const connections = new Set<Connection>()
  let drained = () => {}
  const onSocket = (socket: Socket) => {
    // An answer is one write: waiting for more would only delay it.
    socket.setNoDelay(true)
    const peer = socket.remoteAddress ? `${socket.remoteAddress}:${socket.remotePort}` : 'unix'
    const connection = new Connection({
      socket,
      nowMs,
      onRequest: (of, stream) => serveCall(of, stream, { methods, nowMs, peer }),
      onClose: (of) => {
        connections.delete(of)
        if (connections.size === 0) drained()
      },
    })
    connections.add(connection)
  }
  const server: Server = tls ? createTlsServer({ ...tls, ALPNProtocols: ['h2'] }, onSocket) : createTcpServer(onSocket)
  const timer = setInterval(() => {
    for (const connection of connections) connection.sweep(nowMs())
  }, SWEEP_MS)
  timer.unref()

  return {
    listen: (where) =>
      new Promise((resolve, reject) => {
        server.once('error', reject)
        server.listen(where, () => {
          const address = server.address()
          resolve(typeof address === 'object' && address ? address.port : 0)
        })
      }),
    drain: async () => {
      const closed = new Promise<void>((resolve) => {
        drained = resolve
      })
      server.close()
      for (const connection of connections) connection.drain()
      if (connections.size > 0) await closed
      clearInterval(timer)
    },
    destroy: () => {
      clearInterval(timer)
      server.close()
      for (const connection of [...connections]) connection.destroy()
    },
  }
}
