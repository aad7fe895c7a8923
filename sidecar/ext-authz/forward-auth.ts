/**
 * The same over HTTP, for gateways that ask by a request of their own: `/ext-authz/forward` for Traefik's forwardAuth and Caddy's forward_auth,
 * and `/ext-authz/nginx` for nginx' auth_request. Each reads only the headers that its gateway sets: a caller of Traefik may send those of
 * nginx, and would name another request.
 */
import type { Context, Middleware } from 'koa'
import { isAppError } from '../../common/errors.ts'
import type { ExtAuthz, Ruling } from './ext-authz.ts'
import type { GatewayRequest } from './gateway-request.ts'

const WAIT_MS = 5_000
const FOLDER = '/ext-authz/'

interface Form {
  /** Where the gateway says what it was asked for. */
  headers: { method: string; host: string; target: string }
  answer(ctx: Context, ruling: Ruling): void
}

const say = (ctx: Context, headers: Record<string, string>): void => {
  for (const [name, value] of Object.entries(headers)) ctx.set(name, value)
}

/** Headers carry ASCII. */
const toAscii = (json: string): string => json.replaceAll(/[^\x20-\x7e]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** The gateway passes any answer but a 2xx on to the caller, as it is. */
const forward: Form = {
  headers: { method: 'x-forwarded-method', host: 'x-forwarded-host', target: 'x-forwarded-uri' },
  answer: (ctx, { upstream, headers, refusal }) => {
    say(ctx, refusal ? headers : { ...upstream, ...headers })
    ctx.status = refusal?.status ?? 200
    ctx.body = refusal?.body ?? ''
    if (refusal) ctx.type = refusal.contentType
  },
}

/** nginx knows 401 and 403 as refusals. Its configuration takes the status and the body of its answer from headers. */
const nginx: Form = {
  headers: { method: 'x-original-method', host: 'x-original-host', target: 'x-original-uri' },
  answer: (ctx, { upstream, headers, refusal }) => {
    say(ctx, refusal ? { ...headers, 'x-tollgate-status': String(refusal.status), 'x-tollgate-problem': toAscii(refusal.body) } : { ...upstream, ...headers })
    ctx.status = !refusal || refusal.status === 401 ? (refusal?.status ?? 200) : 403
    ctx.body = ''
  },
}

const forms = new Map<string, Form>([
  ['forward', forward],
  ['nginx', nginx],
])

const toRequest = (ctx: Context, { method, host, target }: Form['headers']): GatewayRequest => ({
  method: ctx.get(method),
  host: ctx.get(host),
  target: ctx.get(target),
  headers: new Map(Object.entries(ctx.headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : (value ?? '')])),
  // These gateways verify no token for others.
  claim: () => undefined,
  context: () => undefined,
})

/** Answers requests below `/ext-authz/`, and passes all others on. */
export const createForwardAuth =
  (extAuthz: ExtAuthz, nowMs: () => number): Middleware =>
  async (ctx, next) => {
    const form = ctx.path.startsWith(FOLDER) ? forms.get(ctx.path.slice(FOLDER.length)) : undefined
    if (!form) return next()
    const left = new AbortController()
    ctx.res.once('close', () => left.abort())
    // `authorization` is the caller's, for the application: the gateway's key has a header of its own.
    const key = ctx.get('x-tollgate-key')
    try {
      const ruling = await extAuthz.judge({
        request: toRequest(ctx, form.headers),
        authorization: key === '' ? undefined : `Bearer ${key}`,
        traceparent: ctx.get('traceparent') || undefined,
        deadlineMs: nowMs() + WAIT_MS,
        signal: left.signal,
      })
      form.answer(ctx, ruling)
    } catch (error) {
      if (left.signal.aborted) return
      if (!isAppError(error, 'unauthenticated', 'forbidden')) throw error
      // The gateway's caller cannot fix this, so it is not one of the statuses that a gateway passes on as a refusal.
      ctx.status = 500
      ctx.body = { title: 'the gateway is not set up', detail: "x-tollgate-key: must be one of the sidecar's SIDECAR_KEYS that is for the rule's tenant" }
    }
  }
