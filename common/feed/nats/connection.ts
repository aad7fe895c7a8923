/** The connection to NATS: kept for ever, and loud while it is lost. */
import { type ConnectionOptions, connect, type NatsConnection } from '@nats-io/transport-node'
import { AppError } from '../../errors.ts'
import type { Log } from '../../log.ts'

/** Longer than a local round trip by three orders of magnitude, short enough for a caller to wait for. */
export const REQUEST_TIMEOUT_MS = 2_000
const WARN_EVERY_MS = 30_000

/** @param url one or several, separated by commas; a user and password or a token may be part of each. */
export const connectionOptions = (url: string, waitMs: number): ConnectionOptions => {
  const urls = url.split(',').map((one) => new URL(one))
  const { username = '', password = '', protocol } = urls[0] ?? {}
  const credentials =
    username === ''
      ? {}
      : password === ''
        ? { token: decodeURIComponent(username) }
        : { user: decodeURIComponent(username), pass: decodeURIComponent(password) }
  return {
    servers: urls.map((one) => one.host),
    ...(protocol === 'tls:' ? { tls: {} } : {}),
    ...credentials,
    // A feed that is away is waited for, for ever: sidecars answer from memory meanwhile.
    maxReconnectAttempts: -1,
    // Also while it refuses us: its credentials may be there a moment later.
    ignoreAuthErrorAbort: true,
    waitOnFirstConnect: true,
    reconnectTimeWait: waitMs,
    reconnectJitter: waitMs,
    reconnectJitterTLS: waitMs,
    // A peer that vanished without closing is noticed within three of these.
    pingInterval: 5_000,
    timeout: REQUEST_TIMEOUT_MS,
  }
}

/** Says that a server is not reached, for as long as it is not: nobody else would. */
export const connectAloud = async (connecting: ConnectionOptions, log: Log): Promise<NatsConnection> => {
  const warn = () => log.warn({ servers: connecting.servers }, 'feed: no NATS server is reached; trying again, until one is')
  let every: NodeJS.Timeout | undefined
  const first = setTimeout(() => {
    warn()
    every = setInterval(warn, WARN_EVERY_MS)
  }, REQUEST_TIMEOUT_MS)
  try {
    return await connect(connecting)
  } finally {
    clearTimeout(first)
    clearInterval(every)
  }
}

export const tellOfLosses = async (connection: NatsConnection, log: Log): Promise<void> => {
  for await (const status of connection.status()) {
    if (status.type === 'disconnect') log.warn({ server: status.server }, 'feed: the NATS server is lost; trying to reach one again, until one is')
    if (status.type === 'reconnect') log.info({ server: status.server }, 'feed: reconnected')
  }
}

export const unavailable = (cause: unknown): AppError => new AppError('unavailable', 'the feed (NATS) cannot be reached', [], { cause })

export const orUnavailable = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work()
  } catch (error) {
    throw error instanceof AppError ? error : unavailable(error)
  }
}

/** Whether the server is of this version or a later one. */
export const isServerFrom = (connection: NatsConnection, [major, minor]: readonly [number, number]): boolean => {
  const [ofMajor = 0, ofMinor = 0] = (connection.info?.version ?? '').split('.').map(Number)
  return ofMajor > major || (ofMajor === major && ofMinor >= minor)
}
