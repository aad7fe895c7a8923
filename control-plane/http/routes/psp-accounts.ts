import { changePspAccount, createPspAccount } from '../../catalog/psp-accounts.ts'
import { keys } from '../../keys.ts'
import { type PspAccount, pspProviders } from '../../schemas/psp-account.ts'
import { country, currency, id, pageOf, pageQuery, paymentMethodType, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { route } from '../route.ts'

const capabilities = z
  .strictObject({
    currencies: z.array(currency).min(1).max(200).optional(),
    countries: z.array(country).min(1).max(250).optional(),
    paymentMethodTypes: z.array(paymentMethodType).min(1).max(50).optional(),
  })
  .openapi({ description: 'What the account can take; a list that is left out admits everything.' })

const editable = {
  credentials: z
    .record(z.string().regex(/^[A-Za-z0-9_]{1,60}$/), z.string().min(1).max(10_000))
    .optional()
    .openapi({ description: "What the provider's library needs, by its own names. Never answered." }),
  webhookSecret: z.string().min(8).max(500).optional().openapi({ description: 'Never answered.' }),
  capabilities: capabilities.optional(),
}

const pspAccountAnswer = z
  .object({
    id: z.string(),
    provider: z.enum(pspProviders),
    capabilities,
    hasCredentials: z.boolean(),
    hasWebhookSecret: z.boolean(),
  })
  .openapi('PspAccount')

const toAnswer = (account: PspAccount) => ({
  id: account.id,
  provider: account.provider,
  capabilities: account.capabilities,
  hasCredentials: account.credentials !== undefined && account.credentials !== null,
  hasWebhookSecret: Boolean(account.webhookSecret),
})

const answer = (account: PspAccount) => ({ body: toAnswer(account), revision: account.revision })
const params = z.object({ account: id })

export const pspAccountRoutes = [
  route({
    method: 'post',
    path: '/v1/psp-accounts',
    summary: 'Make an account at a payment service provider known',
    access: 'configure',
    body: z.strictObject({ id, provider: z.enum(pspProviders), ...editable }),
    status: 201,
    answer: pspAccountAnswer,
    handle: async ({ services, tenant, body }) => answer(await createPspAccount(services, tenant.tenantId, { ...body, capabilities: body.capabilities ?? {} })),
  }),
  route({
    method: 'get',
    path: '/v1/psp-accounts',
    summary: 'List PSP accounts, without credentials',
    access: 'read',
    query: z.strictObject(pageQuery),
    status: 200,
    answer: pageOf(pspAccountAnswer),
    handle: async ({ services, tenant, query }) => {
      const page = await services.storage.pspAccounts.page({ where: { tenantId: tenant.tenantId }, ...query })
      return { body: { ...page, data: page.data.map(toAnswer) } }
    },
  }),
  route({
    method: 'get',
    path: '/v1/psp-accounts/{account}',
    summary: 'Read a PSP account, without credentials',
    access: 'read',
    params,
    status: 200,
    answer: pspAccountAnswer,
    handle: async ({ services, tenant, params }) => answer(await services.storage.pspAccounts.get(keys.pspAccount(tenant.tenantId, params.account))),
  }),
  route({
    method: 'patch',
    path: '/v1/psp-accounts/{account}',
    summary: 'Change a PSP account',
    access: 'configure',
    params,
    body: z.strictObject(editable),
    status: 200,
    answer: pspAccountAnswer,
    handle: async ({ services, tenant, params, body, ifMatch }) =>
      answer(await changePspAccount(services, tenant.tenantId, params.account, mustMatch(ifMatch), body)),
  }),
]
