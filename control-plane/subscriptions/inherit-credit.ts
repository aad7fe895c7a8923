/**
 * Credit follows its customer: what an ended subscription has left is taken over by the next one that the customer makes
 * in the storefront. It leaves the one document before it is in the other, with the name of where it goes; so it is never
 * in both, and whoever repeats the step finds it.
 */
import type { CustomerKey } from '../../common/entitlements/model.ts'
import { joined, type Lot } from '../billing/lots.ts'
import { CLAIM_COUNTS_FOR_MS } from '../customers/fresh-claims.ts'
import { subscriptionsOf } from '../entitlements/publish-entitlements.ts'
import type { Subscription } from '../schemas/subscription.ts'
import type { Tenant } from '../schemas/tenant.ts'
import type { Services } from '../services.ts'
import { update } from '../storage/update.ts'
import { momentOf } from './advance-subscription.ts'
import { changed, isFinal } from './machine/state.ts'

type Moved = NonNullable<Subscription['creditMovedTo']>[number]

export interface Inherited {
  creditMinor: number
  creditFrom: Lot[]
}

/** Where credit went that has never arrived, and never will. */
const isStranded = (subscriptions: readonly Subscription[], now: Date, { subscriptionId, at }: Moved): boolean =>
  now.getTime() - at.getTime() > CLAIM_COUNTS_FOR_MS && !subscriptions.some(({ id }) => id === subscriptionId)

const handedOver = (
  ended: Subscription,
  to: string,
  subscriptions: readonly Subscription[],
  systemNow: Date,
  moment: ReturnType<typeof momentOf>,
): Subscription | undefined => {
  const moves = ended.creditMovedTo ?? []
  const stranded = moves.filter((move) => move.subscriptionId !== to && isStranded(subscriptions, systemNow, move))
  const amountMinor = stranded.reduce((sum, move) => sum + move.amountMinor, ended.creditMinor)
  if (amountMinor === 0) return undefined
  const creditFrom = joined(ended.creditFrom, ...stranded.map((move) => move.creditFrom))
  const move = { subscriptionId: to, amountMinor, creditFrom, at: systemNow }
  const next = changed(
    ended,
    {
      creditMinor: 0,
      creditFrom: [] as unknown as Subscription['creditFrom'],
      creditGivenMinor: (ended.creditGivenMinor ?? 0) - ended.creditMinor,
      creditMovedTo: [...moves.filter((one) => !stranded.includes(one)), move] as Subscription['creditMovedTo'],
    },
    moment,
    { type: 'credit_moved', why: `to the customer's new subscription ${to}`, amountMinor },
  )
  // Nothing follows from it: what it grants is over.
  return { ...next, repairAt: ended.repairAt }
}

/** @param to the subscription that is about to be stored; the same for a repeat of the same request, which is answered the same. */
export const inheritCredit = async (services: Services, tenant: Tenant, customer: CustomerKey, to: string): Promise<Inherited> => {
  const subscriptions = await subscriptionsOf(services, customer)
  const inherited: Moved[] = []
  for (const { _id, status, id } of subscriptions) {
    if (!isFinal(status) || id === to) continue
    const stored = await update(services.storage.subscriptions, _id, (latest) =>
      handedOver(latest, to, subscriptions, services.clock.now(), momentOf(services, tenant)),
    )
    inherited.push(...(stored.creditMovedTo ?? []).filter(({ subscriptionId }) => subscriptionId === to))
  }
  return { creditMinor: inherited.reduce((sum, { amountMinor }) => sum + amountMinor, 0), creditFrom: joined(...inherited.map(({ creditFrom }) => creditFrom)) }
}
