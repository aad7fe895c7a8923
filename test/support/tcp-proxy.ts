/** A proxy between a client and a real server, whose connections can be cut, or held up. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface TcpProxy {
  url: string
  /** Ends all connections and accepts none until `restore`. */
  cut(): void
  restore(): void
  /** Holds back the bytes of all connections, in both directions, until `release`. */
  hold(): void
  release(): void
  close(): Promise<void>
}

export const createProxy = async (target: string): Promise<TcpProxy> => {
  const { protocol, hostname, port } = new URL(target)
  /** Each socket, with the one that gets what it receives. */
  const sockets = new Map<Socket, Socket>()
  let open = true
  const server = createServer((client) => {
    if (!open) {
      client.destroy()
      return
    }
    const upstream = connect(Number(port), hostname)
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.set(from, to)
      from.pipe(to)
      from.on('error', () => to.destroy())
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const cutAll = () => {
    for (const socket of sockets.keys()) socket.destroy()
  }
  return {
    url: `${protocol}//127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut: () => {
      open = false
      cutAll()
    },
    restore: () => {
      open = true
    },
    hold: () => {
      for (const [from, to] of sockets) from.unpipe(to)
    },
    release: () => {
      // A connection that was made meanwhile is connected already.
      for (const [from, to] of sockets) from.unpipe(to).pipe(to)
    },
    close: async () => {
      cutAll()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
