/**
 * Moves every subscriber of a bundle to its newest version, in the background. Progress is in the bundle's own
 * document, a batch at a time, so that whoever takes over after a crash goes on from there.
 */
import { defined } from '../../common/defined.ts'
import { isAppError } from '../../common/errors.ts'
import { advanceSubscription } from '../engine/advance-subscription.ts'
import { checkSetFits } from '../entitlements/check-set-fits.ts'
import type { Bundle } from '../schemas/bundle.ts'
import type { Subscription } from '../schemas/subscription.ts'
import { update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { moveToVersion } from './machine/move-to-version.ts'
import { isFinal } from './machine/transitions.ts'
import { termsOf } from './terms.ts'

const BATCH = 100
/** A batch takes less; another control plane takes over after it. */
const LEASE_MS = 30_000

/**
 * Moves a subscription to its bundle's newest version. Harmless to repeat.
 * @returns whether it was moved; false also if its customer's set would be too large.
 * @throws AppError `not_found`.
 */
export const moveSubscription = async (of: TenantScope, subscriptionId: string, bundle: Bundle): Promise<boolean> => {
  const { subscriptions } = of.storage
  const id = of.keys.subscription(subscriptionId)
  const known = await subscriptions.get(id)
  const next = (latest: Subscription) => moveToVersion(latest, termsOf(bundle, latest.quantity), of.moment())
  // Whoever takes over begins with a batch that is mostly done.
  if (!known.repairAt && !next(known)) return false
  if (!(await canBeTold(of, known, bundle))) return false
  let moved = false
  const stored = await update(
    subscriptions,
    id,
    (latest) => {
      const changed = next(latest)
      moved = changed !== undefined
      return changed
    },
    known,
  )
  // Also when it was moved before, in case its publication was cut off.
  if (moved || stored.repairAt) await advanceSubscription(of, subscriptionId, { known: stored })
  return moved
}

/** A customer who would hold more than can be sent to sidecars stays on the version that they have. */
const canBeTold = async (of: TenantScope, subscription: Subscription, bundle: Bundle): Promise<boolean> => {
  const { tenantId, storefrontId, customerId } = subscription
  if (isFinal(subscription.status)) return true
  try {
    await checkSetFits(of, { tenantId, storefrontId, customerId }, [{ ...subscription, ...termsOf(bundle, subscription.quantity) }])
    return true
  } catch (error) {
    if (!isAppError(error, 'set_too_large')) throw error
    of.log.error({ err: error, tenantId: of.tenantId, subscriptionId: subscription.id }, 'a subscription is not moved to the newest version of its bundle')
    return false
  }
}

/**
 * Moves a bundle's subscriptions to its newest version, batch by batch, and stores its progress after each batch, so that another
 * control plane can go on.
 * @param claimedFrom the bundle as the caller read it.
 * @throws AppError `revision_conflict` when another control plane has claimed it since.
 */
export const rollOutBundle = async (of: TenantScope, claimedFrom: Bundle): Promise<void> => {
  const { bundles, subscriptions } = of.storage
  const { tenantId, storefrontId, id: bundleId } = claimedFrom
  const lease = () => new Date(of.clock.nowMs() + LEASE_MS)
  let bundle = await bundles.replace({ ...claimedFrom, repairAt: lease() })
  for (;;) {
    const { rollout } = bundle
    if (!rollout || rollout.finishedAt) break
    const { data, nextCursor } = await subscriptions.page({ where: { tenantId, storefrontId, bundleId }, limit: BATCH, cursor: rollout.cursor })
    let moved = 0
    for (const { id } of data) if (await moveSubscription(of, id, bundle)) moved += 1
    const progress = {
      ...rollout,
      seen: rollout.seen + data.length,
      moved: rollout.moved + moved,
      cursor: nextCursor,
      ...(nextCursor ? {} : { finishedAt: of.now() }),
    }
    bundle = await update(bundles, bundle._id, (latest) => {
      // A still newer version was made for all: that rollout began anew.
      if (latest.rollout?.version !== rollout.version) return undefined
      return { ...latest, rollout: defined(progress), repairAt: lease() }
    })
  }
  await update(bundles, bundle._id, (latest) =>
    latest.repairAt && (!latest.rollout || latest.rollout.finishedAt) ? defined({ ...latest, repairAt: undefined }) : undefined,
  )
}
