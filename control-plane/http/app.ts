/**
 * The HTTP API: a chain for each route that reads as its policy (authenticate, authorize, validate, once a key,
 * handle), one error mapping around all, and nothing about the business.
 */

import { randomUUID } from 'node:crypto'
import type { Readable } from 'node:stream'
import Router, { type RouterContext } from '@koa/router'
import Koa from 'koa'
import helmet from 'koa-helmet'
import { ulid } from 'ulid'
import type { z } from 'zod'
import { AppError, fieldError, isAppError } from '../../common/errors.ts'
import { traceRequests } from '../../common/trace-requests.ts'
import { currentTracer } from '../../common/tracing.ts'
import { secretIn, tenantOfCall } from '../access/authenticate.ts'
import { anonymous, type Caller, mustBePlatform } from '../access/caller.ts'
import type { AuditTrail } from '../audit/trail.ts'
import { derivedId, PLATFORM } from '../keys.ts'
import { measureRequests } from '../observe/http-metrics.ts'
import type { ControlPlaneMetrics } from '../observe/metrics.ts'
import { IdentityProviderAwayError, type OpenId } from '../people/open-id.ts'
import type { Services } from '../ports.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { type TenantScope, tenantScope } from '../tenant-scope.ts'
import { asyncApiDocument } from './asyncapi.ts'
import { audited, deniedEntry, type RequestOrigin, signInEntry } from './audited.ts'
import { cookieOf, setCookie } from './cookies.ts'
import { type GivenAnswer, onceAKey, type StoredAnswer } from './idempotency.ts'
import { openApiDocument } from './openapi.ts'
import { addPages } from './pages.ts'
import { checkAnswer, ifMatchOf } from './precondition.ts'
import { toProblem, validationError } from './problem.ts'
import { bodyOf, checkText, metered, readBody } from './request-body.ts'
import { type AnyRoute, type Call, isKeyed, takesIdempotencyKey, type Webhooks } from './route.ts'
import { routes } from './routes/index.ts'
import { checkStorefront } from './storefront-scope.ts'
import { RateLimitedError } from './throttle.ts'
import { authenticated, checkAccess, checkCsrfOf, type WhoCallsOptions } from './who-calls.ts'

export interface HttpAppOptions extends WhoCallsOptions {
  /** True if everything this process needs can be reached. */
  isReady(): Promise<boolean>
  /** Metrics, served to a platform key. */
  metrics: ControlPlaneMetrics
  trail: AuditTrail
  openId: OpenId
  webhooks: Webhooks
  /** Proxies of ours before this, each of which adds the address that it was called from to X-Forwarded-For. */
  trustedProxies?: number
}

export const createHttpApp = (options: HttpAppOptions): Koa => {
  const { services } = options
  const app = new Koa({ proxy: Boolean(options.trustedProxies), maxIpsCount: options.trustedProxies ?? 0 })
  app.use(traceRequests)
  app.use(measureRequests(options.metrics.instruments))
  app.use(answerErrors(services))
  app.use(helmet())
  app.use(async (context, next) => {
    // Answers show secrets once, and people's data.
    context.set('cache-control', 'no-store')
    await next()
  })
  const router = new Router()
  router.get('/healthz', (context) => {
    context.body = { status: 'ok' }
  })
  router.get('/readyz', async (context) => {
    const ready = await options.isReady()
    context.status = ready ? 200 : 503
    context.body = { status: ready ? 'ready' : 'not ready' }
  })
  router.get('/metrics', async (context) => {
    mustBePlatform(await authenticated(context, options))
    context.type = options.metrics.contentType
    context.body = await options.metrics.text()
  })
  addPages(router, { openApi: openApiDocument(routes), asyncApi: asyncApiDocument() })
  for (const definition of routes) {
    router[definition.method](definition.path.replace(/\{(\w+)\}/g, ':$1'), (context) => serve(context, definition, options))
  }
  app.use(async (context, next) => {
    await next()
    if (context.status === 405 || context.status === 501) {
      const allow = context.response.get('allow')
      throw new AppError('method_not_allowed', `${context.path} supports ${allow || 'no such method'}; GET /openapi.json lists all routes`)
    }
    if (context.status === 404 && context.body === undefined) {
      throw new AppError('not_found', `there is nothing at ${context.path}; GET /openapi.json lists all routes`)
    }
  })
  app.use(router.routes())
  app.use(router.allowedMethods())
  return app
}

const answerErrors =
  ({ log }: Services): Koa.Middleware =>
  async (context, next) => {
    const requestId = `req_${randomUUID()}`
    context.set('x-request-id', requestId)
    try {
      await next()
    } catch (error) {
      const problem = toProblem(error, requestId)
      if (problem.status >= 500 && !(error instanceof IdentityProviderAwayError))
        log.error({ err: error, requestId, method: context.method, path: context.path }, problem.title)
      context.status = problem.status
      context.type = 'application/problem+json'
      if (problem.status === 401) context.set('www-authenticate', 'Bearer')
      if (error instanceof RateLimitedError) context.set('retry-after', String(error.retryAfterS))
      if (isAppError(error, 'idempotency_in_progress', 'unavailable', 'newer_version')) context.set('retry-after', '1')
      context.body = JSON.stringify(problem)
    }
  }

/** Headers as one string each; those that a client repeats are joined, as HTTP says. */
const headersOf = (context: RouterContext): Record<string, string | undefined> =>
  Object.fromEntries(Object.entries(context.headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : value]))

const validate = (schema: z.ZodType | undefined, value: unknown, part: 'body' | 'query' | 'path'): unknown => {
  if (!schema) return undefined
  const parsed = schema.safeParse(value)
  if (!parsed.success) throw validationError(parsed.error.issues, part)
  return parsed.data
}

const askedOf = (context: RouterContext): RequestOrigin => ({ requestId: context.response.get('x-request-id'), from: context.ip })

/** Records a refusal that came before the call's `begun`: a later one has its `done`. */
const tellOfDenial = async (context: RouterContext, definition: AnyRoute, { services, trail }: HttpAppOptions, caller: Caller): Promise<void> => {
  const entry = context.state.isToldOf ? undefined : deniedEntry(services, caller, definition, askedOf(context))
  if (!entry || caller.tenantId === undefined) return
  await trail.append(caller.tenantId, entry).catch((error: unknown) => services.log.error({ err: error }, 'a denial could not be recorded in the audit log'))
}

const serve = async (context: RouterContext, definition: AnyRoute, options: HttpAppOptions): Promise<void> => {
  if (definition.access === 'public') {
    await options.throttle.open(context.ip)
    const answer = () => answerCall(context, definition, options, anonymous)
    return definition.guesses ? options.throttle.guessed(context.ip, answer) : answer()
  }
  const caller = await authenticated(context, options)
  const { end, headers } = await options.throttle.begin(caller)
  context.set(headers)
  try {
    checkCsrfOf(context, options, caller)
    checkAccess(caller, definition.access)
    await answerCall(context, definition, options, caller)
  } catch (error) {
    if (isAppError(error, 'forbidden')) await tellOfDenial(context, definition, options, caller)
    throw error
  } finally {
    end()
  }
}

/** A path that names a tenant is about the caller's own, and the header cannot mean another. @throws AppError `not_found` or `invalid_request`. */
const mustNotContradict = ({ tenant }: { tenant?: string }, own: string | undefined, named: string | undefined): void => {
  // Whether another tenant exists is nobody's business.
  if (tenant !== undefined && own !== undefined && own !== tenant) throw new AppError('not_found', 'no such tenant')
  if (tenant !== undefined && named !== undefined && named !== tenant)
    throw fieldError('invalid_request', 'x-tn', `names another tenant than the path, which is about ${tenant}: leave the header out`)
}

type AnyCall = Call<unknown, unknown, unknown>
type NewId = AnyCall['newId']

/** The body as received. */
const rawBodyOf = ({ request }: RouterContext): string => (request as { rawBody?: string }).rawBody ?? ''

/** The body, within its bounds, and of the type that the route takes. @throws AppError. @returns the stream of one that is handed on as it arrives. */
const takeBody = async (context: RouterContext, definition: AnyRoute, { throttle }: HttpAppOptions, caller: Caller): Promise<Readable | undefined> => {
  const keyed = isKeyed(definition)
  await readBody(context, definition.jsonTypes ?? [])
  if (keyed) await throttle.took(caller, rawBodyOf(context).length)
  if (keyed || definition.guesses) checkText(context)
  const streams = context.is('text/csv') === 'text/csv'
  if (streams && definition.takes !== 'text/csv') throw new AppError('unsupported_media_type', 'the body must be JSON: send Content-Type: application/json')
  if (!streams && definition.takes) throw new AppError('unsupported_media_type', `the body must be ${definition.takes}: send Content-Type: ${definition.takes}`)
  return streams ? metered(context.req, (bytes) => throttle.took(caller, bytes)) : undefined
}

/** The tenant that the call is about; undefined for the routes that are about none. @throws AppError. */
const tenantOf = async (context: RouterContext, definition: AnyRoute, { services }: HttpAppOptions, caller: Caller): Promise<Tenant | undefined> => {
  if (!isKeyed(definition)) return undefined
  const named = headersOf(context)['x-tn']
  mustNotContradict(context.params as { tenant?: string }, caller.tenantId, named)
  return definition.ofTenant === false ? undefined : tenantOfCall(services, caller, named)
}

/** The handler's input, once each part is as its schema has it. @throws AppError `invalid_request`. */
const validated = (
  context: RouterContext,
  definition: AnyRoute,
  options: HttpAppOptions,
  { caller, tenant, stream }: Pick<AnyCall, 'caller' | 'stream'> & { tenant: Tenant | undefined },
): Omit<AnyCall, 'newId'> => {
  const headers = headersOf(context)
  return {
    services: options.services,
    caller,
    within: caller.storefronts,
    // A route that is about no tenant does not look at it.
    of: (tenant && tenantScope(options.services, tenant)) as TenantScope,
    params: validate(definition.params, context.params, 'path'),
    query: validate(definition.query, context.query, 'query'),
    body: validate(definition.body, bodyOf(context), 'body'),
    ifMatch: ifMatchOf(definition.ifMatch, headers['if-match']),
    headers,
    rawBody: rawBodyOf(context),
    stream,
    origin: options.publicUrl(),
    cookie: (name) => cookieOf(context, options, name),
    openId: options.openId,
    webhooks: options.webhooks,
    tellOf: (user) => options.trail.append(user.tenantId, signInEntry(options.services, user, definition, askedOf(context))),
    gone: () => goneSignal(context),
  }
}

/** Runs the route's own work, and tells the audit log. */
const handled = async (context: RouterContext, definition: AnyRoute, options: HttpAppOptions, call: AnyCall): Promise<GivenAnswer> => {
  // From here on it is told of by itself.
  context.state.isToldOf = true
  const answer = await audited(options.trail, definition, call, askedOf(context), () => definition.handle(call))
  checkAnswer(definition.ifMatch, call.ifMatch, answer)
  const { body, revision, isUnderWay, cookies = [], location } = answer
  for (const cookie of cookies) setCookie(context, options, cookie)
  if (location !== undefined) context.set('location', location)
  return { status: definition.status, body, isUnderWay, ...(revision === undefined ? {} : { revision }) }
}

/** Once per Idempotency-Key, where there is one. */
const onceAKeyOf = async (
  context: RouterContext,
  definition: AnyRoute,
  { services }: HttpAppOptions,
  call: Omit<AnyCall, 'newId'>,
  work: (newId: NewId) => Promise<GivenAnswer>,
): Promise<StoredAnswer> => {
  const key = takesIdempotencyKey(definition) ? call.headers['idempotency-key'] : undefined
  if (key === undefined) return work((prefix) => `${prefix}_${ulid(services.clock.nowMs())}`)
  const request = {
    key,
    callerId: call.caller.id,
    secret: secretIn(call.headers.authorization) ?? call.cookie('session') ?? '',
    tenantId: (call.of as TenantScope | undefined)?.tenantId ?? PLATFORM,
    parts: [definition.method, context.path, call.body],
  }
  const answer = await onceAKey(services, request, (seed) => {
    let made = 0
    return work((prefix) => {
      made += 1
      return made === 1 ? `${prefix}_${seed}` : derivedId(prefix, seed, made)
    })
  })
  if (answer.replayed) context.set('idempotent-replayed', 'true')
  return answer
}

/** The chain, once it is known that the caller may come here. */
const answerCall = async (context: RouterContext, definition: AnyRoute, options: HttpAppOptions, caller: Caller): Promise<void> => {
  const stream = await takeBody(context, definition, options, caller)
  const tenant = await tenantOf(context, definition, options, caller)
  if (tenant) currentTracer()?.annotate({ 'tollgate.tenant': tenant.tenantId })
  const call = validated(context, definition, options, { caller, tenant, stream })
  await checkStorefront(definition.storefront, call)
  const answer = await onceAKeyOf(context, definition, options, call, (newId) => handled(context, definition, options, { ...call, newId }))
  write(context, answer, definition.gives)
}

/** Nobody waits for the answer any more: long work that can be gone on with later stops. */
const goneSignal = ({ res }: RouterContext): AbortSignal => {
  const gone = new AbortController()
  res.once('close', () => {
    if (!res.writableFinished) gone.abort(new AppError('unavailable', 'the caller has hung up before the answer'))
  })
  return gone.signal
}

const write = (context: RouterContext, answer: StoredAnswer, type?: string): void => {
  context.status = answer.status
  if (type !== undefined) context.type = type
  if (answer.revision !== undefined) context.set('etag', `"${answer.revision}"`)
  if (answer.status !== 204 && answer.status !== 302) context.body = answer.body
}
