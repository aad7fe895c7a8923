/**
 * Between a driver and a MongoDB server: it writes down every command, and answers some in the server's place, or not
 * at all. Messages are OP_MSG: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/.
 */
import { connect, createServer, type Socket } from 'node:net'
import { ConnectionString } from 'mongodb-connection-string-url'
import mongoose from 'mongoose'
import { freePort } from './free-port.ts'

const { BSON } = mongoose.mongo
const OP_MSG = 2013
const BODY = 0

export type Command = Record<string, unknown>

/**
 * `instead`: the server does not hear of it. `after`: it does, and what it answers is replaced or added to.
 * `silence`: it is done, and nobody answers. `lost`: nobody hears of it, nobody answers.
 */
export type Fault = { kind: 'instead' | 'after'; reply: Command } | { kind: 'silence' | 'lost' }

export interface MongoFaultProxy {
  url: string
  /** The name of each is its first key. */
  commands: Command[]
  /** What becomes of a command from now on; undefined: nothing. */
  onCommand(fault: (command: Command, name: string) => Fault | undefined): void
  close(): Promise<void>
}

const read = (message: Buffer): Command | undefined =>
  message.readInt32LE(12) === OP_MSG && message[20] === BODY ? (BSON.deserialize(message.subarray(21, 21 + message.readInt32LE(21))) as Command) : undefined

const write = (responseTo: number, reply: Command): Buffer => {
  const body = BSON.serialize(reply)
  const message = Buffer.alloc(21 + body.length)
  message.writeInt32LE(message.length, 0)
  message.writeInt32LE(responseTo, 8)
  message.writeInt32LE(OP_MSG, 12)
  message.set(body, 21)
  return message
}

/** Calls back with whole messages, however they arrive. */
const messages = (socket: Socket, take: (message: Buffer) => void): void => {
  let held = Buffer.alloc(0)
  socket.on('data', (data: Buffer) => {
    held = Buffer.concat([held, data])
    while (held.length >= 4 && held.length >= held.readInt32LE(0)) {
      const length = held.readInt32LE(0)
      take(held.subarray(0, length))
      held = held.subarray(length)
    }
  })
}

export const startMongoFaultProxy = async (to: string): Promise<MongoFaultProxy> => {
  const target = new ConnectionString(to)
  const [host = '127.0.0.1', targetPort = '27017'] = (target.hosts[0] ?? '').split(':')
  const commands: Command[] = []
  const sockets = new Set<Socket>()
  let faultOf: (command: Command, name: string) => Fault | undefined = () => undefined
  const server = createServer((client) => {
    const upstream = connect(Number(targetPort), host)
    /** Replies that are still to be changed, by the request that they answer. */
    const pending = new Map<number, Fault>()
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => socket.destroy())
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
    }
    messages(client, (message) => {
      const command = read(message)
      const fault = command && faultOf(command, Object.keys(command)[0] ?? '')
      if (command) commands.push(command)
      if (!fault) upstream.write(message)
      else if (fault.kind === 'instead') client.write(write(message.readInt32LE(4), fault.reply))
      else if (fault.kind !== 'lost') {
        pending.set(message.readInt32LE(4), fault)
        upstream.write(message)
      }
    })
    messages(upstream, (message) => {
      const fault = pending.get(message.readInt32LE(8))
      pending.delete(message.readInt32LE(8))
      if (!fault) client.write(message)
      else if (fault.kind === 'after') client.write(write(message.readInt32LE(8), { ...read(message), ...fault.reply }))
    })
  })
  const port = await freePort()
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const url = target.clone()
  url.hosts = [`127.0.0.1:${port}`]
  return {
    url: url.href,
    commands,
    onCommand: (fault) => {
      faultOf = fault
    },
    close: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
