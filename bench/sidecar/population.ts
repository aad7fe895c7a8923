/** Customers as the benchmark has them: so many, ten entitlements each, of all four kinds. */
import type { EntitlementSet, Grant } from '../../common/entitlements/model.ts'

export const TENANT = 'acme'
export const STOREFRONT = 'us-store'
export const keys = ['analytics_dashboard', 'sso', 'audit_log', 'priority_support', 'exports', 'beta', 'api_limit', 'seats', 'projects', 'support_hours']

export const customerId = (n: number): string => `customer-${String(n).padStart(7, '0')}@example.com`

const anchorMs = Date.UTC(2026, 0, 15)

export const setOf = (n: number): EntitlementSet => {
  const common = {
    subscriptionId: `sub_01J${String(n).padStart(23, '0')}`,
    bundleId: 'pro-plan',
    fromMs: anchorMs,
    untilMs: Date.UTC(2036, 0, 15),
    inactive: false,
  }
  const grants = keys.map((key, k): Grant => {
    if (k < 6) return { ...common, key, terms: { kind: 'flag', enabled: true } }
    if (k === 6) return { ...common, key, terms: { kind: 'quota', limit: 10_000, per: 'month', anchorMs, timeZone: 'America/New_York' } }
    if (k < 9) return { ...common, key, terms: { kind: 'capacity', limit: 25 } }
    return { ...common, key, terms: { kind: 'value', value: '24/7' } }
  })
  return { tenantId: TENANT, storefrontId: STOREFRONT, customerId: customerId(n), revision: 3, sandbox: false, grants, usage: [] }
}
