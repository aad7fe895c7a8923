/**
 * The PSP simulator (`psp-simulator/`) over HTTP. It stands in for every provider of a sandbox tenant, and is a
 * provider of its own for live ones. Webhooks are signed as https://www.standardwebhooks.com says.
 */
import { Webhook } from 'standardwebhooks'
import { AppError } from '../../../../common/errors.ts'
import type { Log } from '../../../../common/log.ts'
import type { Secret } from '../../../../common/secret.ts'
import { completeByInquiry } from '../complete-by-inquiry.ts'
import { orUnknown } from '../or-unknown.ts'
import type { ChargeOutcome, Psp, SandboxTime } from '../psp.ts'
import { transportFailure } from '../transport-errors.ts'
import { simulatedCharge, simulatedClock, simulatedRefund, toEvent, toOutcome, toRefundOutcome } from './mapping.ts'

export interface SimulatorPspOptions {
  /** The simulator's base URL. */
  url: string
  tenantId: string
  accountId: string
  /** The address that the simulator sends this account's webhooks to. */
  webhookUrl: string
  webhookSecret: Secret
  timeoutMs: number
  /** A sandbox tenant's own time, which the simulator's delays are counted from. */
  testNow: Date | undefined
}

const simulatorCodeOf = (error: unknown): string => transportFailure(error).pspCode

export const createSimulatorPsp = (options: SimulatorPspOptions): Psp => {
  const base = `${options.url}/v1/accounts/${encodeURIComponent(options.tenantId)}/${encodeURIComponent(options.accountId)}`
  const call = (path: string, body?: object) =>
    fetch(`${base}/${path}`, {
      ...(body ? { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } } : {}),
      signal: AbortSignal.timeout(options.timeoutMs),
    })

  /** Acts on a charge that has been made; a repeat changes nothing. */
  const tell = async (what: 'cancel' | 'capture' | 'release', reference: string): Promise<ChargeOutcome> => {
    // Not even told is not an answer about the charge.
    return orUnknown(simulatorCodeOf, async () => {
      const answer = await call(`charges/${encodeURIComponent(reference)}/${what}`, { now: options.testNow })
      if (!answer.ok) return { status: 'unknown', pspCode: `http_${answer.status}` }
      return toOutcome(simulatedCharge.parse(await answer.json()))
    })
  }

  const psp: Psp = {
    charge: async ({ amountMinor: amount, reference, currency, token, capture, offSession, authenticate }) => {
      const { webhookUrl, testNow: now } = options
      try {
        const answer = await call('charges', { reference, amount, currency, token, capture, offSession, authenticate, webhookUrl, now })
        if (answer.status === 401) return { status: 'declined', declineClass: 'config', pspCode: 'http_401', credentialsRefused: true }
        if (!answer.ok) return { status: 'unknown', pspCode: `http_${answer.status}` }
        return toOutcome(simulatedCharge.parse(await answer.json()))
      } catch (error) {
        return transportFailure(error)
      }
    },
    // Its ledger forgets nothing.
    idempotencyMs: Number.POSITIVE_INFINITY,
    inquire: async ({ reference }) => {
      // Not even asked is not an answer about the charge.
      return orUnknown(simulatorCodeOf, async () => {
        const answer = await call(`charges/${encodeURIComponent(reference)}`)
        if (answer.status === 404) return { status: 'not_found' }
        if (!answer.ok) return { status: 'unknown', pspCode: `http_${answer.status}` }
        return toOutcome(simulatedCharge.parse(await answer.json()))
      })
    },
    complete: (charge) => completeByInquiry(psp, charge),
    capture: (_, { reference }) => tell('capture', reference),
    release: (_, { reference }) => tell('release', reference),
    cancel: (_, { reference }) => tell('cancel', reference),
    refund: async ({ reference, charge, amountMinor }) => {
      return orUnknown(simulatorCodeOf, async () => {
        const answer = await call('refunds', { reference, chargeReference: charge.reference, amount: amountMinor, now: options.testNow })
        // Only 422 is its refusal of the refund; anything else is about the call, and says nothing of the money.
        if (!answer.ok && answer.status !== 422) return { status: 'unknown', pspCode: `http_${answer.status}` }
        const refund = simulatedRefund.safeParse(await answer.json())
        if (refund.success) return toRefundOutcome(refund.data)
        return { status: answer.ok ? 'unknown' : 'failed', pspCode: `http_${answer.status}` }
      })
    },
    inquireRefund: async ({ reference }) => {
      return orUnknown(simulatorCodeOf, async () => {
        const answer = await call(`refunds/${encodeURIComponent(reference)}`)
        if (answer.status === 404) return { status: 'not_found' }
        if (!answer.ok) return { status: 'unknown', pspCode: `http_${answer.status}` }
        return toRefundOutcome(simulatedRefund.parse(await answer.json()))
      })
    },
    webhooks: { byHand: 'The simulator needs no webhook: each charge tells it our URL.' },
    verifyWebhook: async ({ headers, rawBody }) => {
      try {
        const signed = Object.fromEntries(Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined))
        new Webhook(options.webhookSecret.reveal()).verify(rawBody, signed)
      } catch (error) {
        throw new AppError('signature_invalid', 'the webhook signature does not verify, or the event is older than 5 minutes', [], { cause: error })
      }
    },
    readEvents: ({ headers, rawBody }) => {
      try {
        return [toEvent(headers['webhook-id'] ?? '', JSON.parse(rawBody))]
      } catch (error) {
        throw new AppError('invalid_request', 'the event does not come from the simulator', [], { cause: error })
      }
    },
    lookUp: async () => undefined,
  }
  return psp
}

/** The simulator's clock for sandbox tenants. One that cannot be reached has nothing to tell. */
export const createSandboxTime = (options: { url(): string; timeoutMs: number; log: Log }): SandboxTime => {
  const clock = async (tenantId: string, body?: object): Promise<Date | undefined> => {
    try {
      const answer = await fetch(`${options.url()}/v1/clocks/${encodeURIComponent(tenantId)}`, {
        ...(body ? { method: 'PUT', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } } : {}),
        signal: AbortSignal.timeout(options.timeoutMs),
      })
      const { next } = simulatedClock.parse(await answer.json())
      return next ? new Date(next) : undefined
    } catch (error) {
      options.log.warn({ err: error, tenantId }, "the PSP simulator's time cannot be read")
      return undefined
    }
  }
  return {
    nextEvent: (tenantId) => clock(tenantId),
    moveTo: async (tenantId, now) => {
      await clock(tenantId, { now })
    },
  }
}
