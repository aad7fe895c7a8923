/** Listens, keeps the connections, and ends them: at once, or when what they run is done. */
import { createServer as createTcpServer, type ListenOptions, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import type { ListenAddress, TransportOptions } from '../transport.ts'
import { AnswerTimes } from './answer-times.ts'
import { Connection } from './connection.ts'
import { InPlace } from './in-place.ts'
import { limits } from './limits.ts'
import type { Methods } from './methods.ts'
import { serveCall } from './serve-call.ts'

/** How often connections are looked at for what stands still. */
const SWEEP_MS = 1_000
/** How often what all of them hold is added up. */
const WEIGH_MS = 250
/** A handshake of TLS that takes longer is ended. */
const HANDSHAKE_MS = 10_000

export interface FastServerOptions extends TransportOptions {
  methods: Methods
}

export interface FastServer {
  listen(where: ListenAddress): Promise<number>
  /** No new connections and streams; resolves when the last stream is done. */
  drain(): Promise<void>
  destroy(): void
  connectionCount(): number
}

export const createFastServer = ({
  methods,
  nowMs,
  certificates,
  sharePort = false,
  onAnswered = () => undefined,
  onFault,
  refused,
}: FastServerOptions): FastServer => {
  const connections = new Set<Connection>()
  const servers: Server[] = []
  const answers = new AnswerTimes(onAnswered)
  const inPlace = new InPlace(onFault)
  let drained = () => {}

  const onSocket = (socket: Socket) => {
    if (connections.size >= limits.connections) {
      socket.destroy()
      return
    }
    // An answer is one write: waiting for more would only delay it.
    socket.setNoDelay(true)
    // A peer that vanished without a word is noticed by the system.
    socket.setKeepAlive(true, 60_000)
    const peer = socket.remoteAddress ? `${socket.remoteAddress}:${socket.remotePort}` : 'unix'
    const server = { methods, peer, inPlace, answers, refused, onFault }
    const connection = new Connection({
      socket,
      nowMs,
      onRequest: (of, stream) => serveCall(of, stream, server),
      onFault,
      onReadBegins: () => answers.beginRead(),
      onReadEnds: () => answers.endRead(),
      onClose: (of) => {
        connections.delete(of)
        if (connections.size === 0) drained()
      },
    })
    connections.add(connection)
  }

  const createServer = (where: ListenAddress): Server => {
    if ('path' in where || !certificates) return createTcpServer(onSocket)
    const settings = { ALPNProtocols: ['h2'], requestCert: certificates.current.ca !== undefined, rejectUnauthorized: certificates.current.ca !== undefined }
    const server = createTlsServer({ ...certificates.current, ...settings, handshakeTimeout: HANDSHAKE_MS }, (socket) => {
      // RFC 9113, section 3.2: over TLS it is agreed on by ALPN, or not spoken.
      if (socket.alpnProtocol === 'h2') onSocket(socket)
      else socket.destroy()
    })
    server.on('tlsClientError', () => undefined)
    certificates.onChange((bytes) => server.setSecureContext(bytes))
    return server
  }

  const timer = setInterval(() => {
    for (const connection of connections) connection.sweep(nowMs())
  }, SWEEP_MS)
  timer.unref()
  // Each peer has its bounds, and there may be many peers.
  const scales = setInterval(() => {
    const weighed = [...connections].map((connection) => ({ connection, bytes: connection.heldBytes }))
    let held = weighed.reduce((sum, { bytes }) => sum + bytes, 0)
    if (held <= limits.processBytes) return
    let ended = 0
    for (const { connection, bytes } of weighed.toSorted((one, other) => other.bytes - one.bytes)) {
      if (held <= limits.processBytes) break
      connection.destroy()
      held -= bytes
      ended += 1
    }
    onFault(
      new Error(`${ended} connections were closed because all connections together used too much memory`),
      'too much data is held for all connections together',
    )
  }, WEIGH_MS)
  scales.unref()

  return {
    listen: (where) =>
      new Promise((resolve, reject) => {
        const server = createServer(where)
        servers.push(server)
        server.once('error', reject)
        // The system balances the connections of those that share a port.
        server.listen((sharePort && 'port' in where ? { ...where, reusePort: true } : where) as ListenOptions, () => {
          // From now on an error is about one connection that could not be accepted; others still can.
          server.off('error', reject)
          server.on('error', (error) => onFault(error, 'a connection could not be accepted'))
          const address = server.address()
          resolve(typeof address === 'object' && address ? address.port : 0)
        })
      }),
    drain: async () => {
      const closed = new Promise<void>((resolve) => {
        drained = resolve
      })
      for (const server of servers) server.close()
      for (const connection of [...connections]) connection.drain()
      if (connections.size > 0) await closed
      clearInterval(timer)
      clearInterval(scales)
    },
    connectionCount: () => connections.size,
    destroy: () => {
      clearInterval(timer)
      clearInterval(scales)
      for (const server of servers) server.close()
      for (const connection of [...connections]) connection.destroy()
    },
  }
}
