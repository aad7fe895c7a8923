import { defined } from '../../common/defined.ts'
import type { Customer } from '../schemas/customer.ts'
import type { TenantScope } from '../tenant-scope.ts'
import type { CustomerInput } from './customers.ts'
import { editCustomer } from './edit-customer.ts'
import { afterChange } from './finish-customer.ts'

/** @throws AppError `not_found`, or `not_allowed_in_state` when a method that is in use is left out; what `check` throws. */
export const changeCustomer = async (
  of: TenantScope,
  storefrontId: string,
  id: string,
  check: (customer: Customer) => void,
  change: Partial<CustomerInput>,
): Promise<Customer> =>
  afterChange(
    of,
    await editCustomer(of, of.keys.customer(storefrontId, id), of.now(), (customer) => {
      check(customer)
      return defined({ ...customer, ...change })
    }),
  )
