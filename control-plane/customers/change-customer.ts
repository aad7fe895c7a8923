import { defined } from '../../common/defined.ts'
import { keys } from '../keys.ts'
import type { Customer } from '../schemas/customer.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { type Services, tenantNow } from '../services.ts'
import type { CustomerInput } from './customers.ts'
import { editCustomer } from './edit-customer.ts'
import { afterChange } from './finish-customer.ts'

/** @throws AppError `not_found`, or `not_allowed_in_state` when a method that is in use is left out; what `check` throws. */
export const changeCustomer = async (
  services: Services,
  tenant: Tenant,
  storefrontId: string,
  id: string,
  check: (customer: Customer) => void,
  change: Partial<CustomerInput>,
): Promise<Customer> =>
  afterChange(
    services,
    tenant,
    await editCustomer(services, keys.customer(tenant.tenantId, storefrontId, id), tenantNow(services, tenant), (customer) => {
      check(customer)
      return defined({ ...customer, ...change })
    }),
  )
