/**
 * A bank, or any provider that speaks the small signed protocol of `docs/local-psp-protocol.md`. An account's
 * credentials are `url`, where requests go, and `secret` (`whsec_…`), which they are signed with; its webhook secret
 * is what the bank signs its events with. Signatures are those of https://www.standardwebhooks.com, both ways.
 */
import { Webhook } from 'standardwebhooks'
import type { Clock } from '../../../../common/clock.ts'
import { AppError } from '../../../../common/errors.ts'
import { toSecret } from '../../../../common/secret.ts'
import { z } from '../../../../common/zod.ts'
import { createOutgoingTransport, isPublicUrl } from '../../../outgoing-http.ts'
import { askAfterCancel, askAfterRefund, askWhatBecame, givenUp, refusalIn } from '../ask-after-failure.ts'
import { completeByInquiry } from '../complete-by-inquiry.ts'
import type { PspProvider } from '../directory.ts'
import { orUnknown } from '../or-unknown.ts'
import type { ChargeName, ChargeOutcome, Psp } from '../psp.ts'
import { credentialsRefusedBy, transportFailure } from '../transport-errors.ts'
import { bankCharge, bankRefund, toEvent, toOutcome, toRefundOutcome } from './mapping.ts'

/** The part of a failed call that a tenant is told: enough to look for the fault at the bank, too little to find out what else is there. */
const failureOf = (error: unknown): { status: 'not_sent' | 'unknown'; pspCode: string } => {
  const { status, pspCode } = transportFailure(error)
  if (status === 'not_sent') return { status, pspCode: 'not_connected' }
  return { status, pspCode: ['timeout', 'answer_too_large'].includes(pspCode) ? pspCode : 'no_answer' }
}

const localCodeOf = (error: unknown): string => failureOf(error).pspCode

const SECRET = /^whsec_[A-Za-z0-9+/=]{32,}$/
const SECRET_RULE = 'must be whsec_ followed by at least 24 bytes in base64'

/** A tenant may not make the control plane call its own network: banks are on the internet, and behind TLS. */
const credentialsFor = (allowPrivate: boolean) =>
  z.strictObject({
    url: z
      .string('is required: the URL where the bank accepts requests')
      .refine((text) => URL.canParse(text) && ['http:', 'https:'].includes(new URL(text).protocol), 'must be a URL')
      .refine(
        (text) => allowPrivate || !URL.canParse(text) || isPublicUrl(new URL(text)),
        'must be an https URL of a public host; LOCAL_PSP_PRIVATE_URLS=true allows others',
      ),
    secret: z.string('is required: the secret that requests are signed with').regex(SECRET, SECRET_RULE).transform(toSecret),
  })

type Answer = { status: number; body: unknown }
type Failure = Extract<ChargeOutcome, { status: 'declined' | 'unknown' }>

export const localProvider = (deps: { clock: Clock; allowPrivate: boolean }): PspProvider<z.infer<ReturnType<typeof credentialsFor>>> => ({
  credentials: credentialsFor(deps.allowPrivate),
  webhookProblem: (_, secret) => (secret && SECRET.test(secret.reveal()) ? undefined : `webhookSecret ${SECRET_RULE}`),
  create: ({ credentials: { url, secret }, webhookSecret, returnUrl, timeoutMs }): Psp => {
    const { fetch } = createOutgoingTransport({ timeoutMs, onlyPublic: !deps.allowPrivate })
    const signer = new Webhook(secret.reveal())

    const call = async (action: string, id: string, fields: object): Promise<Answer> => {
      const body = JSON.stringify({ action, ...fields })
      const at = deps.clock.now()
      const answer = await fetch(url, {
        method: 'POST',
        body,
        headers: {
          'content-type': 'application/json',
          'webhook-id': id,
          'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
          'webhook-signature': signer.sign(id, at, body),
        },
      })
      return { status: answer.status, body: await answer.json().catch(() => undefined) }
    }

    const refusal = ({ status }: Answer): Failure => {
      const pspCode = `http_${status}`
      if (status === 429) return { status: 'declined', declineClass: 'technical', pspCode }
      if (status >= 400 && status < 500 && status !== 408 && status !== 409)
        return { status: 'declined', declineClass: 'config', pspCode, ...credentialsRefusedBy(status) }
      return { status: 'unknown', pspCode }
    }
    const toCharge = (answer: Answer, otherwise: (answer: Answer) => ChargeOutcome): ChargeOutcome => {
      if (answer.status !== 200) return otherwise(answer)
      const parsed = bankCharge.safeParse(answer.body)
      return parsed.success ? toOutcome(parsed.data) : { status: 'unknown', pspCode: 'malformed_answer' }
    }
    const unclear = ({ status }: Pick<Answer, 'status'>) => ({ status: 'unknown', pspCode: `http_${status}` }) as const
    const onCharge = async (
      action: string,
      id: string,
      { reference }: ChargeName,
      otherwise: (failure: Failure, httpStatus?: number) => Promise<ChargeOutcome>,
    ): Promise<ChargeOutcome> => {
      try {
        const answer = await call(action, id, { reference })
        const parsed = answer.status === 200 ? bankCharge.safeParse(answer.body) : undefined
        if (parsed?.success) return toOutcome(parsed.data)
        return otherwise(parsed ? { status: 'unknown', pspCode: 'malformed_answer' } : refusal(answer), answer.status)
      } catch (error) {
        return otherwise({ status: 'unknown', pspCode: failureOf(error).pspCode })
      }
    }

    const psp: Psp = {
      // The protocol asks for it.
      idempotencyMs: Number.POSITIVE_INFINITY,
      charge: async ({ reference, amountMinor, currency, token, description, capture, offSession, authenticate, returnUrl: back }) => {
        try {
          const order = { reference, amount: amountMinor, currency, token, description, capture, offSession, returnUrl: back ?? returnUrl }
          // Without the customer there is nobody to ask.
          const fields = authenticate && !offSession ? { ...order, authenticate } : order
          return toCharge(await call('charge', reference, fields), refusal)
        } catch (error) {
          return failureOf(error)
        }
      },
      inquire: async ({ reference }) => {
        return orUnknown(localCodeOf, async () => {
          const answer = await call('inquire', `${reference}-inquiry`, { reference })
          return answer.status === 404 ? { status: 'not_found' } : toCharge(answer, unclear)
        })
      },
      complete: (charge) => completeByInquiry(psp, charge),
      capture: (id, charge) =>
        onCharge('capture', id, charge, (failure, httpStatus) => askWhatBecame(psp, charge, failure.pspCode, refusalIn(failure, httpStatus))),
      release: (id, charge) => onCharge('release', id, charge, ({ pspCode }) => askWhatBecame(psp, charge, pspCode)),
      // Banks that were built before there was such an action do not know it; what became of the charge they do.
      cancel: async (id, charge) => givenUp(await onCharge('cancel', id, charge, ({ pspCode }) => askAfterCancel(psp, charge, pspCode))),
      refund: async (request) => {
        const { reference, charge, amountMinor } = request
        return orUnknown(localCodeOf, async () => {
          const answer = await call('refund', reference, { reference, charge: charge.reference, amount: amountMinor, currency: charge.currency })
          if (answer.status === 422) return askAfterRefund(psp, request, 'http_422')
          const parsed = bankRefund.safeParse(answer.body)
          return answer.status === 200 && parsed.success ? toRefundOutcome(parsed.data) : unclear(answer)
        })
      },
      inquireRefund: async ({ reference }) => {
        return orUnknown(localCodeOf, async () => {
          const answer = await call('inquire_refund', `${reference}-inquiry`, { reference })
          if (answer.status === 404) return { status: 'not_found' }
          const parsed = bankRefund.safeParse(answer.body)
          return answer.status === 200 && parsed.success ? toRefundOutcome(parsed.data) : unclear(answer)
        })
      },
      webhooks: {
        byHand:
          'The bank sets webhooks up itself: tell it our URL. Then PATCH this account with the whsec_… that the bank signs its events with as webhookSecret.',
      },
      verifyWebhook: async ({ headers, rawBody }) => {
        try {
          if (!webhookSecret) throw new Error('the account has no webhookSecret')
          const signed = Object.fromEntries(Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined))
          new Webhook(webhookSecret.reveal()).verify(rawBody, signed)
        } catch (error) {
          throw new AppError('signature_invalid', 'the webhook-signature does not verify, or is older than 5 minutes', [], { cause: error })
        }
      },
      readEvents: ({ rawBody }) => [toEvent(JSON.parse(rawBody))],
      lookUp: async () => undefined,
    }
    return psp
  },
})
