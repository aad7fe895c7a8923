/**
 * Moves a sandbox tenant through time: stops at every instant at which something is due, in order, does it at that
 * time, and ends at the target. A crash on the way leaves the clock where it got to; moving it again goes on.
 */
import { setImmediate } from 'node:timers/promises'
import { AppError } from '../../common/errors.ts'
import { checkTestTime, mustNotBeEnding, setTestClock } from '../catalog/tenants.ts'
import { keys } from '../keys.ts'
import type { Tenant } from '../schemas/tenant.ts'
import type { Services } from '../services.ts'
import { doWork } from './do-work.ts'

const BATCH = 100

type Due = { at: Date; work: (tenant: Tenant) => Promise<void>; revision?: string }

/** What is due by `until`, the earliest first. A batch, of which the caller takes what is due at one instant. */
const dueBy = async (services: Services, tenant: Tenant, until: Date): Promise<Due[]> => {
  const query = { by: 'dueAt', where: { clock: tenant.tenantId }, until, limit: BATCH } as const
  const event = await services.psps.sandbox?.nextEvent(tenant.tenantId)
  const [payments, subscriptions] = await Promise.all([services.storage.payments.due(query), services.storage.subscriptions.due(query)])
  const told: Due[] = event && event <= until ? [{ at: event, work: async () => services.psps.sandbox?.moveTo(tenant.tenantId, event) }] : []
  return [
    // At one instant: what the providers say, then what payments wait for, then what subscriptions do.
    ...told,
    ...payments.map(
      (document): Due => ({
        at: document.dueAt as Date,
        work: (now) => doWork(services, 'payments', document, now),
        revision: `${document._id} ${document.revision}`,
      }),
    ),
    ...subscriptions.map(
      (document): Due => ({
        at: document.dueAt as Date,
        work: (now) => doWork(services, 'subscriptions', document, now),
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
export const moveTestClock = async (
  services: Services,
  tenant: Tenant,
  target: Date,
  check: (tenant: Tenant) => void = () => {},
  signal?: AbortSignal,
): Promise<Tenant> => {
  let current = tenant
  check(tenant)
  // Only ever forward on the way; where the target itself may not be, is said before anything is done.
  if (tenant.mode !== 'sandbox' || !tenant.testNow || target < tenant.testNow) return setTestClock(services, tenant, target, true, check)
  checkTestTime(target)
  let stillToCheck: typeof check | undefined = check
  const done = new Set<string>()
  for (;;) {
    const batch = await dueBy(services, current, target)
    const [first] = batch
    if (!first) break
    if (first.at > (current.testNow as Date)) {
      current = await setTestClock(services, current, first.at, false, stillToCheck ?? mustNotBeEnding)
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
  const arrived = await setTestClock(services, await services.storage.tenants.get(keys.tenant(tenant.tenantId)), target, true, stillToCheck)
  await services.psps.sandbox?.moveTo(tenant.tenantId, target)
  return arrived
}
