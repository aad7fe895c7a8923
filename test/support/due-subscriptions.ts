/** Subscriptions of a live tenant that are due for renewal, as many as are wanted: copies of one that was really made. */

import { systemClock } from '../../common/clock.ts'
import { createLog } from '../../common/log.ts'
import { Secret } from '../../common/secret.ts'
import { keys } from '../../control-plane/keys.ts'
import type { Customer } from '../../control-plane/schemas/customer.ts'
import type { Subscription } from '../../control-plane/schemas/subscription.ts'
import { createMongoStorage } from '../../control-plane/storage/mongo/storage.ts'
import { createSqliteStorage } from '../../control-plane/storage/sqlite.ts'
import type { NewDocument, Storage } from '../../control-plane/storage/storage.ts'

export const openStorageOf = async (env: Record<string, string>): Promise<Storage> => {
  if (env.MONGODB_URL) return createMongoStorage({ url: new Secret(env.MONGODB_URL), clock: systemClock, log: createLog('silent') })
  return createSqliteStorage({ path: `${env.DATA_DIR}/tollgate.sqlite`, clock: systemClock })
}

const HOUR_MS = 3_600_000

const without = <D extends { revision: number; updatedAt: Date }>(document: D): NewDocument<D & { _id: string; createdAt: Date }> => {
  const { revision: _, updatedAt: __, ...rest } = document
  return rest as never
}

/**
 * @param template a daily subscription as the API made it, and its customer.
 * @param dueAt when the period of each ends. Later than now: stored, and not due.
 */
export const copyOf = (
  template: { subscription: Subscription; customer: Customer },
  id: string,
  dueAt: Date,
): { subscription: NewDocument<Subscription>; customer: NewDocument<Customer> } => {
  const { tenantId, storefrontId } = template.subscription
  const start = new Date(dueAt.getTime() - 24 * HOUR_MS)
  const period = { start, end: dueAt, wholeStart: start, wholeEnd: dueAt }
  const subscription = {
    ...without(template.subscription),
    _id: keys.subscription(tenantId, id),
    id,
    customerId: id,
    anchor: start,
    accessFrom: start,
    currentPeriod: { ...template.subscription.currentPeriod, ...period },
    dueAt,
  }
  return { subscription, customer: { ...without(template.customer), _id: keys.customer(tenantId, storefrontId, id), id } }
}
