/** How people come in: with a password and a code, or at their identity provider. Each is a session in a cookie from then on. */
import { AppError } from '../../../common/errors.ts'
import { SIGN_IN_MS } from '../../people/open-id.ts'
import { beginSession, csrfTokenOf, endSession, SESSION_MS } from '../../people/sessions.ts'
import { lookAtInvitation, signIn, takeInvitation } from '../../people/sign-in.ts'
import type { User } from '../../schemas/user.ts'
import { id, secret, z } from '../fields.ts'
import { type AnswerWith, type Call, type IfMatchRule, route } from '../route.ts'

const noDocument: IfMatchRule = { refused: 'a session is not a document, and has no ETag' }

/** https://pages.nist.gov/800-63-4/sp800-63b.html: long, and of whatever characters. */
const newPassword = secret(z.string().min(12).max(200))
const password = secret(z.string().max(200))
const code = secret(z.string().regex(/^\d{6}$/, 'must be the six digits that the authenticator app shows'))
const invitation = secret(z.string().min(1).max(1_000))

const signedIn = z
  .object({
    userId: z.string(),
    tenantId: z.string(),
    csrfToken: z.string().openapi({ description: 'Every change by the session must send it in X-CSRF-Token.' }),
  })
  .openapi('SignedIn')

const enter = async (
  { services, tellOf }: Pick<Call<unknown, unknown, unknown>, 'services' | 'tellOf'>,
  user: User,
): Promise<AnswerWith<z.output<typeof signedIn>>> => {
  await tellOf(user)
  const { token, csrfToken } = await beginSession(services, user)
  return { body: { userId: user.id, tenantId: user.tenantId, csrfToken }, cookies: [{ name: 'session', value: token, maxAgeMs: SESSION_MS }] }
}

/** A path of our own; anything else would make a sign-in send people anywhere. */
const returnTo = z
  .string()
  .max(1_000)
  .regex(/^\/(?![/\\])[\x21-\x7E]*$/, 'must be a path, such as /console')
  .default('/')

const params = z.object({ tenant: id })

export const signInRoutes = [
  route({
    method: 'post',
    path: '/v1/sign-in/invitation',
    summary: 'Read an invitation',
    description: 'The answer holds the secret for the authenticator app. Each call creates another secret, and the last one counts.',
    access: 'public',
    guesses: true,
    storefront: 'none',
    ifMatch: noDocument,
    body: z.strictObject({ invitation }),
    status: 200,
    answer: z.object({ email: z.string(), totpUri: z.string().openapi({ description: 'Show it as a QR code.' }) }),
    handle: async ({ services, body }) => ({ body: await lookAtInvitation(services, body.invitation) }),
  }),
  route({
    method: 'post',
    path: '/v1/sign-in/invitation/take',
    summary: 'Accept an invitation',
    description: 'Sets the password and starts a session. The code proves that the authenticator app works.',
    access: 'public',
    guesses: true,
    storefront: 'none',
    ifMatch: noDocument,
    body: z.strictObject({ invitation, password: newPassword, code }),
    status: 200,
    answer: signedIn,
    handle: async ({ services, body, tellOf }) => {
      const user = await takeInvitation(services, body.invitation, body.password, body.code)
      return enter({ services, tellOf }, user)
    },
  }),
  route({
    method: 'post',
    path: '/v1/sign-in',
    summary: 'Sign in with a password',
    description:
      'Takes a code of the authenticator app too; each code works once. The answer never says which part was wrong. After five wrong attempts in a row, the person cannot sign in for 15 minutes.',
    access: 'public',
    guesses: true,
    storefront: 'none',
    ifMatch: noDocument,
    body: z.strictObject({ tenant: id, email: z.email().max(254), password, code }),
    status: 200,
    answer: signedIn,
    handle: async ({ services, body, tellOf }) => {
      const user = await signIn(services, body.tenant, body.email, body.password, body.code)
      return enter({ services, tellOf }, user)
    },
  }),
  route({
    method: 'get',
    path: '/v1/sign-in/{tenant}/start',
    summary: 'Start a sign-in at the identity provider',
    description: "Redirects the browser to the tenant's identity provider. Afterwards, the person comes back to returnTo.",
    access: 'public',
    storefront: 'none',
    ifMatch: noDocument,
    params,
    query: z.strictObject({ returnTo }),
    refusals: ['not_found', 'unauthenticated'],
    status: 302,
    handle: async ({ openId, params, query, origin }) => {
      const { location, kept } = await openId.begin(params.tenant, `${origin}/v1/sign-in/${encodeURIComponent(params.tenant)}/callback`, query.returnTo)
      return { location, cookies: [{ name: 'sign-in', value: kept, maxAgeMs: SIGN_IN_MS }] }
    },
  }),
  route({
    method: 'get',
    path: '/v1/sign-in/{tenant}/callback',
    summary: 'Finish a sign-in at the identity provider',
    description:
      "The identity provider sends the browser here. The call starts a session and redirects to returnTo. It is refused if none of the person's groups has a role.",
    access: 'public',
    guesses: true,
    storefront: 'none',
    ifMatch: noDocument,
    params,
    query: z.looseObject({}),
    refusals: ['not_found', 'forbidden'],
    status: 302,
    handle: async ({ services, openId, params, query, origin, cookie, tellOf }) => {
      const url = new URL(`${origin}/v1/sign-in/${encodeURIComponent(params.tenant)}/callback`)
      for (const [field, value] of Object.entries(query as Record<string, unknown>)) if (typeof value === 'string') url.searchParams.set(field, value)
      const { user, returnTo: location } = await openId.finish(params.tenant, url, cookie('sign-in'))
      const { cookies = [] } = await enter({ services, tellOf }, user)
      return { location, cookies: [...cookies, { name: 'sign-in', value: '', maxAgeMs: 0 }] }
    },
  }),
  route({
    method: 'get',
    path: '/v1/session',
    summary: 'Read the session',
    description: 'The answer holds the token that every change by a session must send as X-CSRF-Token.',
    access: 'everybody',
    storefront: 'none',
    ifMatch: noDocument,
    ofTenant: false,
    refusals: ['not_found'],
    status: 200,
    answer: signedIn,
    handle: async ({ caller, cookie }) => {
      const token = cookie('session')
      const { kind, tenantId } = caller
      if (kind !== 'user' || tenantId === undefined || token === undefined)
        throw new AppError('not_found', 'this call needs a session; for a key, use GET /v1/caller')
      return { body: { userId: caller.id, tenantId, csrfToken: csrfTokenOf(token) } }
    },
  }),
  route({
    method: 'post',
    path: '/v1/sign-out',
    summary: 'End the session',
    access: 'everybody',
    storefront: 'none',
    ifMatch: noDocument,
    ofTenant: false,
    body: z.strictObject({}),
    status: 204,
    handle: async ({ services, cookie }) => {
      const token = cookie('session')
      if (token !== undefined) await endSession(services, token)
      return { cookies: [{ name: 'session', value: '', maxAgeMs: 0 }] }
    },
  }),
]
