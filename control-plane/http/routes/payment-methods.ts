import { MAX_PAYMENT_METHODS } from '../../customers/customers.ts'
import { addMethod, changeMethod, removeMethod } from '../../customers/payment-methods.ts'
import { isExpired } from '../../payments/machine/next-attempt.ts'
import type { Customer, PaymentMethod } from '../../schemas/customer.ts'
import { ID, id, keysOf, paymentMethodType, token, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { route } from '../route.ts'

/** By account; `*` is a portable token, which every account can charge with. */
const account = z.union([id, z.literal('*')], 'must be the id of a PSP account, or * for a portable token')

const tokens = z
  .record(account, token)
  .refine((all) => Object.keys(all).length > 0, 'must have a token for at least one account')
  .refine((all) => Object.keys(all).length <= 50, 'must not have tokens for more than 50 accounts')
  .openapi({
    ...keysOf(new RegExp(`^\\*$|${ID.source}`, 'u')),
    minProperties: 1,
    maxProperties: 50,
    description: "The method's token at each PSP account; `*`: a portable token, which every account accepts. Answers never contain tokens.",
  })

const expiry = z.strictObject({ month: z.int().min(1).max(12), year: z.int().min(2000).max(2200) }).openapi({ description: 'As printed on the card.' })

export const paymentMethodFields = { type: paymentMethodType.default('card'), tokens, expiry: expiry.optional() }

export const toTokens = (byAccount: Record<string, string>): PaymentMethod['tokens'] =>
  Object.entries(byAccount).map(([name, token]) => ({ account: name, token }))

export const paymentMethodAnswer = z
  .object({
    id: z.string(),
    type: z.string(),
    default: z.boolean().openapi({ description: 'The first in order: charged unless another method is named.' }),
    expiry: z.object({ month: z.int(), year: z.int() }).nullable(),
    expired: z.boolean(),
    accounts: z.array(z.string()),
  })
  .openapi('PaymentMethod')

/** Tokens can be charged with: where there is one is said, what it is never. */
export const toPaymentMethodAnswers = (customer: Pick<Customer, 'paymentMethods'>, now: Date): z.output<typeof paymentMethodAnswer>[] =>
  customer.paymentMethods.map((method, n) => ({
    id: method.id,
    type: method.type,
    default: n === 0,
    expiry: method.expiry ? { month: method.expiry.month, year: method.expiry.year } : null,
    expired: isExpired(method, now),
    accounts: method.tokens.map((token) => token.account),
  }))

const position = z
  .int()
  .min(0)
  .max(MAX_PAYMENT_METHODS - 1)
  .openapi({ description: 'Its position in the order in which methods are tried; 0 makes it the default.' })

const params = z.object({ storefront: id, customer: id })
const oneParams = params.extend({ method: id })
const answer = z.object({ data: z.array(paymentMethodAnswer) }).openapi('PaymentMethods')
const path = '/v1/storefronts/{storefront}/customers/{customer}/payment-methods'

export const paymentMethodRoutes = [
  route({
    method: 'post',
    path,
    summary: 'Add a payment method to a customer',
    description: 'A method at position 0 becomes the default for later subscriptions and payments. Existing subscriptions keep their method.',
    access: 'customers:write',
    storefront: 'path',
    ifMatch: { document: 'the customer' },
    params,
    body: z.strictObject({ id: id.optional(), ...paymentMethodFields, position: position.optional() }).openapi('NewPaymentMethod'),
    refusals: ['already_exists'],
    status: 201,
    answer,
    handle: async ({ of, params, body, ifMatch, newId }) => {
      const { id: chosen, position: at, tokens: byAccount, ...fields } = body
      const method = { id: chosen ?? newId('pm'), ...fields, tokens: toTokens(byAccount) } as PaymentMethod
      return answerOf(await addMethod(of, params, mustMatch(ifMatch), method, at), of.now())
    },
  }),
  route({
    method: 'patch',
    path: `${path}/{method}`,
    summary: 'Change a payment method',
    description:
      'Changes its tokens, its expiry or its position. Tokens of accounts that you do not name stay. With another token or expiry, Tollgate retries payments that were declined for good with this method.',
    access: 'customers:write',
    storefront: 'path',
    ifMatch: { document: 'the customer' },
    params: oneParams,
    body: z.strictObject({ tokens: tokens.optional(), expiry: expiry.optional(), position: position.optional() }),
    status: 200,
    answer,
    handle: async ({ of, params, body, ifMatch }) => {
      const change = { expiry: body.expiry, position: body.position, tokens: body.tokens ? toTokens(body.tokens) : undefined }
      return answerOf(await changeMethod(of, params, mustMatch(ifMatch), change), of.now())
    },
  }),
  route({
    method: 'delete',
    path: `${path}/{method}`,
    summary: 'Remove a payment method',
    description: 'A method that a subscription is paid with cannot be removed: change the subscription first.',
    access: 'customers:write',
    storefront: 'path',
    ifMatch: { document: 'the customer' },
    params: oneParams,
    status: 200,
    answer,
    handle: async ({ of, params, ifMatch }) => answerOf(await removeMethod(of, params, mustMatch(ifMatch)), of.now()),
  }),
]

const answerOf = (customer: Customer, now: Date) => ({ body: { data: toPaymentMethodAnswers(customer, now) }, revision: customer.revision })
