/** The end of an HTTP listener: what runs is finished, what is silent is not waited for, and nothing hangs. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** A request that has not ended by then is cut: orchestrators wait ten seconds in all. */
const CUT_AFTER_MS = 5_000

export interface DrainableServer {
  /** From the moment that `drain` is called. */
  isDraining(): boolean
  /** Resolves when no connection is left, within five seconds or so. Idempotent. */
  drain(): Promise<void>
}

/** To be called before the server listens: it has to know of every connection. */
export const drainable = (server: Server): DrainableServer => {
  /** Connections, and the answers that are owed on each. */
  const open = new Map<Socket, Set<ServerResponse>>()
  let draining: Promise<void> | undefined

  const endWhenIdle = (socket: Socket) => {
    if (draining && open.get(socket)?.size === 0) socket.end(() => socket.destroy())
  }
  server.on('connection', (socket) => {
    open.set(socket, new Set())
    socket.on('close', () => open.delete(socket))
    endWhenIdle(socket)
  })
  server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request
    open.get(socket)?.add(response)
    // Whoever keeps its connection would go on sending requests.
    if (draining) response.setHeader('connection', 'close')
    response.on('close', () => {
      open.get(socket)?.delete(response)
      endWhenIdle(socket)
    })
  })

  const drain = (): Promise<void> =>
    new Promise((resolve) => {
      const cut = setTimeout(() => {
        for (const socket of open.keys()) socket.destroy()
      }, CUT_AFTER_MS)
      server.close(() => {
        clearTimeout(cut)
        resolve()
      })
      for (const [socket, answers] of open) {
        for (const answer of answers) if (!answer.headersSent) answer.setHeader('connection', 'close')
        if (answers.size === 0) socket.destroy()
      }
    })
  return {
    isDraining: () => draining !== undefined,
    drain: () => {
      draining ??= new Promise((resolve) => setImmediate(resolve)).then(drain)
      return draining
    },
  }
}
