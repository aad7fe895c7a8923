import { type Decision, decideAll } from '../../../common/entitlements/decide.ts'
import { changeCustomer } from '../../customers/change-customer.ts'
import { createCustomer, getCustomer, MAX_PAYMENT_METHODS } from '../../customers/customers.ts'
import { eraseCustomer } from '../../customers/erase-customer.ts'
import { findCustomers } from '../../customers/find-customers.ts'
import { withUsageOfNow } from '../../entitlements/publish-entitlements.ts'
import type { Customer, PaymentMethod } from '../../schemas/customer.ts'
import { country, id, instant, iso, isoOrNull, metadata, name, pageAnswer, pageOf, pageQuery, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { ofList, ofNewDocument, route } from '../route.ts'
import { paymentMethodAnswer, paymentMethodFields, toPaymentMethodAnswers, toTokens } from './payment-methods.ts'

const paymentMethod = z.strictObject({ id, ...paymentMethodFields })

const email = z.email().max(254)
const paymentMethods = z
  .array(paymentMethod)
  .max(MAX_PAYMENT_METHODS)
  .refine((list) => new Set(list.map((one) => one.id)).size === list.length, 'must not have two methods with the same id')

const facts = {
  email: email.optional(),
  name: name.optional(),
  country: country.optional(),
  metadata: metadata.optional(),
  paymentMethods: paymentMethods.optional(),
}

const changes = z.strictObject({
  email: email.nullish().openapi({ description: 'null clears the field, here and in the other fields.' }),
  name: name.nullish(),
  country: country.nullish(),
  metadata: metadata.nullish(),
  paymentMethods: paymentMethods.optional(),
})

/** What is cleared is absent. */
const cleared = <T extends object>(fields: T) =>
  Object.fromEntries(Object.entries(fields).map(([field, value]) => [field, value ?? undefined])) as { [F in keyof T]: Exclude<T[F], null> }

const toMethods = (methods: z.output<typeof paymentMethod>[]) =>
  methods.map(({ tokens, ...method }) => ({ ...method, tokens: toTokens(tokens) }) as PaymentMethod)

export const customerAnswer = z
  .object({
    id: z.string(),
    storefrontId: z.string(),
    email: z.string().nullable(),
    name: z.string().nullable(),
    country: z.string().nullable(),
    metadata,
    paymentMethods: z.array(paymentMethodAnswer),
    createdAt: instant,
  })
  .openapi('Customer')

export const toCustomerAnswer = (customer: Customer, now: Date): z.output<typeof customerAnswer> => ({
  id: customer.id,
  storefrontId: customer.storefrontId,
  email: customer.email ?? null,
  name: customer.name ?? null,
  country: customer.country ?? null,
  metadata: customer.metadata ?? {},
  paymentMethods: toPaymentMethodAnswers(customer, now),
  createdAt: iso(customer.createdAt),
})

const answer = (customer: Customer, now: Date) => ({ body: toCustomerAnswer(customer, now), revision: customer.revision })
const params = z.object({ storefront: id, customer: id })

export const heldAnswer = z.object({
  key: z.string(),
  kind: z.enum(['flag', 'quota', 'capacity', 'value']).nullable(),
  allowed: z.boolean(),
  reason: z.string(),
  limit: z.int().nullable(),
  unlimited: z.boolean(),
  used: z.int().nullable(),
  remaining: z.int().nullable(),
  resetsAt: instant.nullable(),
  value: z.string().nullable(),
  validUntil: instant.nullable(),
  bundleId: z.string().nullable(),
  subscriptionId: z.string().nullable(),
})

const entitlementSetAnswer = z
  .object({ storefrontId: z.string(), customerId: z.string(), revision: z.int(), asOf: instant, entitlements: z.array(heldAnswer) })
  .openapi('EntitlementSet')

const isoOfMs = (ms: number | undefined): string | null => isoOrNull(ms === undefined ? undefined : new Date(ms))

export const toHeldAnswer = (key: string, decision: Decision): z.output<typeof heldAnswer> => ({
  key,
  kind: decision.kind ?? null,
  allowed: decision.allowed,
  reason: decision.reason,
  limit: decision.limit ?? null,
  unlimited: decision.unlimited,
  used: decision.used ?? null,
  remaining: decision.remaining ?? null,
  resetsAt: isoOfMs(decision.resetsAtMs),
  value: decision.value ?? null,
  validUntil: isoOfMs(decision.validUntilMs),
  bundleId: decision.bundleId ?? null,
  subscriptionId: decision.subscriptionId ?? null,
})

export const customerRoutes = [
  route({
    method: 'post',
    path: '/v1/customers',
    summary: 'Create a customer in a storefront',
    description: 'A customer id is unique within its storefront only.',
    access: 'customers:write',
    storefront: 'body',
    ifMatch: ofNewDocument,
    body: z.strictObject({ id: id.optional(), storefrontId: id, ...facts }).openapi('NewCustomer'),
    refusals: ['already_exists', 'unknown_reference'],
    status: 201,
    answer: customerAnswer,
    handle: async ({ of, body, newId }) => {
      const { id: chosen, storefrontId, paymentMethods, ...fields } = body
      const input = { ...fields, paymentMethods: toMethods(paymentMethods ?? []) }
      return answer(await createCustomer(of, storefrontId, chosen ?? newId('cus'), input), of.now())
    },
  }),
  route({
    method: 'get',
    path: '/v1/storefronts/{storefront}/customers',
    summary: 'List the customers of a storefront',
    description: 'With email or paymentId, the list holds only the customers that have this address or this payment.',
    access: 'customers:read',
    storefront: 'path',
    ifMatch: ofList,
    params: z.object({ storefront: id }),
    query: z
      .strictObject({
        email: email.optional().openapi({
          description: 'The whole address as it is stored; one in capitals also finds an address in small letters. Several customers may have the same.',
        }),
        paymentId: id.optional().openapi({ description: 'Whose payment it is: one customer, or none.' }),
        ...pageQuery,
      })
      .refine(({ email, paymentId }) => email === undefined || paymentId === undefined, { message: 'does not go with email', path: ['paymentId'] }),
    status: 200,
    answer: pageOf(customerAnswer),
    handle: async ({ of, params, query: { email, paymentId, ...pages } }) =>
      pageAnswer(await findCustomers(of, params.storefront, { email, paymentId }, pages), (customer) => toCustomerAnswer(customer, of.now())),
  }),
  route({
    method: 'get',
    path: '/v1/storefronts/{storefront}/customers/{customer}',
    summary: 'Read a customer',
    access: 'customers:read',
    storefront: 'path',
    ifMatch: 'answer',
    params,
    status: 200,
    answer: customerAnswer,
    handle: async ({ of, params }) => answer(await getCustomer(of, of.keys.customer(params.storefront, params.customer)), of.now()),
  }),
  route({
    method: 'patch',
    path: '/v1/storefronts/{storefront}/customers/{customer}',
    summary: 'Change a customer',
    description:
      'Fields that you leave out stay as they are, and null clears a field. A list of payment methods replaces the current list. The call is refused if the new list lacks a method that a subscription is paid with.',
    access: 'customers:write',
    storefront: 'path',
    ifMatch: { document: 'the customer' },
    params,
    body: changes,
    status: 200,
    answer: customerAnswer,
    handle: async ({ of, params, body, ifMatch }) => {
      const { paymentMethods, ...fields } = body
      const change = { ...cleared(fields), ...(paymentMethods ? { paymentMethods: toMethods(paymentMethods) } : {}) }
      return answer(await changeCustomer(of, params.storefront, params.customer, mustMatch(ifMatch), change), of.now())
    },
  }),
  route({
    method: 'delete',
    path: '/v1/storefronts/{storefront}/customers/{customer}',
    summary: 'Erase a customer',
    description:
      'Personal data is removed; payments and ended subscriptions are kept under a pseudonym. The call is refused while a subscription has not ended, a payment or refund is in progress, or credit is left; cancel=now ends subscriptions at once. If the answer says that the erasure is not finished, it continues by itself. A repeat is harmless.',
    access: 'customers:erase',
    storefront: 'path',
    ifMatch: { document: 'the customer' },
    params,
    query: z.strictObject({
      cancel: z
        .literal('now')
        .optional()
        .openapi({ description: 'Ends subscriptions at once and gives up payments in progress. Without it, either is a reason to refuse.' }),
    }),
    status: 200,
    answer: z
      .object({
        keptAs: z.string().openapi({ description: 'The customerId of the payments and subscriptions that are kept.' }),
        finished: z
          .boolean()
          .openapi({ description: 'false: something could not be reached, and the erasure continues by itself. Until it is done, the id cannot be used.' }),
      })
      .openapi('ErasedCustomer'),
    handle: async ({ of, params, query, ifMatch }) => ({
      body: await eraseCustomer(of, params, mustMatch(ifMatch), query.cancel === 'now'),
    }),
  }),
  route({
    method: 'get',
    path: '/v1/storefronts/{storefront}/customers/{customer}/entitlements',
    summary: 'Read what a customer may use now',
    description: 'The answer follows the same rules as a sidecar.',
    access: 'entitlements:read',
    storefront: 'path',
    ifMatch: 'answer',
    params,
    status: 200,
    answer: entitlementSetAnswer,
    handle: async ({ of, params }) => {
      const id = of.keys.customer(params.storefront, params.customer)
      await getCustomer(of, id)
      const set = await withUsageOfNow(of, await of.storage.entitlementSets.get(id))
      const now = of.now()
      const entitlements = decideAll(set, now.getTime()).map(({ key, decision }) => toHeldAnswer(key, decision))
      const body = { storefrontId: params.storefront, customerId: params.customer, revision: set.revision, asOf: iso(now), entitlements }
      return { body, revision: set.revision }
    },
  }),
]
