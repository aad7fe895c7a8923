/** Everything open is opened by somebody who said so: what a start refuses unless a variable says that it is meant. */
import { isIP } from 'node:net'
import { type Config, ConfigError } from './config.ts'
import type { Log } from './log.ts'

/** Storage on MongoDB is shared, and nobody's laptop. */
const isProduction = ({ NODE_ENV, MONGODB_URL }: Config): boolean => NODE_ENV === 'production' || MONGODB_URL !== undefined

/** 256 bits in base64 have 43 characters; who takes hexadecimal of half as many has 32. */
const LEAST_PLATFORM_KEY = 32

/** @throws ConfigError. */
export const checkControlPlaneIsSafe = (config: Config, log: Log): void => {
  const why: string[] = []
  const isPlain = config.CREDENTIALS_KEY === undefined && config.ALLOW_PLAIN_SECRETS === 'false'
  if (isProduction(config)) {
    if (isPlain)
      why.push(
        '  CREDENTIALS_KEY: must be set, or the secrets of payment providers are stored unencrypted; npm run keys:init creates one (ALLOW_PLAIN_SECRETS=true allows a start without it)',
      )
    if (config.PLATFORM_API_KEY?.some((key) => key.reveal().length < LEAST_PLATFORM_KEY))
      why.push(`  PLATFORM_API_KEY: must have at least ${LEAST_PLATFORM_KEY} characters in production; openssl rand -base64 32 creates one`)
  } else if (isPlain)
    log.warn('CREDENTIALS_KEY is not set: the secrets of payment providers are stored unencrypted, which is acceptable only for trying Tollgate out')
  if (why.length > 0) throw new ConfigError(`These settings are not safe in production (NODE_ENV=production, or storage on MongoDB):\n${why.join('\n')}`)
}

const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))

/** @throws ConfigError. */
export const checkSidecarIsSafe = (config: Config): void => {
  const isReached = !isLoopback(config.HOST) && (config.GRPC_SOCKET === undefined || config.SIDECAR_HTTP_PORT !== undefined)
  if (!isReached || config.SIDECAR_OPEN === 'true') return
  if (config.SIDECAR_KEYS !== undefined) return
  // Client certificates say who calls over gRPC; over HTTP nothing does.
  if (config.TLS_CLIENT_CA_FILE !== undefined && config.SIDECAR_HTTP_PORT === undefined) return
  throw new ConfigError(
    [
      `HOST is ${config.HOST}, so anyone who can reach this sidecar could ask about every customer. Set one of these:`,
      '  SIDECAR_KEYS: which keys may ask, and about which tenants; or',
      "  TLS_CLIENT_CA_FILE: the CA that signs callers' certificates (without SIDECAR_HTTP_PORT, which asks for none); or",
      '  HOST=127.0.0.1, or GRPC_SOCKET: only this machine can reach it; or',
      '  SIDECAR_OPEN=true: everybody may ask.',
    ].join('\n'),
  )
}
