/**
 * Moves a sandbox tenant through time: stops at every instant at which something is due, in order, does it at that
 * time, and ends at the target. A crash on the way leaves the clock where it got to; moving it again goes on.
 */
import { setImmediate } from 'node:timers/promises'
import { AppError } from '../../common/errors.ts'
import { checkTestTime, mustNotBeEnding, setTestClock } from '../catalog/tenants.ts'
import type { Tenant } from '../schemas/tenant.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { doWork } from './do-work.ts'

const BATCH = 100

type Due = { at: Date; work: (of: TenantScope) => Promise<void>; revision?: string }

/** The documents that are due by `until`, the earliest first. A batch, of which the caller takes what is due at one instant. */
const dueBy = async (of: TenantScope, until: Date): Promise<Due[]> => {
  const query = { by: 'dueAt', where: { clock: of.tenantId }, until, limit: BATCH } as const
  const event = await of.sandboxTime?.nextEvent(of.tenantId)
  const [payments, subscriptions, notices] = await Promise.all([
    of.storage.payments.due(query),
    of.storage.subscriptions.due(query),
    of.storage.subscriptions.due({ ...query, by: 'noticeAt' }),
  ])
  const told: Due[] = event && event <= until ? [{ at: event, work: async () => of.sandboxTime?.moveTo(of.tenantId, event) }] : []
  return [
    // At one instant: what the providers say, then what payments wait for, then what is told ahead, then what subscriptions do.
    ...told,
    ...payments.map(
      (document): Due => ({
        at: document.dueAt as Date,
        work: (now) => doWork(now, 'payments', document),
        revision: `${document._id} ${document.revision}`,
      }),
    ),
    ...notices.map(
      (document): Due => ({
        at: document.noticeAt as Date,
        work: (now) => doWork(now, 'subscriptions', document),
        revision: `notice of ${document._id} ${document.revision}`,
      }),
    ),
    ...subscriptions.map(
      (document): Due => ({
        at: document.dueAt as Date,
        work: (now) => doWork(now, 'subscriptions', document),
        revision: `${document._id} ${document.revision}`,
      }),
    ),
  ].sort((a, b) => a.at.getTime() - b.at.getTime())
}

/**
 * @param check of the tenant before anything is done, and again when its clock is moved for the first time.
 * @param signal whoever asked is gone: it stops where it got to.
 * @throws AppError `not_allowed_in_state`, `invalid_request` or `revision_conflict`, as `setTestClock`; what `check` throws.
 */
export const moveTestClock = async (of: TenantScope, target: Date, check: (tenant: Tenant) => void = () => {}, signal?: AbortSignal): Promise<Tenant> => {
  const { tenant, tenantId } = of
  let current = of
  check(tenant)
  // Only ever forward on the way; where the target itself may not be, is said before anything is done.
  if (tenant.mode !== 'sandbox' || !tenant.testNow || target < tenant.testNow) return setTestClock(of, target, true, check)
  checkTestTime(target)
  let stillToCheck: typeof check | undefined = check
  const done = new Set<string>()
  for (;;) {
    const batch = await dueBy(current, target)
    const [first] = batch
    if (!first) break
    if (first.at > (current.tenant.testNow as Date)) {
      const moved = await setTestClock(current, first.at, false, stillToCheck ?? mustNotBeEnding)
      current = of.as(moved)
      stillToCheck = undefined
      done.clear()
    }
    for (const { work, revision } of batch.filter(({ at }) => at.getTime() === first.at.getTime())) {
      // Its work leaves it exactly as it was: going on would never end.
      if (revision && done.has(revision)) throw new AppError('internal', `${revision} stays due`)
      if (revision) done.add(revision)
      // Other tenants' requests come in between.
      await setImmediate()
      signal?.throwIfAborted()
      await work(current)
    }
  }
  const arrived = await setTestClock(of.as(await of.storage.tenants.get(of.keys.tenant())), target, true, stillToCheck)
  await of.sandboxTime?.moveTo(tenantId, target)
  return arrived
}
