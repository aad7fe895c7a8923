import { once } from 'node:events'
import { createServer, type Server } from 'node:net'

// Below the ports that systems hand out by themselves, for these may be given to somebody else between the choice and
// the use, or while what used one is restarted. Each process has a range of its own, for the same reason: it listens on the
// first port of it for as long as it lives.
const [FIRST, RANGE, RANGES] = [20_000, 100, 120]

const listen = async (port: number): Promise<Server | undefined> => {
  const server = createServer()
  try {
    await once(server.listen(port, '127.0.0.1'), 'listening')
    return server
  } catch {
    return undefined
  }
}

const takeRange = async (): Promise<number> => {
  for (let tried = 0; tried < RANGES; tried += 1) {
    const start = FIRST + ((process.pid + tried) % RANGES) * RANGE
    const held = await listen(start)
    if (!held) continue
    held.unref()
    return start
  }
  throw new Error(`no range of ${RANGE} ports from ${FIRST} on is free`)
}

let start: Promise<number> | undefined
let next = 0

/** A port for somebody who has to know it before listening, or comes back to it after a restart. */
export const freePort = async (): Promise<number> => {
  start ??= takeRange()
  const first = (await start) + 1
  for (let tried = 0; tried < RANGE - 1; tried += 1) {
    const port = first + (next++ % (RANGE - 1))
    const server = await listen(port)
    if (!server) continue
    await new Promise((resolve) => server.close(resolve))
    return port
  }
  throw new Error(`no port from ${first} to ${first + RANGE - 2} is free`)
}
