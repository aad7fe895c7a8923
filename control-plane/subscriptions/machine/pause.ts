/**
 * Two pauses. Of the service: access is off, nothing is charged, and the time that was left of the paid period is
 * there again on resumption. Of the collection: access stays on, and periods that begin meanwhile are not charged.
 */

import { defined } from '../../../common/defined.ts'
import { AppError, fieldError } from '../../../common/errors.ts'
import { fixedQuotaAnchor, withPause } from '../../billing/allowance-anchor.ts'
import { planBill, withBill } from '../../billing/bills.ts'
import { anchorFrom, periodFrom, shifted } from '../../billing/periods.ts'
import type { PausedSubscription, Subscription } from '../../schemas/subscription.ts'
import type { Moment } from '../../work-time.ts'
import { refuse, refuseWhilePaying } from './end-subscription.ts'
import { become, changed } from './state.ts'
import { takeEffect } from './take-effect.ts'

/** @throws AppError `not_allowed_in_state` or `invalid_request`. */
export const pauseService = (subscription: Subscription, resumeAt: Date | undefined, moment: Moment): Subscription => {
  if (subscription.status !== 'active') throw refuse(subscription, 'paused', 'only an active subscription can')
  refuseWhilePaying(subscription)
  if (resumeAt && resumeAt <= moment.now) throw fieldError('invalid_request', 'resumeAt', `must be after now, which is ${moment.now.toISOString()}`)
  const why = resumeAt ? `somebody asked for it, until ${resumeAt.toISOString()}` : 'somebody asked for it'
  const paused = become(subscription, defined({ status: 'paused' as const, pausedAt: moment.now, pauseReason: 'asked' as const, resumeAt }))
  return changed(paused, {}, moment, { type: 'paused', why })
}

/** @throws AppError `not_allowed_in_state`. */
export const pauseCollection = (subscription: Subscription, moment: Moment): Subscription => {
  const { status, collectionPausedAt } = subscription
  if (status !== 'active' && status !== 'trialing') throw refuse(subscription, 'left uncharged', 'only an active subscription or one in its trial can')
  if (collectionPausedAt) throw new AppError('not_allowed_in_state', 'collection is already paused')
  refuseWhilePaying(subscription)
  return changed(subscription, { collectionPausedAt: moment.now }, moment, { type: 'collection_paused', why: 'somebody asked for it; access stays on' })
}

/**
 * Ends whichever pause there is. A service pause moves the paid period by as long as it lasted; where nothing is left
 * of the period the next one begins now, once it is paid.
 * @param byCaller somebody asks for it now: the customer is taken to be there.
 * @throws AppError `not_allowed_in_state`.
 */
export const resume = (subscription: Subscription, moment: Moment, byCaller = false): Subscription => {
  if (subscription.status !== 'paused') {
    if (!subscription.collectionPausedAt) throw refuse(subscription, 'resumed', 'it is not paused')
    return changed(subscription, { collectionPausedAt: undefined }, moment, { type: 'collection_resumed', why: 'periods that begin from now on are charged' })
  }
  refuseWhilePaying(subscription)
  if (subscription.pausedAt < subscription.currentPeriod.end) return resumeRest(subscription, moment)
  return resumeWithPayment(subscription, moment, byCaller)
}

const resumeRest = (subscription: PausedSubscription, moment: Moment): Subscription => {
  const { timeZone, pausedAt } = subscription
  const currentPeriod: Subscription['currentPeriod'] = { ...shifted(subscription.currentPeriod, pausedAt, moment.now, timeZone), index: -1 }
  const restored = { currentPeriod, ...withPause(subscription, pausedAt, moment.now), anchor: anchorFrom(subscription, currentPeriod.end) }
  const why = `the time that was left of the period runs until ${currentPeriod.end.toISOString()}`
  return changed(become(subscription, { status: 'active' }), restored, moment, { type: 'resumed', why })
}

const resumeWithPayment = (subscription: PausedSubscription, moment: Moment, byCaller: boolean): Subscription => {
  const { pausedAt, pauseReason } = subscription
  const paused = become(subscription, { status: 'paused', pausedAt, pauseReason })
  const anchored = { ...paused, quotaAnchor: fixedQuotaAnchor(subscription), anchor: anchorFrom(subscription, moment.now) }
  const draft = { ...planBill(anchored, periodFrom(anchored, moment.now)), onSession: byCaller }
  const { subscription: billed, bill } = withBill(anchored, draft, moment.now)
  if (bill.status === 'open' && !subscription.paymentMethodId) throw refuse(subscription, 'resumed', 'it has no payment method; PATCH one')
  const asked = changed(billed, {}, moment, { type: 'resuming', why: 'it continues when its next period is paid', paymentId: bill.paymentId })
  return bill.status === 'settled' ? takeEffect(asked, bill, moment) : asked
}
