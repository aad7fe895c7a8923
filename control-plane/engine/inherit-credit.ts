/**
 * Credit follows its customer: what an ended subscription has left is taken over by the next one that the customer makes
 * in the storefront. It leaves the one document before it is in the other, with the name of where it goes; so it is never
 * in both, and whoever repeats the step finds it. What is recalled later (a refund of where it came from) is a number in
 * the document that it left, which the other one compares with what it has accounted for.
 */
import { defined } from '../../common/defined.ts'
import type { CustomerKey } from '../../common/entitlements/model.ts'
import { joined, type Lot } from '../billing/lots.ts'
import { CLAIM_COUNTS_FOR_MS } from '../customers/fresh-claims.ts'
import { subscriptionsOf } from '../entitlements/sources.ts'
import type { Subscription } from '../schemas/subscription.ts'
import { update } from '../storage/update.ts'
import { type Inheritance, inheritedFrom, reconciled } from '../subscriptions/machine/money-back.ts'
import { changed } from '../subscriptions/machine/state.ts'
import { isFinal } from '../subscriptions/machine/transitions.ts'
import type { TenantScope } from '../tenant-scope.ts'
import type { Moment } from '../work-time.ts'

type Moved = NonNullable<Subscription['creditMovedTo']>[number]

/** True if the subscription that the credit went to was never stored, and never will be. */
const isStranded = (subscriptions: readonly Subscription[], now: Date, { subscriptionId, at }: Moved): boolean =>
  now.getTime() - at.getTime() > CLAIM_COUNTS_FOR_MS && !subscriptions.some(({ id }) => id === subscriptionId)

const leftOf = ({ amountMinor, recalledMinor }: Moved): number => amountMinor - recalledMinor

const handedOver = (ended: Subscription, to: string, subscriptions: readonly Subscription[], systemNow: Date, moment: Moment): Subscription | undefined => {
  const moves = ended.creditMovedTo ?? []
  const stranded = moves.filter((move) => move.subscriptionId !== to && isStranded(subscriptions, systemNow, move))
  const amountMinor = stranded.reduce((sum, move) => sum + leftOf(move), ended.creditMinor)
  if (amountMinor === 0) return undefined
  const creditFrom = joined(ended.creditFrom, ...stranded.map((move) => move.creditFrom))
  const move = { subscriptionId: to, amountMinor, creditFrom, recalledMinor: 0, at: systemNow }
  const next = changed(
    ended,
    {
      creditMinor: 0,
      creditFrom: [],
      creditGivenMinor: (ended.creditGivenMinor ?? 0) - ended.creditMinor,
      creditMovedTo: [...moves.filter((one) => !stranded.includes(one)), move],
    },
    moment,
    { type: 'credit_moved', why: `to the customer's new subscription ${to}`, amountMinor },
  )
  // Nothing follows from it: what it grants is over.
  return defined({ ...next, repairAt: ended.repairAt })
}

/** The credit that a subscription has handed over to another, in all. */
const handedTo = ({ id, creditMovedTo }: Subscription, to: string): Inheritance | undefined => {
  const moves = (creditMovedTo ?? []).filter(({ subscriptionId }) => subscriptionId === to)
  if (moves.length === 0) return undefined
  const sum = (of: (move: Moved) => number): number => moves.reduce((total, move) => total + of(move), 0)
  return { from: id, amountMinor: sum(({ amountMinor }) => amountMinor), recalledMinor: sum(({ recalledMinor }) => recalledMinor) }
}

export type InheritedCredit = Pick<Subscription, 'creditMinor' | 'creditFrom' | 'creditGivenMinor' | 'inherited' | 'inheritanceUnchecked'>

/** The credit that a new subscription begins with. */
const asInherited = (inheritances: readonly Inheritance[]): InheritedCredit => {
  const lots = inheritances.map(({ from, amountMinor, recalledMinor }): Lot => ({ paymentId: inheritedFrom(from), amountMinor: amountMinor - recalledMinor }))
  const creditMinor = lots.reduce((sum, { amountMinor }) => sum + amountMinor, 0)
  return {
    creditMinor,
    creditGivenMinor: creditMinor,
    creditFrom: joined(lots),
    inherited: inheritances.map(({ from, ...rest }) => ({ subscriptionId: from, ...rest })),
    ...(inheritances.length > 0 ? { inheritanceUnchecked: true } : {}),
  }
}

export const nothingInherited = (): InheritedCredit => asInherited([])

/** @param to the subscription that is about to be stored; the same for a repeat of the same request, which is answered the same. */
export const inheritCredit = async (of: TenantScope, customer: CustomerKey, to: string): Promise<InheritedCredit> => {
  const subscriptions = await subscriptionsOf(of, customer)
  const inheritances: Inheritance[] = []
  for (const { _id, status, id } of subscriptions) {
    if (!isFinal(status) || id === to) continue
    const stored = await update(of.storage.subscriptions, _id, (latest) => handedOver(latest, to, subscriptions, of.clock.now(), of.moment()))
    const handed = handedTo(stored, to)
    if (handed) inheritances.push(handed)
  }
  return asInherited(inheritances)
}

/**
 * A subscription that has just been stored looks once more at what it took over: what was recalled before it was there
 * found nobody to tell. @returns it as it then is, not stored.
 */
export const checkInheritance = async (of: TenantScope, subscription: Subscription): Promise<Subscription> => {
  let current = subscription
  for (const other of await subscriptionsOf(of, subscription)) {
    const handed = other.id === subscription.id ? undefined : handedTo(other, subscription.id)
    if (handed) current = reconciled(current, handed, of.moment()) ?? current
  }
  const { inheritanceUnchecked: _, ...checked } = current
  return checked
}

/** Tells those that took credit over what has been recalled of it. @returns the ids of those for whom it was news. */
export const tellHeirs = async (of: TenantScope, subscription: Subscription): Promise<string[]> => {
  const { subscriptions } = of.storage
  const told: string[] = []
  for (const to of new Set((subscription.creditMovedTo ?? []).map(({ subscriptionId }) => subscriptionId))) {
    const id = of.keys.subscription(to)
    const handed = handedTo(subscription, to)
    // Not there yet: it looks for itself when it is.
    if (!handed || !(await subscriptions.find(id))) continue
    let isNews = false
    const heir = await update(subscriptions, id, (latest) => {
      const next = reconciled(latest, handed, of.moment())
      isNews = next !== undefined
      return next
    })
    if (isNews) told.push(to)
    told.push(...(await tellHeirs(of, heir)))
  }
  return told
}
