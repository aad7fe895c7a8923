/**
 * A payment service provider that charges nobody: a real HTTP server, so that timeouts, refused connections and
 * webhooks are real. It keeps a ledger by idempotency key and does what a token's name says (`behaviour.ts`, `bank.ts`).
 *
 *   POST /v1/accounts/{tenant}/{account}/charges  {reference, amount, currency, token, capture?, offSession?, authenticate?, webhookUrl?}
 *   GET  /v1/accounts/{tenant}/{account}/charges/{reference}
 *   POST /v1/accounts/{tenant}/{account}/charges/{reference}/cancel, /capture, /release
 *   POST /v1/accounts/{tenant}/{account}/refunds  {reference, chargeReference, amount}
 *   GET  /v1/accounts/{tenant}/{account}/refunds/{reference}
 *   POST /v1/actions/{charge id}  {outcome: "approve" | "decline"}: what a customer does at 3-D Secure
 *   GET  /v1/ledger/{tenant}: every charge, refund and dispute
 *   GET, PUT /v1/clocks/{tenant}  {now}: the time of a sandbox tenant, which delays follow; answers {next}: the next event
 */
import type { AddressInfo } from 'node:net'
import { bodyParser } from '@koa/bodyparser'
import Router from '@koa/router'
import Koa from 'koa'
import type { Clock } from '../common/clock.ts'
import { createBoundedServer } from '../common/http-limits.ts'
import type { Log } from '../common/log.ts'
import type { Secret } from '../common/secret.ts'
import { traceRequests } from '../common/trace-requests.ts'
import { z } from '../common/zod.ts'
import { accountOf, createBank } from './bank.ts'
import { behaviourOf, refusesCredentials } from './behaviour.ts'
import { createLedger, type LedgerCharge, type LedgerRefund } from './ledger.ts'
import { startWebhookSender } from './webhook-sender.ts'

/** Nothing unprivileged listens there, so a connection to it is refused by the operating system. */
const CLOSED_PORT = 2

/** The time of a sandbox tenant. */
const now = z.iso.datetime().optional()
const chargeBody = z.object({
  reference: z.string().min(1),
  amount: z.int().min(1),
  currency: z.string().length(3),
  token: z.string().min(1),
  /** `separate`: the money is only held, until it is captured or released. */
  capture: z.enum(['automatic', 'separate']).default('automatic'),
  /** The customer is not there to act. */
  offSession: z.boolean().optional(),
  /** The issuer has asked for the customer's authentication, and the customer is there. */
  authenticate: z.boolean().default(false),
  webhookUrl: z.url().optional(),
  now,
})
const clockBody = z.object({ now: z.iso.datetime() })
const refundBody = z.object({ reference: z.string().min(1), chargeReference: z.string().min(1), amount: z.int().min(1), now })
const captureBody = z.object({ now })
const actionBody = z.object({ outcome: z.enum(['approve', 'decline']) })

export interface PspSimulator {
  url: string
  close(): Promise<void>
}

export interface PspSimulatorOptions {
  host: string
  port: number
  /** The ledger's file, or `:memory:`. */
  ledgerPath: string
  /** `whsec_…`: what webhooks are signed with. */
  webhookSecret: Secret
  clock: Clock
  log: Log
}

export const startPspSimulator = async (options: PspSimulatorOptions): Promise<PspSimulator> => {
  const { clock, log } = options
  const ledger = createLedger(options.ledgerPath)
  const bank = createBank({ ledger, clock })
  const sender = startWebhookSender({ ledger, bank, secret: options.webhookSecret, clock, log })
  let url = ''

  const view = (charge: LedgerCharge) => ({
    ...bank.chargeView(charge),
    ...(charge.status === 'requires_action' ? { actionUrl: `${url}/v1/actions/${charge.id}` } : {}),
  })

  const router = new Router()
  router.get('/healthz', (context) => {
    context.body = { status: 'up' }
  })
  // What is due by now has happened before anything is asked or told.
  router.use('/v1/accounts/:tenant/:account', (context, next) => {
    bank.happenDue(context.params.tenant ?? '')
    return next()
  })
  const chargeOf = ({ tenant = '', account = '', reference = '' }: Record<string, string>) => ledger.find(accountOf(tenant, account), reference)

  router.post('/v1/accounts/:tenant/:account/charges', (context) => {
    const body = chargeBody.parse(context.request.body)
    const { tenant = '', account: name = '' } = context.params
    const account = accountOf(tenant, name)
    const known = ledger.find(account, body.reference)
    if (known && (known.amount !== body.amount || known.currency !== body.currency)) {
      context.status = 422
      context.body = { error: 'this reference was already used for another charge' }
      return
    }
    if (refusesCredentials(body.token, name) && !known) {
      context.status = 401
      context.body = { error: 'the credentials of the account are wrong' }
      return
    }
    const behaviour = behaviourOf(body.token, name, body.authenticate)
    if (behaviour.kind === 'refused' && !known) {
      // As a load balancer that sends the caller to a node that is gone: the connection is really refused.
      context.redirect(`http://127.0.0.1:${CLOSED_PORT}/`)
      context.status = 307
      return
    }
    const madeAtMs = body.now === undefined ? null : Date.parse(body.now)
    if (!known && madeAtMs !== null) ledger.startTenantAt(tenant, madeAtMs)
    const order = {
      account,
      reference: body.reference,
      amount: body.amount,
      currency: body.currency,
      webhookUrl: body.webhookUrl ?? null,
      token: body.token,
      madeAtMs,
      separate: body.capture === 'separate' ? 1 : 0,
      offSession: body.offSession === undefined ? null : Number(body.offSession),
    }
    const charge = known ?? bank.charge(order, behaviour, bank.momentFor(order, body.now))
    if (behaviour.kind === 'timeout') {
      // Charged, and never answered: the caller's own timeout ends the call.
      context.respond = false
      return
    }
    context.body = view(charge)
  })
  router.get('/v1/accounts/:tenant/:account/charges/:reference', (context) => {
    const charge = chargeOf(context.params)
    if (charge) context.body = view(charge)
  })
  router.post('/v1/accounts/:tenant/:account/charges/:reference/cancel', (context) => {
    const charge = chargeOf(context.params)
    if (!charge) return
    const canceled = bank.cancel(charge)
    context.status = canceled ? 200 : 409
    context.body = canceled ? view(canceled) : { error: 'the customer may still act: the charge cannot be canceled' }
  })
  for (const what of ['capture', 'release'] as const) {
    router.post(`/v1/accounts/:tenant/:account/charges/:reference/${what}`, (context) => {
      const body = captureBody.parse(context.request.body ?? {})
      const charge = chargeOf(context.params)
      if (charge) context.body = view(bank[what](charge, bank.momentFor(charge, body.now)))
    })
  }

  const answerRefund = (context: { status: number; body: unknown }, refund: LedgerRefund) => {
    context.status = refund.status === 'failed' ? 422 : 200
    context.body = bank.refundView(refund)
  }
  router.post('/v1/accounts/:tenant/:account/refunds', (context) => {
    const body = refundBody.parse(context.request.body)
    const { chargeReference, reference, amount } = body
    const charge = chargeOf({ ...context.params, reference: chargeReference })
    const refund = charge && bank.refund(charge, reference, amount, bank.momentFor(charge, body.now))
    if (refund && (refund.amount !== amount || refund.chargeReference !== chargeReference)) {
      context.status = 422
      context.body = { error: 'this reference was already used for another refund' }
    } else if (refund) answerRefund(context, refund)
    else {
      context.status = 422
      context.body = { error: 'the amount is more than what is left of the charge' }
    }
  })
  router.get('/v1/accounts/:tenant/:account/refunds/:reference', (context) => {
    const { tenant = '', account = '', reference = '' } = context.params
    const refund = ledger.findRefund(accountOf(tenant, account), reference)
    if (refund) context.body = bank.refundView(refund)
  })
  router.post('/v1/actions/:id', (context) => {
    const { outcome } = actionBody.parse(context.request.body)
    const charge = ledger.findById(context.params.id ?? '')
    if (charge) context.body = view(bank.act(charge, outcome))
  })
  router.get('/v1/ledger/:tenant', (context) => {
    const tenant = context.params.tenant ?? ''
    bank.happenDue(tenant)
    context.body = {
      charges: ledger
        .charges(tenant)
        .map((charge) => ({ account: charge.account, ...view(charge), ...(charge.offSession === null ? {} : { offSession: charge.offSession === 1 }) })),
      refunds: ledger.refunds(tenant).map((refund) => ({ account: refund.account, ...bank.refundView(refund) })),
      disputes: ledger.disputes(tenant),
    }
  })

  const answerClock = (context: { body: unknown }, tenant: string) => {
    const next = ledger.nextDueMs(tenant)
    context.body = { next: next === undefined ? null : new Date(next).toISOString() }
  }
  router.get('/v1/clocks/:tenant', async (context) => {
    const tenant = context.params.tenant ?? ''
    // Whoever asks is about to move on: what has happened by now is told at the time at which it happened.
    await sender.sendNew(tenant)
    answerClock(context, tenant)
  })
  router.put('/v1/clocks/:tenant', async (context) => {
    const { now } = clockBody.parse(context.request.body)
    const tenant = context.params.tenant ?? ''
    ledger.setTenantNow(tenant, Date.parse(now))
    await sender.sendNow(tenant)
    answerClock(context, tenant)
  })

  const app = new Koa()
  app.on('error', (error) => log.error({ err: error }, 'simulator'))
  app.use(traceRequests)
  app.use(async (context, next) => {
    try {
      await next()
    } catch (error) {
      if (!(error instanceof z.ZodError)) throw error
      context.status = 400
      context.body = { error: z.prettifyError(error) }
    }
  })
  app.use(async (context, next) => {
    // As the control plane says it: curl sends a form unless it is told.
    if ((context.request.length ?? 0) > 0 && !context.is('json')) {
      context.status = 415
      context.body = { error: 'the body must be JSON: send Content-Type: application/json' }
      return
    }
    await next()
  })
  app.use(bodyParser())
  app.use(router.routes())

  const server = createBoundedServer(app.callback())
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, options.host, resolve)
  })
  url = `http://${options.host}:${(server.address() as AddressInfo).port}`

  return {
    url,
    close: async () => {
      await sender.stop()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      ledger.close()
    },
  }
}
