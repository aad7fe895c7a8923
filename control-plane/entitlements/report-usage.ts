/** How much of a quota or capacity a customer has used, as its application reports it. */
import { decide } from '../../common/entitlements/decide.ts'
import type { CustomerKey } from '../../common/entitlements/model.ts'
import { quotaWindow } from '../../common/entitlements/quota-window.ts'
import { fieldError, isAppError } from '../../common/errors.ts'
import { keys } from '../keys.ts'
import type { UsageCounters } from '../schemas/entitlement-set.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { repairTime, type Services, tenantNow } from '../services.ts'
import type { Storage } from '../storage/storage.ts'
import { insertOrGet, update } from '../storage/update.ts'
import { publishEntitlements, toEntitlementSet } from './publish-entitlements.ts'

/** A repeat comes soon after its original; this many other reports of one customer do not come between. */
const REPORTS_REMEMBERED = 64

export interface UsageReport {
  /** The same for a repeat of the same request. */
  id: string
  entitlement: string
  /** Adds to what is used (below zero: gives back), or sets it. */
  change: { add: number } | { set: number }
}

export interface UsageAnswer {
  used: number
  limit: number | null
  remaining: number | null
  resetsAt: Date | undefined
  entitlementRevision: number
}

/** @throws AppError `unknown_reference` or `invalid_request`. */
export const reportUsage = async (services: Services, tenant: Tenant, customer: CustomerKey, report: UsageReport): Promise<UsageAnswer> => {
  const { storage } = services
  const id = keys.customer(customer.tenantId, customer.storefrontId, customer.customerId)
  const nowMs = tenantNow(services, tenant).getTime()
  const stored = await storage.entitlementSets.find(id)
  const unknown = () => fieldError('unknown_reference', 'customerId', `the storefront has no customer ${JSON.stringify(customer.customerId)}`)
  if (!stored) throw unknown()
  const set = toEntitlementSet(stored)
  const { kind } = decide(set, report.entitlement, 1, nowMs)
  const current = set.grants.findLast((grant) => grant.key === report.entitlement && grant.terms.kind === kind && !grant.inactive)
  const terms = current?.terms
  if (terms?.kind !== 'quota' && terms?.kind !== 'capacity') {
    throw fieldError('unknown_reference', 'entitlement', `the customer holds no quota or capacity ${JSON.stringify(report.entitlement)}`)
  }

  await insertOrGet(storage.usageCounters, { _id: id, ...customer, entries: [], recentReports: [], createdAt: services.clock.now() })
  const window = terms.kind === 'quota' ? quotaWindow(terms, nowMs) : undefined
  await update(storage.usageCounters, id, (counters) => counted(counters, report, window && new Date(window.endMs), nowMs, repairTime(services)))
  if (await forgetIfErased(services, id)) throw unknown()
  const { revision, published } = await publishEntitlements(services, tenant, customer)
  if (published) await clearMark(services, id)

  const now = decide(toEntitlementSet(await storage.entitlementSets.get(id)), report.entitlement, 1, nowMs)
  return {
    used: now.used ?? 0,
    limit: now.limit ?? null,
    remaining: now.remaining ?? null,
    resetsAt: now.resetsAtMs === undefined ? undefined : new Date(now.resetsAtMs),
    entitlementRevision: revision,
  }
}

const counted = (counters: UsageCounters, report: UsageReport, periodEnd: Date | undefined, nowMs: number, repairAt: Date): UsageCounters | undefined => {
  if (counters.recentReports.includes(report.id)) return undefined
  const entry = counters.entries.find(({ key }) => key === report.entitlement)
  const running = entry && (!entry.until || nowMs < entry.until.getTime()) ? entry : undefined
  const used = 'set' in report.change ? report.change.set : (running?.used ?? 0) + report.change.add
  if (used < 0) throw fieldError('invalid_request', 'amount', `would leave less than nothing used: ${running?.used ?? 0} is used now`)
  const until = periodEnd === undefined ? undefined : (running?.until ?? periodEnd)
  return {
    ...counters,
    entries: [...counters.entries.filter(({ key }) => key !== report.entitlement), { key: report.entitlement, used, ...(until ? { until } : {}) }],
    recentReports: [...counters.recentReports, report.id].slice(-REPORTS_REMEMBERED),
    repairAt,
  }
}

/** An erasure marks the customer before it takes the counters away, and they are stored before this looks for the mark: one sees the other. */
const forgetIfErased = async ({ storage }: Services, id: string): Promise<boolean> => {
  const owner = await storage.customers.find(id)
  if (owner && !owner.erasing) return false
  await removeUsage(storage, id)
  return true
}

/** Until nobody has written it meanwhile. */
export const removeUsage = async ({ usageCounters }: Pick<Storage, 'usageCounters'>, id: string): Promise<void> => {
  for (let counters = await usageCounters.find(id); counters; counters = await usageCounters.find(id)) {
    await usageCounters.remove(counters).catch((error: unknown) => {
      if (!isAppError(error, 'revision_conflict', 'not_found')) throw error
    })
  }
}

const clearMark = (services: Services, id: string) =>
  update(services.storage.usageCounters, id, (counters) => (counters.repairAt ? { ...counters, repairAt: undefined } : undefined))

/** Publishes what a crash left unpublished. */
export const announceUsage = async (services: Services, tenant: Tenant, counters: UsageCounters): Promise<void> => {
  if (await forgetIfErased(services, counters._id)) return
  const { tenantId, storefrontId, customerId } = counters
  const { published } = await publishEntitlements(services, tenant, { tenantId, storefrontId, customerId })
  if (published) await clearMark(services, counters._id)
}
