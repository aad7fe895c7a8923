/**
 * Tenants. Creating one writes several documents; the tenant's own is first and carries the rest as `setup`, so that
 * a crash in between is finished by a sweeper.
 */
import { defined } from '../../common/defined.ts'
import { AppError, fieldError, isAppError } from '../../common/errors.ts'
import { hashSecret, hintOf, newSecret, prefixOf } from '../access/secrets.ts'
import { keys } from '../keys.ts'
import type { Services } from '../ports.ts'
import type { Storefront } from '../schemas/storefront.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { MAX_PAGE } from '../storage/storage.ts'
import { insertOrGet, update } from '../storage/update.ts'
import { type TenantScope, tenantScope } from '../tenant-scope.ts'
import { repairTime } from '../work-time.ts'
import { newStorefront, type StorefrontInput } from './storefronts.ts'

export interface TenantInput {
  id: string
  name: string
  mode: 'live' | 'sandbox'
  storefronts: StorefrontInput[]
}

/** @returns the tenant and its first admin key, which is nowhere else. @throws AppError `already_exists`. */
export const createTenant = async (services: Services, input: TenantInput, apiKeyId: string): Promise<{ tenant: Tenant; apiKey: string }> => {
  const secret = newSecret(prefixOf(input.mode))
  const now = services.clock.now()
  if ((await services.storage.tenants.find(keys.tenant(input.id)))?.ended)
    throw new AppError('already_exists', 'this id belonged to a tenant that has ended, and cannot be used again; choose another')
  const created = await services.storage.tenants.insert({
    _id: keys.tenant(input.id),
    tenantId: input.id,
    createdAt: now,
    name: input.name,
    mode: input.mode,
    // A sandbox starts at the time of its making, and stands there until it is moved.
    ...(input.mode === 'sandbox' ? { testNow: now } : {}),
    setup: { storefronts: input.storefronts, apiKey: { id: apiKeyId, secretHash: hashSecret(secret), hint: hintOf(secret) } },
    repairAt: repairTime(services),
  })
  return { tenant: await finishTenant(tenantScope(services, created)), apiKey: secret }
}

/** @throws AppError `not_found`, also for one that has ended, or `not_allowed_in_state` for one that is ending; what `check` throws. */
export const changeTenant = (of: TenantScope, check: (tenant: Tenant) => void, change: { name?: string | undefined }): Promise<Tenant> =>
  update(of.storage.tenants, of.keys.tenant(), (tenant) => {
    if (tenant.ended) throw new AppError('not_found', 'no such tenant')
    mustNotBeEnding(tenant)
    check(tenant)
    return { ...tenant, ...defined(change) }
  })

/** Does what is still marked in the tenant's document; harmless to repeat. */
export const finishTenant = async (of: TenantScope): Promise<Tenant> => {
  const { storage, tenant, tenantId } = of
  const { setup } = tenant
  if (setup) {
    for (const [n, storefront] of (setup.storefronts as StorefrontInput[]).entries()) {
      // A millisecond apart, so that lists keep the order in which they were given.
      await insertOrGet(storage.storefronts, newStorefront(tenantId, storefront, new Date(tenant.createdAt.getTime() + n)))
    }
    await insertOrGet(storage.apiKeys, {
      _id: of.keys.apiKey(setup.apiKey.id),
      tenantId,
      id: setup.apiKey.id,
      role: 'admin',
      secretHash: setup.apiKey.secretHash,
      ...(setup.apiKey.hint ? { hint: setup.apiKey.hint } : {}),
      createdAt: tenant.createdAt,
    })
  }
  const published = await publishClock(of)
  return update(storage.tenants, tenant._id, (latest) => {
    if (!latest.setup && !latest.repairAt) return undefined
    // Someone moved the clock meanwhile: that change's own publication takes its mark away.
    const done = published && latest.testNow?.getTime() === tenant.testNow?.getTime()
    return defined({ ...latest, setup: undefined, repairAt: done && !latest.ending ? undefined : latest.repairAt })
  })
}

const publishClock = async ({ feed, log, tenant }: TenantScope): Promise<boolean> => {
  if (!tenant.testNow) return true
  try {
    await feed.putClock({ tenantId: tenant.tenantId, revision: tenant.revision, nowMs: tenant.testNow.getTime() })
    return true
  } catch (error) {
    if (!isAppError(error, 'unavailable')) throw error
    log.warn({ err: error, tenantId: tenant.tenantId }, 'a test clock could not be published yet')
    return false
  }
}

/** Refuses to go on with work that takes long, and may have begun before the end. @throws AppError `not_allowed_in_state`. */
export const mustNotBeEnding = ({ ending }: Pick<Tenant, 'ending'>): void => {
  if (ending) throw new AppError('not_allowed_in_state', 'the tenant is being ended: nothing of it can be read or changed')
}

export const storefrontsOf = async ({ storage, tenantId }: TenantScope): Promise<Storefront[]> =>
  (await storage.storefronts.page({ where: { tenantId }, limit: MAX_PAGE })).data

/** Times are counted in milliseconds from there. */
const FIRST_TEST_TIME = new Date('1970-01-01T00:00:00Z')
/**
 * A start ten years on, two years of trial and two periods of the longest bundle (3,660 years) later it is not yet the
 * year 10000, from which on dates are written in another way and sort wrongly.
 */
const LAST_TEST_TIME = new Date('2200-12-31T23:59:59.999Z')

/** @throws AppError `invalid_request` on `now`. */
export const checkTestTime = (now: Date): void => {
  if (now >= FIRST_TEST_TIME && now <= LAST_TEST_TIME) return
  throw fieldError('invalid_request', 'now', `must be from ${FIRST_TEST_TIME.toISOString()} to ${LAST_TEST_TIME.toISOString()}`)
}

/**
 * Sets a sandbox tenant's clock and publishes it. Forward only, except before the first subscription, when it may be
 * set to any time.
 * @param publish false on the way to a later time: sidecars are told when that is reached, or by a sweeper.
 * @param check of the tenant as it is stored.
 * @throws AppError `not_allowed_in_state`, `invalid_request`, or `revision_conflict` when somebody else moves it; what
 *   `check` throws.
 */
export const setTestClock = async (of: TenantScope, now: Date, publish = true, check: (tenant: Tenant) => void = () => {}): Promise<Tenant> => {
  const { storage, tenant, tenantId } = of
  if (tenant.mode !== 'sandbox') throw new AppError('not_allowed_in_state', 'only a sandbox tenant has a test clock')
  checkTestTime(now)
  const isBackward = (latest: Tenant) => latest.testNow !== undefined && now < latest.testNow
  if (isBackward(tenant)) {
    const { data } = await storage.subscriptions.page({ where: { tenantId }, limit: 1 })
    if (data.length > 0)
      throw fieldError(
        'invalid_request',
        'now',
        `must not be before ${tenant.testNow?.toISOString()}: a test clock only moves forward once there are subscriptions`,
      )
  }
  // Checked again on what is stored: of two that move it, none moves it back.
  const moved = await update(storage.tenants, tenant._id, (latest) => {
    check(latest)
    if (tenant.testNow && latest.testNow && tenant.testNow <= now && now < latest.testNow) throw movedOn(latest)
    return { ...latest, testNow: now, repairAt: of.repairAt() }
  })
  return publish ? finishTenant(of.as(moved)) : moved
}

const movedOn = (latest: Tenant) =>
  new AppError('revision_conflict', `somebody else has moved the test clock to ${latest.testNow?.toISOString()}; read it again`)
