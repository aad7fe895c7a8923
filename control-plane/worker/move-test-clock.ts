/**
 * Moves a sandbox tenant through time: stops at every instant at which something is due, in order, does it at that
 * time, and ends at the target. A crash on the way leaves the clock where it got to; moving it again goes on.
 */
import { AppError } from '../../common/errors.ts'
import { setTestClock } from '../catalog/tenants.ts'
import { keys } from '../keys.ts'
import type { Tenant } from '../schemas/tenant.ts'
import type { Services } from '../services.ts'
import { doWork } from './work.ts'

const BATCH = 100

const due = async (services: Services, tenant: Tenant, until: Date) => {
  const query = { by: 'dueAt', where: { clock: tenant.tenantId }, until, limit: BATCH } as const
  const [payments, subscriptions] = await Promise.all([services.storage.payments.due(query), services.storage.subscriptions.due(query)])
  return [
    ...payments.map((document) => ({ collection: 'payments' as const, document, at: document.dueAt as Date })),
    ...subscriptions.map((document) => ({ collection: 'subscriptions' as const, document, at: document.dueAt as Date })),
  ].sort((a, b) => a.at.getTime() - b.at.getTime())
}

/** @throws AppError `not_allowed_in_state` or `invalid_request`, as `setTestClock`. */
export const moveTestClock = async (services: Services, tenant: Tenant, target: Date): Promise<Tenant> => {
  let current = tenant
  // Only ever forward on the way; where the target itself may not be, is said before anything is done.
  if (tenant.mode !== 'sandbox' || !tenant.testNow || target < tenant.testNow) return setTestClock(services, tenant, target)
  const done = new Map<string, number>()
  for (;;) {
    const [first, ...others] = await due(services, current, target)
    if (!first) break
    const at = first.at > (current.testNow as Date) ? first.at : (current.testNow as Date)
    if (at > (current.testNow as Date)) current = await setTestClock(services, current, at)
    for (const { collection, document } of [first, ...others.filter((other) => other.at.getTime() === first.at.getTime())]) {
      const seen = `${collection} ${document._id} ${document.revision}`
      // Its work leaves it exactly as it was: going on would never end.
      if (done.has(seen)) throw new AppError('internal', `${collection} ${document._id} stays due`)
      done.set(seen, 1)
      await doWork(services, collection, document as never)
    }
  }
  return setTestClock(services, await services.storage.tenants.get(keys.tenant(tenant.tenantId)), target)
}
