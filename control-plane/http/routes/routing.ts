import { storefrontNamed } from '../../catalog/storefronts.ts'
import { simulateRouting } from '../../payments/routing/simulate-routing.ts'
import { amountMinor, country, currency, id, paymentMethodType, z } from '../fields.ts'
import { route } from '../route.ts'
import { toWhyAnswer, whyAnswer } from './payment-answer.ts'

const body = z
  .strictObject({
    storefrontId: id,
    amount: amountMinor.min(1),
    currency: currency.optional().openapi({ description: "Default: the storefront's." }),
    country: country.optional().openapi({ description: "Default: the customer's." }),
    customerId: id
      .optional()
      .openapi({ description: "If it is given, one of the customer's payment methods is used, and only accounts that hold its token are tried." }),
    paymentMethod: id.optional().openapi({ description: "The id of one of the customer's methods. Default: the first." }),
    paymentMethodType: paymentMethodType
      .optional()
      .openapi({ description: 'Without a customer: the type of the method, which is taken to have a token at every account. Default card.' }),
    paymentId: id.optional().openapi({ description: 'Decides the slot of the split. Default: a random id, so the slot is random.' }),
    renewalAt: id.optional().openapi({ description: 'Treats the payment as a renewal of a subscription whose last payment was made at this account.' }),
  })
  .openapi('RoutingQuestion')

export const routingRoutes = [
  route({
    method: 'post',
    path: '/v1/routing/simulate',
    summary: 'Simulate the routing of a payment',
    description: 'The answer says which accounts Tollgate would try, in which order, and why. The call charges nothing and stores nothing.',
    access: 'catalog:read',
    storefront: 'body',
    ifMatch: { refused: 'the answer comes from no stored document' },
    body,
    refusals: ['unknown_reference'],
    status: 200,
    answer: whyAnswer.extend({
      paymentId: z.string(),
      accounts: z
        .array(z.object({ account: z.string(), position: z.int().nullable(), because: z.string() }))
        .openapi({ description: 'Every account that the storefront names: its position in the order (1 is the first; null: not tried), and why.' }),
      behindOpenCircuit: z.array(z.string()).openapi({ description: 'Accounts that would be tried if their circuit were closed.' }),
    }),
    handle: async ({ of, body, newId }) => {
      const storefront = await storefrontNamed(of, body.storefrontId)
      const { amount, ...rest } = body
      const question = { ...rest, amountMinor: amount, paymentId: body.paymentId ?? newId('pay') }
      const { route: found, behindOpenCircuit, accounts } = await simulateRouting(of, storefront, question)
      return { body: { paymentId: question.paymentId, ...toWhyAnswer(found), accounts, behindOpenCircuit } }
    },
  }),
]
