/** What the outcome of a bill's payment does to its subscription. */
import { shareOf } from '../../../common/money.ts'
import { dropBills, replaceBill, withoutBill } from '../../billing/bills.ts'
import { graceFrom, nextRetryAt } from '../../billing/dunning.ts'
import { pieceOf } from '../../billing/periods.ts'
import { consequences } from '../../payments/machine/decline-classes.ts'
import { refundableMinor } from '../../payments/machine/refunds.ts'
import { openAttempt } from '../../payments/machine/state.ts'
import type { Payment } from '../../schemas/payment.ts'
import type { Bill, Subscription } from '../../schemas/subscription.ts'
import { dropped, end } from './end-subscription.ts'
import { changed, isFinal, type Moment } from './state.ts'

/** @returns undefined when nothing changes. */
export const afterPayment = (subscription: Subscription, bill: Bill, payment: Payment, moment: Moment): Subscription | undefined => {
  const { status } = bill
  switch (status) {
    case 'settled':
    case 'dropped':
      // Its payment is stored, or knows that nobody wants it: the bill has served.
      return changed(subscription, withoutBill(subscription, bill), moment)
    case 'open':
      if (payment.status === 'succeeded') return settled({ ...subscription, ...paidAt(payment) }, bill, moment)
      if (payment.status === 'canceled') return dropped(subscription, bill, moment)
      if (payment.status === 'failed' && bill.failedRound < payment.round) return failed(subscription, bill, payment, moment)
      if (bill.reason === 'period' && payment.status === 'processing' && isRunning(subscription) && openAttempt(payment)?.status === 'requires_action') {
        return overdue(subscription, bill, moment, 'the customer has to act before the payment can be made')
      }
      return undefined
    default:
      return status satisfies never
  }
}

/** Renewals stay with the account that took the last payment. */
const paidAt = (payment: Payment): Pick<Subscription, 'paidAt'> => {
  const account = payment.attempts.find(({ status }) => status === 'succeeded')?.account
  return account ? { paidAt: account } : {}
}

/** A renewal is being paid, and access does not hang on it yet. */
const isRunning = ({ status }: Subscription): boolean => status === 'active' || status === 'trialing'

/** Grace begins, and the retry schedule. */
export const overdue = (subscription: Subscription, bill: Bill, moment: Moment, why: string): Subscription => {
  const failedAt = bill.failedAt ?? moment.now
  const graceUntil = graceFrom(subscription.billing, moment.now)
  const retryAt = nextRetryAt(subscription.billing, failedAt, moment.now)
  const known = replaceBill(subscription, { ...bill, failedAt })
  return changed(subscription, { ...known, status: 'past_due', graceUntil, retryAt }, moment, {
    type: 'past_due',
    why: `${why}; access until ${graceUntil.toISOString()}, next try ${retryAt?.toISOString() ?? 'never'}`,
    paymentId: bill.paymentId,
    amountMinor: bill.amountMinor,
  })
}

/** The bill is paid, or there was nothing to pay: it takes effect. */
export const settled = (subscription: Subscription, bill: Bill, moment: Moment): Subscription => {
  // One that was never open has its payment still to be stored.
  const bills = bill.status === 'settled' ? {} : withoutBill(subscription, bill)
  const { ownBill, firstBill, refunds } = subscription.currentPeriod
  const facts = { paymentId: bill.paymentId, amountMinor: bill.amountMinor }
  if (bill.reason === 'change') {
    const terms = bill.terms ?? {}
    const samePeriod = bill.period.wholeStart.getTime() === subscription.currentPeriod.wholeStart.getTime() && !bill.anchor
    const currentPeriod = {
      ...bill.period,
      creditableMinor: bill.creditableMinor,
      ownBill: samePeriod ? ownBill : bill.seq,
      // What was credited from the period before is in this one.
      firstBill: samePeriod || bill.lines.some(({ kind, amountMinor }) => kind === 'unused' && amountMinor < 0) ? firstBill : bill.seq,
      refunds,
    }
    const change = { ...bills, ...terms, currentPeriod, scheduledChange: undefined, ...(bill.anchor ? { anchor: bill.anchor } : {}) }
    return changed(subscription, change, moment, { type: 'changed', why: `to ${bill.terms?.bundleId} × ${bill.terms?.quantity}, now`, ...facts })
  }
  // Paid when the period was over, and access was off all the while: the next begins now.
  const late = subscription.status === 'paused' || (subscription.status === 'incomplete' && !subscription.billMissed)
  const unserved = late && bill.period.end <= moment.now ? { suspendedAt: bill.period.start, resumedAt: moment.now } : undefined
  const restored = unserved ?? (subscription.status === 'suspended' ? { resumedAt: moment.now } : subscription.resumedAt ? {} : { suspendedAt: undefined })
  const paid: Partial<Subscription> = {
    ...bills,
    ...restored,
    status: 'active',
    currentPeriod: { ...bill.period, ownBill: bill.seq, firstBill: bill.seq, creditableMinor: bill.creditableMinor, refunds: [] },
    accessFrom: subscription.accessFrom ?? bill.period.start,
    payBy: undefined,
    graceUntil: undefined,
    retryAt: undefined,
    pausedAt: undefined,
    pauseReason: undefined,
    resumeAt: undefined,
  }
  const type =
    subscription.status === 'active' ? 'renewed' : subscription.status === 'past_due' || subscription.status === 'suspended' ? 'recovered' : 'activated'
  const how = bill.amountMinor === 0 ? 'credit covers' : 'the payment was made for'
  const why = `${how} the period from ${bill.period.start.toISOString()} to ${bill.period.end.toISOString()}`
  return changed(subscription, paid, moment, { type, why, ...facts })
}

/** A provider that was away is asked again this soon. */
const ASK_AGAIN_AFTER_MS = 3_600_000

const leavesAccess = (payment: Payment): boolean => {
  const tried = payment.attempts.filter(({ round }) => round === payment.round)
  return tried.length > 0 && tried.every(({ status, declineClass }) => status === 'not_sent' || (declineClass && consequences[declineClass].accessUnchanged))
}

const lastWord = (payment: Payment): string => {
  if (payment.failure) return payment.failure
  const last = payment.attempts.at(-1)
  if (!last) return 'no payment provider could take it'
  return last.declineClass ? `${last.account} declined: ${last.declineClass}${last.pspCode ? ` (${last.pspCode})` : ''}` : `${last.account}: ${last.status}`
}

const failed = (subscription: Subscription, bill: Bill, payment: Payment, moment: Moment): Subscription => {
  const facts = { paymentId: bill.paymentId, amountMinor: bill.amountMinor }
  const why = lastWord(payment)
  // Nothing has changed for the customer: the change, or the resumption, did not come about.
  if (bill.reason === 'change') return changed(dropped(subscription, bill, moment), {}, moment, { type: 'change_declined', why, ...facts })
  const { status } = subscription
  if (status === 'paused') return changed(dropped(subscription, bill, moment), {}, moment, { type: 'resume_declined', why, ...facts })

  // A retry that was asked for meanwhile is over with this round; another method is tried at once.
  const another = subscription.paymentMethodId && subscription.paymentMethodId !== payment.paymentMethodId
  const refused: Bill = { ...bill, failedRound: payment.round, round: another ? payment.round + 1 : payment.round }
  const noted = changed(subscription, replaceBill(subscription, refused), moment, { type: 'payment_failed', why, ...facts })
  if (isRunning(subscription)) {
    // Nobody has refused the customer: access is left alone, and the providers are asked again soon.
    if (leavesAccess(payment)) return changed(noted, { retryAt: new Date(moment.now.getTime() + ASK_AGAIN_AFTER_MS) }, moment)
    return overdue(noted, refused, moment, why)
  }
  if (status === 'past_due' || status === 'suspended') {
    const retryAt = nextRetryAt(subscription.billing, bill.failedAt ?? moment.now, moment.now)
    return retryAt ? changed(noted, { retryAt }, moment) : end(noted, 'unpaid', moment.now, moment)
  }
  // Incomplete: another payment method, or time, decides.
  return noted
}

interface Took {
  refundId: string
  creditableMinor: number
  creditMinor: number
}
const tookOf = ({ refundsTook }: Subscription['currentPeriod']): Took[] => [...(refundsTook ?? [])] as Took[]

/** The customer's bank has sent a refund back: what it took is there again. */
const afterBounce = (subscription: Subscription, payment: Payment, refundId: string, moment: Moment): Subscription => {
  const { currentPeriod } = subscription
  const took = tookOf(currentPeriod).find((one) => one.refundId === refundId)
  const { creditableMinor = 0, creditMinor = 0 } = took ?? {}
  return changed(
    subscription,
    {
      currentPeriod: {
        ...currentPeriod,
        creditableMinor: currentPeriod.creditableMinor + creditableMinor,
        refunds: currentPeriod.refunds.filter((id) => id !== refundId),
        refundsTook: tookOf(currentPeriod).filter((one) => one !== took) as typeof currentPeriod.refundsTook,
      },
      creditMinor: subscription.creditMinor + creditMinor,
      creditRefundedMinor: subscription.creditRefundedMinor - creditMinor,
    },
    moment,
    { type: 'refund_failed', why: 'the bank of the customer sent it back', paymentId: payment.id },
  )
}

/**
 * Refunds that somebody asked for: what is given back cannot be credited again; and a period that is given back in
 * full takes the access with it where the bundle says so. @returns undefined when nothing changes.
 */
export const afterRefund = (subscription: Subscription, payment: Payment, moment: Moment): Subscription | undefined => {
  const { currentPeriod } = subscription
  if (isFinal(subscription.status) || (payment.seq ?? -1) < currentPeriod.firstBill) return undefined
  const bounced = payment.refunds.find(({ id, status }) => status === 'failed' && currentPeriod.refunds.includes(id))
  if (bounced) return afterBounce(subscription, payment, bounced.id, moment)
  const fresh = payment.refunds.filter(({ id, reason, status }) => reason === 'requested' && status === 'succeeded' && !currentPeriod.refunds.includes(id))
  const [refund] = fresh
  if (!refund) return undefined
  const { amountMinor } = refund
  // A payment of a piece of the period is of so much of the whole one's price.
  const line = (payment.seq ?? -1) >= currentPeriod.ownBill ? payment.lines.find(({ kind }) => kind === 'plan') : undefined
  const [part, whole] = line ? pieceOf(subscription, line, currentPeriod) : [1, 1]
  const ofWhole = shareOf(amountMinor, whole, part)
  const known = {
    ...currentPeriod,
    creditableMinor: Math.max(0, currentPeriod.creditableMinor - ofWhole),
    refunds: [...currentPeriod.refunds, refund.id],
  }
  // What is more than the period is still worth has become credit before, and goes back with the refund.
  const beyond = ofWhole > currentPeriod.creditableMinor ? amountMinor - shareOf(currentPeriod.creditableMinor, part, whole) : 0
  // A change that is on its way was reckoned with money that is not there any more.
  const unchanged = { ...subscription, ...dropBills(subscription, ({ reason }) => reason === 'change') }
  const taken = Math.max(0, Math.min(unchanged.creditMinor, beyond))
  const credit = { creditMinor: unchanged.creditMinor - taken, creditRefundedMinor: subscription.creditRefundedMinor + taken }
  const took = { refundId: refund.id, creditableMinor: currentPeriod.creditableMinor - known.creditableMinor, creditMinor: taken }
  const noting = { ...known, refundsTook: [...tookOf(currentPeriod), took] as typeof currentPeriod.refundsTook }
  const noted = changed(unchanged, { currentPeriod: noting, ...credit }, moment, {
    type: 'refunded',
    why: 'a refund was asked for',
    paymentId: payment.id,
    amountMinor,
  })
  const inFull = payment.seq === currentPeriod.ownBill && known.creditableMinor === 0 && refundableMinor(payment) === 0
  return inFull && subscription.refundEndsAccess ? end(noted, 'refunded', moment.now, moment) : noted
}
