/**
 * A payment service provider that charges nobody: a real HTTP server, so that timeouts, refused connections and
 * webhooks are real. It keeps a ledger by idempotency key and does what a token's name says (`behaviour.ts`).
 *
 *   POST /v1/accounts/{tenant}/{account}/charges  {reference, amount, currency, token, webhookUrl?}
 *   GET  /v1/accounts/{tenant}/{account}/charges/{reference}
 *   POST /v1/accounts/{tenant}/{account}/refunds  {reference, chargeReference, amount}
 *   POST /v1/actions/{charge id}  {outcome: "approve" | "decline"}: what a customer does at 3-D Secure
 *   GET  /v1/ledger/{tenant}: every charge and refund
 *   GET, PUT /v1/clocks/{tenant}  {now}: the time of a sandbox tenant, which delays follow; answers {next}: the next event
 */
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { bodyParser } from '@koa/bodyparser'
import Router from '@koa/router'
import Koa from 'koa'
import { z } from 'zod'
import type { Clock } from '../common/clock.ts'
import type { Log } from '../common/log.ts'
import { type Behaviour, behaviourOf } from './behaviour.ts'
import { createLedger, type LedgerCharge, type OutgoingEvent } from './ledger.ts'
import { startWebhookSender } from './webhook-sender.ts'

/** How long after "pending" the outcome follows: by the system's clock, or so long by a test clock that is moved. */
const PENDING_FOR_MS = 500
const PENDING_FOR_TENANT_MS = 60_000
/** Nothing unprivileged listens there, so a connection to it is refused by the operating system. */
const CLOSED_PORT = 2

const chargeBody = z.object({
  reference: z.string().min(1),
  amount: z.int().min(1),
  currency: z.string().length(3),
  token: z.string().min(1),
  webhookUrl: z.url().optional(),
  /** The time of a sandbox tenant. */
  now: z.iso.datetime().optional(),
})
const clockBody = z.object({ now: z.iso.datetime() })
const refundBody = z.object({ reference: z.string().min(1), chargeReference: z.string().min(1), amount: z.int().min(1) })
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
  webhookSecret: string
  clock: Clock
  log: Log
}

/** Accounts are `<tenant>/<account>`, both URI-encoded. */
const tenantOf = (account: string): string => decodeURIComponent(account.split('/')[0] ?? '')

const statusOf: Record<Behaviour['kind'], string> = {
  succeed: 'succeeded',
  decline: 'declined',
  // The worst case for the caller: the money moved and nobody said so.
  timeout: 'succeeded',
  refused: 'refused',
  pending: 'pending',
  sca: 'requires_action',
}

export const startPspSimulator = async (options: PspSimulatorOptions): Promise<PspSimulator> => {
  const { clock, log } = options
  const ledger = createLedger(options.ledgerPath)
  const sender = startWebhookSender({ ledger, secret: options.webhookSecret, clock, log })
  let url = ''

  const view = (charge: LedgerCharge) => ({
    id: charge.id,
    reference: charge.reference,
    amount: charge.amount,
    currency: charge.currency,
    status: charge.status,
    ...(charge.declineClass ? { declineClass: charge.declineClass } : {}),
    ...(charge.status === 'requires_action' ? { actionUrl: `${url}/v1/actions/${charge.id}` } : {}),
  })

  /** Stores the outcome and queues its webhook; a charge has one final outcome only, so the event's id is derived. */
  const conclude = (charge: LedgerCharge, status: 'succeeded' | 'declined', when: Pick<OutgoingEvent, 'notBeforeMs' | 'dueAtMs'> | 'now') => {
    const final = { ...charge, status, declineClass: status === 'declined' ? 'action_required' : null }
    if (when === 'now') ledger.setStatus(charge, final.status, final.declineClass)
    if (!charge.webhookUrl) return
    ledger.queueEvent({
      id: `evt_${charge.id}`,
      url: charge.webhookUrl,
      body: JSON.stringify({ type: `charge.${status}`, data: view(final) }),
      tenant: tenantOf(charge.account),
      ...(when === 'now' ? { notBeforeMs: clock.nowMs(), dueAtMs: null } : when),
    })
  }

  /** A pending charge becomes final when its time has come, looked at from wherever it is asked about. */
  const settled = (charge: LedgerCharge): LedgerCharge => {
    if (charge.status !== 'pending') return charge
    const waiting = ledger.queuedEvents(tenantOf(charge.account)).some((event) => event.id === `evt_${charge.id}` && !sender.isDue(event))
    if (waiting) return charge
    ledger.setStatus(charge, 'succeeded', null)
    return { ...charge, status: 'succeeded' }
  }

  const router = new Router()
  router.post('/v1/accounts/:tenant/:account/charges', (context) => {
    const body = chargeBody.parse(context.request.body)
    const { tenant = '', account: name = '' } = context.params
    const account = `${encodeURIComponent(tenant)}/${encodeURIComponent(name)}`
    const known = ledger.find(account, body.reference)
    if (known && (known.amount !== body.amount || known.currency !== body.currency)) {
      context.status = 422
      context.body = { error: 'this reference was used for another charge' }
      return
    }
    const behaviour = behaviourOf(body.token, name)
    if (behaviour.kind === 'refused' && !known) {
      // As a load balancer that sends the caller to a node that is gone: the connection is really refused.
      context.redirect(`http://127.0.0.1:${CLOSED_PORT}/`)
      context.status = 307
      return
    }
    const charge = ledger.charge({
      account,
      reference: body.reference,
      id: `ch_${randomUUID()}`,
      amount: body.amount,
      currency: body.currency,
      status: statusOf[behaviour.kind],
      declineClass: behaviour.kind === 'decline' ? behaviour.declineClass : null,
      webhookUrl: body.webhookUrl ?? null,
    })
    if (!known && behaviour.kind === 'pending') {
      const fromMs = body.now === undefined ? undefined : Date.parse(body.now)
      if (behaviour.forMs !== undefined && fromMs !== undefined) conclude(charge, 'succeeded', { notBeforeMs: null, dueAtMs: fromMs + behaviour.forMs })
      else conclude(charge, 'succeeded', { notBeforeMs: clock.nowMs() + PENDING_FOR_MS, dueAtMs: fromMs === undefined ? null : fromMs + PENDING_FOR_TENANT_MS })
    }
    if (behaviour.kind === 'timeout') {
      // Charged, and never answered: the caller's own timeout ends the call.
      context.respond = false
      return
    }
    context.body = view(settled(charge))
  })
  router.get('/v1/accounts/:tenant/:account/charges/:reference', (context) => {
    const { tenant = '', account = '', reference = '' } = context.params
    const charge = ledger.find(`${encodeURIComponent(tenant)}/${encodeURIComponent(account)}`, reference)
    if (!charge) return
    context.body = view(settled(charge))
  })
  router.post('/v1/accounts/:tenant/:account/refunds', (context) => {
    const body = refundBody.parse(context.request.body)
    const { tenant = '', account = '' } = context.params
    const owner = `${encodeURIComponent(tenant)}/${encodeURIComponent(account)}`
    const charge = ledger.find(owner, body.chargeReference)
    const done = charge !== undefined && settled(charge).status === 'succeeded' && ledger.refund({ account: owner, ...body })
    context.status = done ? 200 : 422
    context.body = done ? { reference: body.reference, status: 'succeeded' } : { error: 'the charge has not that much left to refund' }
  })
  router.post('/v1/actions/:id', (context) => {
    const { outcome } = actionBody.parse(context.request.body)
    const charge = ledger.findById(context.params.id ?? '')
    if (!charge) return
    if (charge.status === 'requires_action') conclude(charge, outcome === 'approve' ? 'succeeded' : 'declined', 'now')
    context.body = view(ledger.findById(charge.id) ?? charge)
  })
  router.get('/v1/ledger/:tenant', (context) => {
    const tenant = context.params.tenant ?? ''
    context.body = { charges: ledger.charges(tenant).map((charge) => ({ account: charge.account, ...view(settled(charge)) })), refunds: ledger.refunds(tenant) }
  })

  const nextOf = (tenant: string): string | null => {
    const next = ledger.queuedEvents(tenant).find((event) => event.dueAtMs !== null && !sender.isDue(event))?.dueAtMs
    return next ? new Date(next).toISOString() : null
  }
  router.get('/v1/clocks/:tenant', (context) => {
    context.body = { next: nextOf(context.params.tenant ?? '') }
  })
  router.put('/v1/clocks/:tenant', async (context) => {
    const { now } = clockBody.parse(context.request.body)
    const tenant = context.params.tenant ?? ''
    ledger.setTenantNow(tenant, Date.parse(now))
    await sender.sendNow(tenant)
    context.body = { next: nextOf(tenant) }
  })

  const app = new Koa()
  app.on('error', (error) => log.error({ err: error }, 'simulator'))
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

  const server = createServer(app.callback())
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
