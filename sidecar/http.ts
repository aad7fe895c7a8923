/**
 * The sidecar over HTTP: health, metrics, and flags by OFREP (https://openfeature.dev/docs/reference/other-technologies/ofrep/).
 * Metrics name no customer; who may read them is for the network to say, as is the custom.
 */
import { createHash } from 'node:crypto'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { bodyParser } from '@koa/bodyparser'
import Router from '@koa/router'
import Koa, { type Middleware } from 'koa'
import { cannotListen } from '../common/config.ts'
import { drainable } from '../common/drain-http.ts'
import { type AppError, isAppError } from '../common/errors.ts'
import type { Faults } from '../common/faults.ts'
import { createBoundedServer } from '../common/http-limits.ts'
import { table } from '../common/table.ts'
import { traceRequests } from '../common/trace-requests.ts'
import type { SidecarMetrics } from './observe/metrics.ts'
import type { Flag, Flags } from './service/flags.ts'

/** Bulk answers and single ones alike: what a flag takes to say. */
const MAX_BODY = '64kb'
const WAIT_MS = 5_000

export interface SidecarHttp {
  /** `http://host:port`. */
  url: string
  close(): Promise<void>
}

const statuses = table<number>({ invalid_request: 400, unauthenticated: 401, forbidden: 403, unavailable: 503 })

/** OFREP's own codes: https://github.com/open-feature/protocol. */
const errorCodeOf = (error: AppError): string => {
  if (error.code === 'unavailable') return 'PROVIDER_NOT_READY'
  if (error.code !== 'invalid_request') return 'GENERAL'
  return /targetingKey\W*must be set/.test(error.message) ? 'TARGETING_KEY_MISSING' : 'INVALID_CONTEXT'
}

const detailsOf = (status: number): string => {
  if (status === 415) return 'content-type must be application/json'
  return status < 500 ? 'the body is not JSON' : 'something went wrong on our side'
}

const decoded = (part: string): string => {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

const bodyOf = (key: string, { value, reason, variant, metadata }: Flag) => ({
  key,
  reason,
  ...(value === undefined ? {} : { value }),
  ...(variant === undefined ? {} : { variant }),
  metadata,
})

export const startSidecarHttp = async (options: {
  host: string
  port: number
  flags: Flags
  /** Answers gateways. */
  forwardAuth: Middleware | undefined
  metrics: SidecarMetrics
  isReady: () => boolean
  nowMs: () => number
  faults: Faults
}): Promise<SidecarHttp> => {
  const { flags, forwardAuth, metrics, isReady, nowMs, faults } = options
  const router = new Router()
  const evaluation = (ctx: Koa.Context) => ({
    method: 'ofrep',
    context: (ctx.request.body as { context?: unknown } | undefined)?.context,
    authorization: ctx.get('authorization') || undefined,
    traceparent: ctx.get('traceparent') || undefined,
    deadlineMs: nowMs() + WAIT_MS,
  })

  router.get('/healthz', (ctx) => {
    ctx.body = { status: 'up' }
  })
  router.get('/readyz', (ctx) => {
    ctx.status = isReady() ? 200 : 503
    ctx.body = { status: isReady() ? 'ready' : 'waiting for the feed or a snapshot' }
  })
  router.get('/metrics', async (ctx) => {
    ctx.type = metrics.contentType
    ctx.body = await metrics.text()
  })
  router.post('/ofrep/v1/evaluate/flags/:key', async (ctx) => {
    const { key = '' } = ctx.params as { key?: string }
    ctx.body = bodyOf(key, await flags.one({ ...evaluation(ctx), key }))
  })
  router.post('/ofrep/v1/evaluate/flags', async (ctx) => {
    const { flags: all, freshness } = await flags.all(evaluation(ctx))
    ctx.body = { flags: all.map(({ key, ...flag }) => bodyOf(key, flag)), metadata: { revision: freshness.revision } }
    // Its content alone: the same flags are the same answer, however often they are asked for.
    ctx.etag = createHash('sha256').update(JSON.stringify(ctx.body)).digest('base64url').slice(0, 27)
    // Koa compares for GET alone; OFREP asks by POST.
    if (ctx.get('if-none-match') === ctx.response.get('etag')) ctx.status = 304
  })

  const app = new Koa()
  app.use(traceRequests)
  app.use(async (ctx, next) => {
    const key = /^\/ofrep\/v1\/evaluate\/flags\/(.+)$/.exec(ctx.path)?.[1]
    const named = key === undefined ? {} : { key: decoded(key) }
    try {
      await next()
    } catch (error) {
      if (isAppError(error) && error.code in statuses) {
        ctx.status = statuses[error.code] ?? 500
        ctx.body = { ...named, errorCode: errorCodeOf(error), errorDetails: error.message }
        return
      }
      const status = (error as { status?: number }).status ?? 500
      if (status >= 500) faults.tell(error, 'an HTTP request failed')
      ctx.status = status
      ctx.body = {
        ...named,
        errorCode: status < 500 ? 'PARSE_ERROR' : 'GENERAL',
        errorDetails: detailsOf(status),
      }
    }
  })
  // Before a body is read: a gateway may pass on the headers of one, without the body.
  if (forwardAuth) app.use(forwardAuth)
  app.use(async (ctx, next) => {
    // Read as what it is not, it would only be said that everything is missing.
    if (ctx.request.length !== 0 && ctx.is('json') === false) throw Object.assign(new Error('not JSON'), { status: 415 })
    await next()
  })
  app.use(bodyParser({ jsonLimit: MAX_BODY, enableTypes: ['json'] }))
  app.use(router.routes()).use(router.allowedMethods())

  const server: Server = createBoundedServer(app.callback())
  const { drain } = drainable(server)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(cannotListen('SIDECAR_HTTP_PORT', options.port, error)))
    server.listen(options.port, options.host, resolve)
  })
  // Of one connection that could not be taken; others still can.
  server.on('error', (error) => faults.tell(error, 'an HTTP connection could not be accepted'))
  app.on('error', (error) => faults.tell(error, 'an HTTP answer could not be sent'))
  return {
    url: `http://${options.host}:${(server.address() as AddressInfo).port}`,
    close: drain,
  }
}
