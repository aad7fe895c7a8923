/** The connection to NATS: kept for ever, and loud while it is lost, refused, or not allowed what it asks for. */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  AuthorizationError,
  type ConnectionOptions,
  connect,
  type NatsConnection,
  PermissionViolationError,
  UserAuthenticationExpiredError,
} from '@nats-io/transport-node'
import { AppError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import type { Secret } from '../../secret.ts'
import { type NatsAccess, readIdentity, tlsOf } from './credentials.ts'
import { inboxOf } from './names.ts'

/** Longer than a local round trip by three orders of magnitude, short enough for a caller to wait for. */
export const REQUEST_TIMEOUT_MS = 2_000
const WARN_EVERY_MS = 30_000
/** At most this many refused subjects are logged; the same one is logged again after `WARN_EVERY_MS`. */
const MAX_TOLD = 100

/**
 * @param url one or several, separated by commas; a user and password or a token may be part of each.
 * @param access who else it is, and whom it trusts.
 * @throws ConfigError that names the variable, when files cannot be used.
 */
export const connectionOptions = (url: Secret, waitMs: number, access: NatsAccess = {}): ConnectionOptions => {
  const urls = url
    .reveal()
    .split(',')
    .map((one) => new URL(one))
  const { username = '', password = '', protocol } = urls[0] ?? {}
  const identity = access.credentialsFile === undefined ? undefined : readIdentity(access.credentialsFile)
  const credentials =
    username === ''
      ? {}
      : password === ''
        ? { token: decodeURIComponent(username) }
        : { user: decodeURIComponent(username), pass: decodeURIComponent(password) }
  const tls = tlsOf(access) ?? (protocol === 'tls:' ? {} : undefined)
  return {
    servers: urls.map((one) => one.host),
    ...(tls ? { tls } : {}),
    ...credentials,
    // An inbox prefix of its own, so that no other user can listen to its answers.
    ...(identity ? { authenticator: identity.authenticator, inboxPrefix: inboxOf(identity.publicKey) } : {}),
    // A feed that is away is waited for, for ever: sidecars answer from memory meanwhile.
    maxReconnectAttempts: -1,
    // Also while it refuses us: its credentials may be there a moment later.
    ignoreAuthErrorAbort: true,
    reconnectTimeWait: waitMs,
    reconnectJitter: waitMs,
    reconnectJitterTLS: waitMs,
    // A peer that vanished without closing is noticed within three of these.
    pingInterval: 5_000,
    timeout: REQUEST_TIMEOUT_MS,
  }
}

const isRefusal = (error: unknown): boolean => error instanceof AuthorizationError || error instanceof UserAuthenticationExpiredError

const REFUSED = 'feed: the NATS server refuses who this is; check NATS_CREDS, or the user in NATS_URL; trying again'

/** Connects, however long that takes, and says why it is not connected yet: nobody else would. */
export const connectAloud = async (connecting: ConnectionOptions, log: Log): Promise<NatsConnection> => {
  const { servers, reconnectTimeWait: waitMs = REQUEST_TIMEOUT_MS } = connecting
  const begunMs = performance.now()
  /** A server that is only just starting is not worth a word. */
  let warnAtMs = begunMs + REQUEST_TIMEOUT_MS
  let wasRefused = false
  for (;;) {
    try {
      return await connect(connecting)
    } catch (error) {
      const refused = isRefusal(error)
      if (performance.now() >= warnAtMs || (refused && !wasRefused)) {
        warnAtMs = performance.now() + WARN_EVERY_MS
        log.warn({ servers, reason: (error as Error).message }, refused ? REFUSED : 'feed: no NATS server can be reached; trying again')
      }
      wasRefused = refused
    }
    await sleep(waitMs + Math.random() * waitMs)
  }
}

/** Each of several things at most every `WARN_EVERY_MS`. */
const seldom = () => {
  const toldMs = new Map<string, number>()
  return (what: string): boolean => {
    const nowMs = performance.now()
    if (nowMs - (toldMs.get(what) ?? Number.NEGATIVE_INFINITY) < WARN_EVERY_MS) return false
    if (toldMs.size >= MAX_TOLD) toldMs.clear()
    toldMs.set(what, nowMs)
    return true
  }
}

export const tellOfLosses = async (connection: NatsConnection, log: Log): Promise<void> => {
  const isNews = seldom()
  for await (const status of connection.status()) {
    if (status.type === 'disconnect') log.warn({ server: status.server }, 'feed: the connection to the NATS server was lost; trying to connect again')
    if (status.type === 'reconnect') log.info({ server: status.server }, 'feed: reconnected')
    if (status.type !== 'error') continue
    const { error } = status
    if (isRefusal(error) && isNews(error.name)) log.warn({ reason: error.message }, REFUSED)
    if (error instanceof PermissionViolationError && isNews(`${error.operation} ${error.subject.split('.').slice(0, 5).join('.')}`))
      log.error(
        { operation: error.operation, subject: error.subject },
        "feed: the NATS server does not allow this user what it needs; a sidecar's SIDECAR_TENANTS must be exactly the tenants of its NATS user",
      )
  }
}

export const unavailable = (cause: unknown): AppError => new AppError('unavailable', 'the feed (NATS) cannot be reached', [], { cause })

export const orFeedUnavailable = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work()
  } catch (error) {
    throw error instanceof AppError ? error : unavailable(error)
  }
}

/** Says whether the server has this version or a later one. */
export const isServerFrom = (connection: NatsConnection, [major, minor]: readonly [number, number]): boolean => {
  const [ofMajor = 0, ofMinor = 0] = (connection.info?.version ?? '').split('.').map(Number)
  return ofMajor > major || (ofMajor === major && ofMinor >= minor)
}
