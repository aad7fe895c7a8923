/**
 * A one-time payment whose customer is there, and that has not been made: paid again, with the same method or another, or
 * given up. What a subscription owes is paid through the subscription (`subscriptions/change-subscription.ts`).
 */
import { defined } from '../../common/defined.ts'
import { AppError, fieldError } from '../../common/errors.ts'
import { methodNamed } from '../customers/customers.ts'
import type { Payment } from '../schemas/payment.ts'
import { update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { collectPayment } from './collect-payment.ts'
import { giveUpAttempt } from './give-up-attempt.ts'
import { abandon, reopen } from './machine/attempts.ts'
import { openAttempt, waitingAttempt } from './machine/state.ts'
import { methodsOf } from './methods-of.ts'

type Method = Pick<Payment, 'paymentMethodId' | 'ownMethod'> & { paymentMethodId: string }

/** A token that is good for one payment stays with the payment, and is gone with its failure: then it has to be given again. */
const loadMethod = async (of: TenantScope, payment: Payment, named: string | undefined): Promise<Method> => {
  const customer = await of.storage.customers.get(of.keys.customer(payment.storefrontId, payment.customerId))
  const known = methodsOf(payment, customer).find(({ id }) => id === (named ?? payment.paymentMethodId))
  if (known) return defined({ paymentMethodId: known.id, ownMethod: payment.ownMethod?.id === known.id ? payment.ownMethod : undefined })
  if (named === undefined) throw fieldError('invalid_request', 'paymentMethod', 'is required: the payment has no payment method that can be charged again')
  const storefront = await of.storage.storefronts.get(of.keys.storefront(payment.storefrontId))
  const { id, type, tokens } = methodNamed(of.tenant, storefront, customer, named)
  return { paymentMethodId: id, ownMethod: { id, type, tokens } }
}

const refusal = (payment: Payment): string | undefined => {
  if (payment.status === 'succeeded') return 'the payment has succeeded'
  if (payment.abandoned || payment.status === 'canceled') return 'the payment was given up; create a new one'
  return undefined
}

/** A repeat comes soon after its original; this many other commands do not come between. */
const COMMANDS_REMEMBERED = 16

/** @param stored as the caller has just read it. @param commandId the same for a repeat of the same request. @throws AppError `not_found`, `not_allowed_in_state` or `invalid_request`. */
export const payOneTimeNow = async (
  of: TenantScope,
  stored: Payment,
  commandId: string,
  { paymentMethod, returnUrl }: { paymentMethod?: string | undefined; returnUrl?: string | undefined },
): Promise<Payment> => {
  const { payments } = of.storage
  let payment = stored
  if (payment.recentCommands?.includes(commandId)) return collectPayment(of, payment)
  const refused = refusal(payment)
  if (refused !== undefined) throw new AppError('not_allowed_in_state', refused)
  const { paymentMethodId, ownMethod } = await loadMethod(of, payment, paymentMethod)
  const waiting = waitingAttempt(payment)
  if (!waiting && openAttempt(payment)) throw new AppError('not_allowed_in_state', 'an attempt of the payment is in progress; wait for its outcome')
  if (waiting && paymentMethodId !== waiting.paymentMethodId) {
    payment = await giveUpAttempt(of, payment, waiting, { why: 'another payment method was given', goOn: false })
  }
  const asked = { round: payment.round + 1, paymentMethodId, onSession: true, returnUrl }
  const reopened = (latest: Payment): Payment | undefined => {
    const recentCommands = [...(latest.recentCommands ?? []), commandId].slice(-COMMANDS_REMEMBERED)
    return reopen(defined({ ...latest, ownMethod, recentCommands }), asked, of.repairAt())
  }
  return collectPayment(of, await update(payments, payment._id, reopened, payment))
}

/** Nothing is charged for it any more; money that is on its way goes back when it arrives. @throws AppError `not_allowed_in_state`. */
export const cancelOneTime = async (of: TenantScope, payment: Payment): Promise<Payment> => {
  if (payment.status === 'succeeded') throw new AppError('not_allowed_in_state', 'the payment has succeeded; refund it instead')
  const abandoned = await update(of.storage.payments, payment._id, (latest) => abandon(latest, of.now(), of.repairAt()), payment)
  return collectPayment(of, abandoned)
}
