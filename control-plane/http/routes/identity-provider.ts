import { keys } from '../../keys.ts'
import { removeIdentityProvider, setIdentityProvider } from '../../people/identity-providers.ts'
import type { IdentityProvider } from '../../schemas/user.ts'
import { role, secret, storefronts, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { route } from '../route.ts'

/** A scope or a claim, as OAuth has them: printable ASCII without quotes. */
const word = z.string().regex(/^[\x21\x23-\x5B\x5D-\x7E]{1,100}$/, 'must be printable ASCII without spaces and quotes')
const group = z.strictObject({ group: z.string().min(1).max(200), role, storefronts: storefronts.optional() })

const facts = {
  issuer: z
    .url({ protocol: /^https?$/, error: 'must be the https address of the issuer' })
    .max(2_000)
    .openapi({ description: 'The address under which /.well-known/openid-configuration is found.', example: 'https://login.example.com' }),
  clientId: z.string().min(1).max(500),
  scopes: z
    .array(word)
    .max(20)
    .default(['openid', 'email', 'profile'])
    .refine((list) => list.includes('openid'), 'must contain openid'),
  groupsClaim: word.default('groups').openapi({ description: "The claim that lists the person's groups, in the ID token or else in userinfo." }),
  groups: z.array(group).min(1).max(200).openapi({ description: 'The first group that a person belongs to counts. A person in none of them cannot sign in.' }),
}

const providerAnswer = z
  .object({
    issuer: z.string(),
    clientId: z.string(),
    hasClientSecret: z.boolean(),
    scopes: z.array(z.string()),
    groupsClaim: z.string(),
    groups: z.array(z.object({ group: z.string(), role: z.string(), storefronts: z.array(z.string()).nullable() })),
    signInUrl: z.string().openapi({ description: 'Where people go to sign in.' }),
    redirectUri: z.string().openapi({ description: 'Register this address at the identity provider as the redirect URI.' }),
  })
  .openapi('IdentityProvider')

const answer = (origin: string, provider: IdentityProvider) => {
  const base = `${origin}/v1/sign-in/${encodeURIComponent(provider.tenantId)}`
  return {
    body: {
      issuer: provider.issuer,
      clientId: provider.clientId,
      hasClientSecret: Boolean(provider.clientSecret),
      scopes: provider.scopes,
      groupsClaim: provider.groupsClaim,
      groups: provider.groups.map((one) => ({ group: one.group, role: one.role, storefronts: one.storefronts ?? null })),
      signInUrl: `${base}/start`,
      redirectUri: `${base}/callback`,
    },
    revision: provider.revision,
  }
}

export const identityProviderRoutes = [
  route({
    method: 'put',
    path: '/v1/identity-provider',
    summary: 'Set the identity provider',
    description:
      'Says where people sign in with OpenID Connect, and which role each of their groups has. Register the redirectUri of the answer there. If you leave clientSecret out, the current one stays.',
    access: 'users:write',
    storefront: 'all',
    ifMatch: { document: 'the identity provider' },
    body: z
      .strictObject({
        ...facts,
        clientSecret: secret(z.string().min(1).max(2_000)).optional().openapi({ description: 'Answers never contain it. Default: the current one stays.' }),
      })
      .openapi('NewIdentityProvider'),
    refusals: ['unknown_reference'],
    status: 200,
    answer: providerAnswer,
    handle: async ({ services, of, caller, body, ifMatch, origin }) =>
      answer(origin, await setIdentityProvider(services, of.tenantId, caller, mustMatch(ifMatch), body)),
  }),
  route({
    method: 'get',
    path: '/v1/identity-provider',
    summary: 'Read the identity provider',
    access: 'users:read',
    storefront: 'all',
    ifMatch: 'answer',
    status: 200,
    answer: providerAnswer,
    handle: async ({ services, of, origin }) => answer(origin, await services.storage.identityProviders.get(keys.identityProvider(of.tenantId))),
  }),
  route({
    method: 'delete',
    path: '/v1/identity-provider',
    summary: 'Remove the identity provider',
    description: 'Nobody can sign in there any more.',
    access: 'users:write',
    storefront: 'all',
    ifMatch: { document: 'the identity provider' },
    status: 204,
    handle: async ({ services, of, caller, ifMatch }) => {
      await removeIdentityProvider(services, of.tenantId, caller, mustMatch(ifMatch))
      return {}
    },
  }),
]
