/**
 * Takes a payment as far as it can go now: attempt after attempt over the accounts and methods that are allowed,
 * captures, and refunds that are due. Each step is stored before the next is taken, so whoever calls this again goes
 * on where it stopped.
 */
import { isAppError } from '../../common/errors.ts'
import type { Attempt, Payment } from '../schemas/payment.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { noticeTroubles } from './account-troubles.ts'
import { nameOf, storeOutcome, tellOutcome, unknownOutcome } from './attempt-outcome.ts'
import { stoppedByErasure } from './erase-payment.ts'
import { giveUpAttempt } from './give-up-attempt.ts'
import { askForCapture, fail, recordOutcome, startAttempt } from './machine/attempts.ts'
import { methodsFor, nextAttempt, nextStep, type PaymentStep } from './machine/next-attempt.ts'
import { makeRefunds } from './make-refunds.ts'
import { methodsOf } from './methods-of.ts'
import { storeNext } from './new-payment.ts'
import { loadAccounts, openAccount } from './open-account.ts'
import { CustomerErasedError, loadParties, routeOf } from './parties.ts'
import { sendCharge } from './send-charge.ts'

/** One attempt per account and a few lost races; more steps than this on one payment is a fault. */
const MAX_STEPS = 200

/**
 * Takes every step of a payment that can be taken now: refunds, attempts, captures, releases.
 * @returns the payment at rest: final, waiting for an outcome, or waiting for a new payment method.
 * @throws AppError `not_found`, or `unavailable`: a sweeper goes on from whatever was stored.
 */
export const collectPayment = async (of: TenantScope, payment: Payment): Promise<Payment> => {
  const { payments } = of.storage
  let current = await makeRefunds(of, payment)
  for (let steps = 0; steps < MAX_STEPS; steps += 1) {
    const step = nextStep(current)
    if (step.kind === 'nothing') return current
    try {
      current = await take(of, current, step)
    } catch (error) {
      // Someone else took the step; look again at what there is to do.
      if (!isAppError(error, 'revision_conflict')) throw error
      current = await payments.get(current._id)
    }
  }
  throw new Error(`payment ${payment.id} does not come to rest`)
}

const take = (of: TenantScope, payment: Payment, step: Exclude<PaymentStep, { kind: 'nothing' }>): Promise<Payment> => {
  switch (step.kind) {
    case 'attempt':
      return makeAttempt(of, payment)
    case 'give_up':
      return giveUpAttempt(of, payment, step.attempt, { why: 'what it pays for was canceled', goOn: false })
    case 'capture':
    case 'release':
      return askPspTo(of, payment, step.kind, step.attempt)
    default:
      return step satisfies never
  }
}

const makeAttempt = async (of: TenantScope, payment: Payment): Promise<Payment> => {
  const parties = await loadParties(of, payment).catch((error: unknown) => {
    if (error instanceof CustomerErasedError) return error
    throw error
  })
  if (parties instanceof CustomerErasedError) return storeNext(of.storage, stoppedByErasure(payment, parties.as, of.repairAt()))
  const accounts = await loadAccounts(of, parties.storefront)
  const now = of.now()
  const methods = methodsFor(payment, methodsOf(payment, parties.customer), parties.storefront.billing.tryOtherMethods === true, now)
  const routed = methods.map((method) => ({ method, ...routeOf(payment, parties, accounts, method) }))
  const next = nextAttempt(payment, routed, parties.storefront.billing, now)
  if ('none' in next) return storeNext(of.storage, fail(payment, next.none, of.repairAt()))
  const account = accounts.find(({ id }) => id === next.account)
  const opened = account?.opened ?? (await openAccount(of, next.account))
  const wait = 'psp' in opened ? opened.timeoutMs : 0
  const starting = startAttempt(payment, next.account, next.method.id, next.route, now, of.attemptRepairAt(wait))
  if (next.circuitOpen) {
    const attempt = starting.attempts.at(-1) as Attempt
    const unsent = { status: 'not_sent', pspCode: 'circuit_open' } as const
    const stored = await storeNext(of.storage, recordOutcome(starting, attempt.id, unsent, now, of.repairAt()) ?? starting)
    tellOutcome(of, attempt.id, starting, stored)
    return stored
  }
  const started = await storeNext(of.storage, starting)
  const attempt = started.attempts.at(-1) as Attempt
  const outcome = (await sendCharge(opened, parties, started, attempt)) ?? ({ status: 'not_sent', pspCode: 'account_or_token_removed' } as const)
  noticeTroubles(of, account?.stored, opened, outcome)
  if (outcome.status === 'declined' && outcome.declineClass === 'config') {
    const { tenantId, id: paymentId } = payment
    of.log.error({ tenantId, paymentId, account: attempt.account, pspCode: outcome.pspCode }, 'a PSP account declines because of its configuration')
  }
  return storeOutcome(of, started, attempt.id, outcome)
}

/** Takes the money that an attempt has authorized, or lets it go. */
const askPspTo = async (of: TenantScope, payment: Payment, what: 'capture' | 'release', attempt: Attempt): Promise<Payment> => {
  const opened = await openAccount(of, attempt.account)
  // What is refused is asked about before the answer: up to three calls.
  const wait = 'psp' in opened ? 3 * opened.timeoutMs : 0
  const asked = await of.storage.payments.replace(askForCapture(payment, attempt.id, of.now(), of.attemptRepairAt(wait)))
  const outcome = 'psp' in opened ? await opened.psp[what](`${attempt.id}-${what}`, nameOf(payment, attempt)) : unknownOutcome('account_unusable')
  return storeOutcome(of, asked, attempt.id, outcome)
}
