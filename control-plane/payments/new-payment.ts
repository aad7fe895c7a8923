/** Payments as they begin: of a subscription's bill, or on their own. */

import { localDate } from '../../common/calendar.ts'
import { defined } from '../../common/defined.ts'
import { AppError, isAppError } from '../../common/errors.ts'
import type { Payment } from '../schemas/payment.ts'
import type { Bill, Subscription } from '../schemas/subscription.ts'
import type { OwnCollections } from '../storage/own-collections.ts'
import type { NewDocument } from '../storage/storage.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { clockOf } from '../work-time.ts'

const begun = { round: 1, attempts: [], refunds: [], effectsDue: false, abandoned: false, countsMoneyBack: true }

/** The description for the customer's statement. */
const describe = (subscription: Subscription, bill: Bill): string => {
  const from = localDate(bill.lines[0]?.start ?? bill.period.start, subscription.timeZone)
  return bill.reason === 'change' ? `change to ${bill.terms?.bundleId ?? subscription.bundleId} on ${from}` : `${subscription.bundleId} from ${from}`
}

/** Whoever repeats this makes the same one. A bill that leaves nothing to pay is paid. */
/**
 * A payment that is about to be made and is stored with its first attempt, by `storeNext`: that it is owed is in its
 * subscription already, which whoever comes after a crash begins from.
 */
export const notStoredYet = (payment: NewDocument<Payment>): Payment => ({ ...payment, revision: 0, updatedAt: payment.createdAt }) as Payment

/** @throws AppError `revision_conflict` when somebody else was first, with a new one, too. */
export const storeNext = async ({ payments }: Pick<OwnCollections, 'payments'>, payment: Payment): Promise<Payment> => {
  if (payment.revision > 0) return payments.replace(payment)
  const { revision: _, updatedAt: __, ...made } = payment
  try {
    return await payments.insert(made)
  } catch (error) {
    if (!isAppError(error, 'already_exists')) throw error
    throw new AppError('revision_conflict', 'someone else has made the payment; read it again', [], { cause: error })
  }
}

/** A bill's payment, as it is first stored: `succeeded` when there is nothing to charge, else `due`. */
export const paymentOfBill = (of: TenantScope, subscription: Subscription, bill: Bill): NewDocument<Payment> =>
  defined({
    ...begun,
    _id: of.keys.payment(bill.paymentId),
    tenantId: of.tenantId,
    createdAt: of.now(),
    id: bill.paymentId,
    storefrontId: subscription.storefrontId,
    customerId: subscription.customerId,
    subscriptionId: subscription.id,
    seq: bill.seq,
    period: { start: bill.period.start, end: bill.period.end },
    lines: bill.lines,
    creditMinor: bill.creditMinor,
    amountMinor: bill.amountMinor,
    currency: subscription.pricing.currency,
    description: describe(subscription, bill),
    paymentMethodId: subscription.paymentMethodId,
    stayWith: subscription.paidAt,
    onSession: bill.onSession ?? false,
    returnUrl: bill.returnUrl,
    actionHours: subscription.billing.actionHours,
    status: bill.amountMinor === 0 ? ('succeeded' as const) : ('due' as const),
    clock: subscription.clock,
    repairAt: bill.amountMinor === 0 ? undefined : of.repairAt(),
  })

export interface OneTimeInput {
  storefrontId: string
  customerId: string
  amountMinor: number
  currency: string
  description?: string | undefined
}

/** A one-time payment as it is first stored: `due`. @param id of the payment. */
export const oneTimePayment = (
  of: TenantScope,
  id: string,
  input: OneTimeInput,
  method: Pick<Payment, 'paymentMethodId' | 'ownMethod'>,
): NewDocument<Payment> =>
  defined({
    ...begun,
    _id: of.keys.payment(id),
    tenantId: of.tenantId,
    createdAt: of.now(),
    id,
    ...input,
    lines: [{ kind: 'one_time' as const, amountMinor: input.amountMinor }],
    creditMinor: 0,
    ...method,
    status: 'due' as const,
    clock: clockOf(of.tenant),
    repairAt: of.repairAt(),
  })
