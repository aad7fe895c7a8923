import { once } from 'node:events'
import { createServer } from 'node:net'

// Below the ports that systems hand out by themselves, for these may be given to somebody else between the choice and
// the use, or while what used one is restarted. Each process has a range of its own, for the same reason.
const [FIRST, RANGE, RANGES] = [20_000, 100, 120]
const start = FIRST + (process.pid % RANGES) * RANGE
let next = 0

const isFree = async (port: number): Promise<boolean> => {
  const server = createServer()
  try {
    await once(server.listen(port, '127.0.0.1'), 'listening')
    return true
  } catch {
    return false
  } finally {
    server.close()
  }
}

/** A port for somebody who has to know it before listening, or comes back to it after a restart. */
export const freePort = async (): Promise<number> => {
  for (let tried = 0; tried < RANGE; tried += 1) {
    const port = start + (next++ % RANGE)
    if (await isFree(port)) return port
  }
  throw new Error(`no port from ${start} to ${start + RANGE - 1} is free`)
}
