import { billingOf, changeStorefront, createStorefront, defaultBilling, routingOf, type StorefrontInput } from '../../catalog/storefronts.ts'
import { disputeEffects, prorations, type Storefront, trialRules } from '../../schemas/storefront.ts'
import { amountMinor, country, currency, id, name, pageAnswer, pageOf, pageQuery, paymentMethodType, timeZone, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { type Given, ofList, ofNewDocument, route } from '../route.ts'

/** More accounts or rules than any storefront has; bounds routing, which looks at them all. */
const MAX_ROUTING = 50
/** Two years: nobody is owed access longer than that unpaid. */
const MAX_GRACE_HOURS = 17_520
/** A year: longer than most periods. */
const MAX_NOTICE_DAYS = 366
/** More retries than card networks allow. */
const MAX_RETRIES = 20

const retryHours = z
  .array(z.int().min(1).max(MAX_GRACE_HOURS))
  .min(1)
  .max(MAX_RETRIES)
  .refine((hours) => hours.every((hour, n) => n === 0 || hour > (hours[n - 1] ?? 0)), 'must increase from retry to retry')

/** `catalog/storefronts.ts` has the defaults; what a PATCH leaves out stays as it is. */
const billingFields = {
  graceHours: z.int().min(0).max(MAX_GRACE_HOURS).openapi({ description: 'How long an overdue subscription keeps its access. Default 72.' }),
  retryHours: retryHours.openapi({
    description:
      'When a failed renewal is retried, in hours after its first failure; after the last retry the subscription is canceled. Default [24, 72, 168].',
  }),
  firstPaymentHours: z.int().min(1).max(MAX_GRACE_HOURS).openapi({ description: 'How long a first payment may take. Default 23.' }),
  proration: z.enum(prorations).openapi({ description: 'Whether the day or the second of a change belongs to the new plan. Default day.' }),
  actionHours: z
    .int()
    .min(1)
    .max(MAX_GRACE_HOURS)
    .openapi({ description: 'How long an attempt waits for the customer to act (3-D Secure) before others may be made. Default 23.' }),
  maxAttemptsPerDay: z
    .int()
    .min(1)
    .max(1_000)
    .openapi({ description: 'Attempts of one payment with one method in any 24 hours, over all providers and outcomes. Default 10.' }),
  maxAttempts: z
    .int()
    .min(1)
    .max(1_000)
    .openapi({ description: 'Attempts of one payment with one method in maxAttemptsDays, over all providers and outcomes. Default 15.' }),
  maxAttemptsDays: z.int().min(1).max(3_650).openapi({ description: 'Default 30.' }),
  tryOtherMethods: z
    .boolean()
    .openapi({ description: "Whether a renewal that is refused is tried with the customer's other payment methods, in their order. Default false." }),
  onDispute: z.enum(disputeEffects).openapi({ description: 'What a dispute of a payment does to the subscription when it opens. Default nothing.' }),
  onDisputeLost: z.enum(disputeEffects).openapi({ description: 'The same when the dispute is lost. Default cancel.' }),
  trialOncePer: z.enum(trialRules).openapi({
    description:
      'A customer gets one trial of each bundle, or one trial in all (customer), or one with every subscription (none). A change counts for new subscriptions at once. Default bundle.',
  }),
  trialNoticeDays: z
    .int()
    .min(0)
    .max(MAX_NOTICE_DAYS)
    .openapi({ description: "How long before a trial's end subscription.trial_ending is told. 0: it is not. Default 3." }),
  renewalNoticeDays: z.int().min(0).max(MAX_NOTICE_DAYS).openapi({
    description: 'How long before a charge of a period of a month or longer subscription.renewal_upcoming is told. 0: it is not. Default 7.',
  }),
}
const billing = z.strictObject(billingFields)
const accounts = z
  .array(id)
  .max(MAX_ROUTING)
  .refine((list) => new Set(list).size === list.length, 'must not name an account twice')

const rule = z.strictObject({
  name,
  when: z.strictObject({
    paymentMethodTypes: z.array(paymentMethodType).min(1).max(MAX_ROUTING).optional(),
    countries: z.array(country).min(1).max(250).optional(),
    currencies: z.array(currency).min(1).max(200).optional(),
    minAmount: amountMinor.min(0).optional(),
    maxAmount: amountMinor.min(0).optional(),
  }),
  use: accounts.min(1),
})

const routing = z
  .strictObject({
    split: z
      .array(z.strictObject({ account: id, weight: z.int().min(1).max(10_000) }))
      .max(MAX_ROUTING)
      .refine((list) => new Set(list.map(({ account }) => account)).size === list.length, 'must not name an account twice')
      .default([]),
    fallback: accounts.default([]),
    rules: z.array(rule).max(MAX_ROUTING).default([]),
  })
  .openapi('Routing')

const editable = {
  name: name.optional(),
  region: z.string().min(1).max(50).optional(),
  timeZone: timeZone.optional(),
  paymentProviders: accounts.optional().openapi({ description: 'The first is primary; the others are fallbacks, in order. Short form of routing.' }),
  routing: routing.optional(),
  billing: billing.partial().optional(),
}

const oneRouting = { message: 'send either paymentProviders or routing', path: ['routing'] }
const hasOneRouting = (body: { paymentProviders?: unknown; routing?: unknown }) => body.paymentProviders === undefined || body.routing === undefined

export const storefrontBody = z
  .strictObject({ id, ...editable, currency })
  .refine(hasOneRouting, oneRouting)
  .openapi('NewStorefront')

const patchBody = z.strictObject(editable).refine(hasOneRouting, oneRouting)

export const storefrontInput = (body: Given<z.output<typeof storefrontBody>>): StorefrontInput => ({
  id: body.id,
  name: body.name ?? body.id,
  region: body.region,
  currency: body.currency,
  timeZone: body.timeZone ?? 'UTC',
  routing: body.routing ?? routingOf(body.paymentProviders ?? []),
  billing: { ...defaultBilling, ...body.billing },
})

export const storefrontAnswer = z
  .object({
    id: z.string(),
    name: z.string(),
    region: z.string().nullable(),
    currency: z.string(),
    timeZone: z.string(),
    paymentProviders: z.array(z.string()).openapi({ description: 'Every account that routing names, primary first.' }),
    routing,
    billing,
  })
  .openapi('Storefront')

export const toStorefrontAnswer = (storefront: Storefront): z.output<typeof storefrontAnswer> => ({
  id: storefront.id,
  name: storefront.name,
  region: storefront.region ?? null,
  currency: storefront.currency,
  timeZone: storefront.timeZone,
  paymentProviders: [
    ...new Set([
      ...storefront.routing.split.map(({ account }) => account),
      ...storefront.routing.fallback,
      ...storefront.routing.rules.flatMap(({ use }) => use),
    ]),
  ],
  routing: {
    split: storefront.routing.split,
    fallback: storefront.routing.fallback,
    rules: storefront.routing.rules.map((one) => ({ name: one.name, when: one.when, use: one.use })),
  },
  billing: billingOf(storefront),
})

const answer = (storefront: Storefront) => ({ body: toStorefrontAnswer(storefront), revision: storefront.revision })
const params = z.object({ storefront: id })

export const storefrontRoutes = [
  route({
    method: 'post',
    path: '/v1/storefronts',
    summary: 'Create a storefront',
    access: 'catalog:write',
    storefront: 'all',
    ifMatch: ofNewDocument,
    body: storefrontBody,
    refusals: ['already_exists'],
    status: 201,
    answer: storefrontAnswer,
    handle: async ({ of, body }) => answer(await createStorefront(of, storefrontInput(body))),
  }),
  route({
    method: 'get',
    path: '/v1/storefronts',
    summary: 'List storefronts',
    access: 'catalog:read',
    storefront: 'within',
    ifMatch: ofList,
    query: z.strictObject(pageQuery),
    status: 200,
    answer: pageOf(storefrontAnswer),
    handle: async ({ of, within, query }) => {
      const { tenantId } = of
      if (within) {
        const own = await Promise.all(within.map((id) => of.storage.storefronts.find(of.keys.storefront(id))))
        return pageAnswer({ data: own.filter((one) => one !== undefined) }, toStorefrontAnswer)
      }
      return pageAnswer(await of.storage.storefronts.page({ where: { tenantId }, ...query }), toStorefrontAnswer)
    },
  }),
  route({
    method: 'get',
    path: '/v1/storefronts/{storefront}',
    summary: 'Read a storefront',
    access: 'catalog:read',
    storefront: 'path',
    ifMatch: 'answer',
    params,
    status: 200,
    answer: storefrontAnswer,
    handle: async ({ of, params }) => answer(await of.storage.storefronts.get(of.keys.storefront(params.storefront))),
  }),
  route({
    method: 'patch',
    path: '/v1/storefronts/{storefront}',
    summary: 'Change a storefront',
    description:
      'Fields that you leave out stay as they are. Changed billing rules apply to new subscriptions: existing ones keep the rules that they began with. The exception is trialOncePer, which applies to everybody at once.',
    access: 'catalog:write',
    storefront: 'path',
    ifMatch: { document: 'the storefront' },
    params,
    body: patchBody,
    status: 200,
    answer: storefrontAnswer,
    handle: async ({ of, params, body, ifMatch }) => {
      const { paymentProviders, billing, ...fields } = body
      const change = { ...fields, ...(paymentProviders ? { paymentProviders } : {}), billing: billing ?? {} }
      return answer(await changeStorefront(of, params.storefront, mustMatch(ifMatch), change))
    },
  }),
]
