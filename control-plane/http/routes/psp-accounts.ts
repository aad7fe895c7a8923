import { changePspAccount, createPspAccount } from '../../catalog/psp-accounts.ts'
import { webhookPath } from '../../payments/psp/webhook-path.ts'
import { registerWebhook } from '../../payments/webhooks/register-webhook.ts'
import { captureModes, type PspAccount, pspProviders } from '../../schemas/psp-account.ts'
import type { TenantScope } from '../../tenant-scope.ts'
import { country, currency, id, instant, iso, isoOrNull, keysOf, pageAnswer, pageOf, pageQuery, paymentMethodType, secret, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { ofList, ofNewDocument, route } from '../route.ts'

const capabilities = z
  .strictObject({
    currencies: z.array(currency).min(1).max(200).optional(),
    countries: z.array(country).min(1).max(250).optional(),
    paymentMethodTypes: z.array(paymentMethodType).min(1).max(50).optional(),
  })
  .openapi({ description: 'What the account accepts; without a list, it accepts everything.' })

const CREDENTIAL = /^[A-Za-z0-9_]{1,60}$/

const editable = {
  credentials: z
    .record(z.string().regex(CREDENTIAL, 'must be 1 to 60 letters, digits or _'), secret(z.string().min(1).max(10_000)))
    .optional()
    .openapi({
      ...keysOf(CREDENTIAL),
      description:
        "The credentials, by the names that the provider's library uses. Answers never contain them. A PATCH replaces those that it names; the others stay.",
    }),
  webhookSecret: secret(z.string().min(8).max(500)).optional().openapi({ description: 'Never answered.' }),
  capture: z
    .enum(captureModes)
    .optional()
    .openapi({ description: 'separate: charges are authorized, and captured at once by a second call. Default automatic.' }),
  returnUrl: z
    .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
    .max(2_000)
    .optional()
    .openapi({ description: 'Where customers come back to after 3-D Secure. Default: PUBLIC_URL.' }),
  capabilities: capabilities.optional(),
}

const registered = {
  url: z.string().openapi({ description: 'Where the provider sends its events.' }),
  events: z.array(z.string()).openapi({ description: 'The types of events that the provider sends, in its own words.' }),
  registeredAt: instant,
  providerWebhookId: z.string().openapi({ description: 'The id of the webhook at the provider.' }),
}
const registeredWebhook = z.object(registered).openapi('RegisteredWebhook')

const toRegistered = ({ id, url, events, registeredAt }: NonNullable<PspAccount['webhook']>): z.output<typeof registeredWebhook> => ({
  url,
  events,
  registeredAt: iso(registeredAt),
  providerWebhookId: id,
})

const pspAccountAnswer = z
  .object({
    id: z.string(),
    provider: z.enum(pspProviders),
    capabilities,
    hasCredentials: z.boolean(),
    hasWebhookSecret: z.boolean(),
    capture: z.enum(captureModes),
    returnUrl: z.string().nullable(),
    webhookPath: z.string().openapi({ description: 'Where the provider must send its events: append it to the public URL of this control plane.' }),
    webhook: z
      .object(registered)
      .nullable()
      .openapi({ description: 'The webhook that register-webhook has set up at the provider; null: none, or its secret was changed by hand since.' }),
    problem: z.string().nullable().openapi({ description: 'Why the account cannot be used yet, for example that a credential is missing.' }),
    webhookProblem: z
      .string()
      .nullable()
      .openapi({ description: "Why the provider's events would be refused. Payments are still made, and Tollgate asks for their outcome." }),
    circuit: z.object({ state: z.enum(['closed', 'open', 'half_open']), openUntil: instant.nullable() }).openapi({
      description: 'The circuit of the process that answers. It opens after several technical failures in a row; payments then go elsewhere or wait.',
    }),
  })
  .openapi('PspAccount')

const statusOf = (of: TenantScope, account: PspAccount): Pick<z.output<typeof pspAccountAnswer>, 'problem' | 'webhookProblem' | 'circuit'> => {
  const opened = of.openPsp(account.id, account)
  if ('unusable' in opened) return { problem: opened.unusable, webhookProblem: null, circuit: { state: 'closed', openUntil: null } }
  const { state, openUntil } = opened.circuit?.view() ?? { state: 'closed', openUntil: undefined }
  return { problem: null, webhookProblem: opened.webhookProblem ?? null, circuit: { state, openUntil: isoOrNull(openUntil) } }
}

const toAnswer = (of: TenantScope, account: PspAccount): z.output<typeof pspAccountAnswer> => ({
  id: account.id,
  provider: account.provider,
  capabilities: account.capabilities,
  hasCredentials: account.credentials !== undefined,
  hasWebhookSecret: Boolean(account.webhookSecret),
  capture: account.capture ?? 'automatic',
  returnUrl: account.returnUrl ?? null,
  webhookPath: webhookPath(of.tenantId, account.id),
  webhook: account.webhook ? toRegistered(account.webhook) : null,
  ...statusOf(of, account),
})

const answer = (of: TenantScope, account: PspAccount) => ({ body: toAnswer(of, account), revision: account.revision })
const params = z.object({ account: id })

export const pspAccountRoutes = [
  route({
    method: 'post',
    path: '/v1/psp-accounts',
    summary: 'Register an account at a payment service provider',
    description:
      'Tollgate checks the credentials for their form and does not call the provider. The problem field of the answer says why an account cannot be used. Answers never contain credentials.',
    access: 'psp-accounts:write',
    storefront: 'all',
    ifMatch: ofNewDocument,
    body: z.strictObject({ id, provider: z.enum(pspProviders), ...editable }),
    refusals: ['already_exists'],
    status: 201,
    answer: pspAccountAnswer,
    handle: async ({ of, body }) => answer(of, await createPspAccount(of, { ...body, capabilities: body.capabilities ?? {} })),
  }),
  route({
    method: 'get',
    path: '/v1/psp-accounts',
    summary: 'List PSP accounts',
    description: 'Answers never contain credentials.',
    access: 'psp-accounts:read',
    storefront: 'all',
    ifMatch: ofList,
    query: z.strictObject(pageQuery),
    status: 200,
    answer: pageOf(pspAccountAnswer),
    handle: async ({ of, query }) => {
      const page = await of.storage.pspAccounts.page({ where: { tenantId: of.tenantId }, ...query })
      return pageAnswer(page, (account) => toAnswer(of, account))
    },
  }),
  route({
    method: 'get',
    path: '/v1/psp-accounts/{account}',
    summary: 'Read a PSP account',
    description: 'Answers never contain credentials.',
    access: 'psp-accounts:read',
    storefront: 'all',
    ifMatch: 'answer',
    params,
    status: 200,
    answer: pspAccountAnswer,
    handle: async ({ of, params }) => answer(of, await of.storage.pspAccounts.get(of.keys.pspAccount(params.account))),
  }),
  route({
    method: 'patch',
    path: '/v1/psp-accounts/{account}',
    summary: 'Change a PSP account',
    description: 'Fields that you leave out stay as they are, and so do credentials that you do not name.',
    access: 'psp-accounts:write',
    storefront: 'all',
    ifMatch: { document: 'the PSP account' },
    params,
    body: z.strictObject(editable),
    status: 200,
    answer: pspAccountAnswer,
    handle: async ({ of, params, body, ifMatch }) => answer(of, await changePspAccount(of, params.account, mustMatch(ifMatch), body)),
  }),
  route({
    method: 'post',
    path: '/v1/psp-accounts/{account}/register-webhook',
    summary: "Set up Tollgate's webhook at the provider",
    description:
      'Tollgate makes the provider (Stripe, Adyen or PayPal) send its events to PUBLIC_URL and webhookPath, and keeps the secret that they are verified with. A repeat changes the same webhook and makes no second one. The secret that is replaced stays valid for a day. If the provider has no API for webhooks, the refusal names the steps to take by hand.',
    access: 'psp-accounts:write',
    storefront: 'all',
    ifMatch: { document: 'the PSP account' },
    params,
    body: z.strictObject({}),
    refusals: ['unsupported_by_provider', 'refused_by_provider'],
    status: 200,
    answer: registeredWebhook,
    handle: async ({ of, origin, params, ifMatch }) => {
      const { webhook, revision } = await registerWebhook(of, params.account, origin, mustMatch(ifMatch))
      if (!webhook) throw new Error('a registered webhook is not stored')
      return { body: toRegistered(webhook), revision }
    },
  }),
]
