import { AppError } from '../../../common/errors.ts'
import type { Storefront } from '../../schemas/storefront.ts'
import { type RoutableAccount, type RoutingQuestion, routePayment } from './route-payment.ts'

/** Better refused now than stored and never payable. @throws AppError `no_eligible_psp`. */
export const checkPayable = ({ routing }: Storefront, accounts: readonly RoutableAccount[], question: RoutingQuestion): void => {
  const { route, behindOpenCircuit } = routePayment(routing, accounts, question)
  // A provider that is away comes back; one that cannot take it never can.
  if (route.candidates.length > 0 || behindOpenCircuit.length > 0) return
  const reasons = route.excluded.map(({ account, reason }) => `${account} ${reason}`).join('; ')
  throw new AppError('no_eligible_psp', `no payment provider of the storefront can take this payment: ${reasons || 'it has none'}`, [
    { field: 'paymentMethod', message: 'cannot be used at any payment provider of the storefront' },
  ])
}
