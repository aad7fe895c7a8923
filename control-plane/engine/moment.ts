import type { Tenant } from '../schemas/tenant.ts'
import { repairTime, type Services, tenantNow } from '../services.ts'
import type { Moment } from '../subscriptions/machine/state.ts'

/** Now, as the machine of a tenant's subscriptions decides by it: business time, and the lease of what is begun. */
export const momentOf = (services: Services, tenant: Tenant): Moment => ({ now: tenantNow(services, tenant), repairAt: repairTime(services) })
