import { keys } from '../../keys.ts'
import { changeUser, type Invited, inviteAgain, inviteUser, removeUser } from '../../people/users.ts'
import { type User, userStatuses } from '../../schemas/user.ts'
import { id, instant, iso, isoOrNull, name, pageAnswer, pageOf, pageQuery, role, storefronts, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { ofList, ofNewDocument, route } from '../route.ts'

const userAnswer = z
  .object({
    id: z.string(),
    email: z.string(),
    name: z.string().nullable(),
    role: z.string(),
    storefronts: z.array(z.string()).nullable(),
    status: z.enum(userStatuses),
    signsInAt: z.enum(['tollgate', 'identity_provider']),
    invitedUntil: instant.nullable(),
    lastSignInAt: instant.nullable(),
    createdAt: instant,
  })
  .openapi('User')

const invitedAnswer = userAnswer.extend({
  invitation: z.string().openapi({ description: 'The token for the first sign-in; shown only once. Valid for seven days.' }),
})

const toAnswer = (user: User): z.output<typeof userAnswer> => ({
  id: user.id,
  email: user.email,
  name: user.name ?? null,
  role: user.role,
  storefronts: user.storefronts ?? null,
  status: user.status,
  signsInAt: user.identity ? 'identity_provider' : 'tollgate',
  invitedUntil: isoOrNull(user.invitation?.expiresAt),
  lastSignInAt: isoOrNull(user.lastSignInAt),
  createdAt: iso(user.createdAt),
})

const answer = (user: User) => ({ body: toAnswer(user), revision: user.revision })
const shownOnce = ({ user, token }: Invited) => ({ body: { ...toAnswer(user), invitation: token }, revision: user.revision })
const params = z.object({ user: id })

export const userRoutes = [
  route({
    method: 'post',
    path: '/v1/users',
    summary: 'Invite a person',
    description: 'The answer shows the invitation, once. It is valid for seven days. Send it by a channel that you trust.',
    access: 'users:write',
    storefront: 'all',
    ifMatch: ofNewDocument,
    body: z.strictObject({ email: z.email().max(254), name: name.optional(), role, storefronts: storefronts.optional() }).openapi('NewUser'),
    refusals: ['already_exists', 'unknown_reference'],
    status: 201,
    answer: invitedAnswer,
    handle: async ({ services, of, caller, body }) => shownOnce(await inviteUser(services, of.tenantId, caller, body)),
  }),
  route({
    method: 'get',
    path: '/v1/users',
    summary: 'List people',
    access: 'users:read',
    storefront: 'all',
    ifMatch: ofList,
    query: z.strictObject(pageQuery),
    status: 200,
    answer: pageOf(userAnswer),
    handle: async ({ services, of, query }) => pageAnswer(await services.storage.users.page({ where: { tenantId: of.tenantId }, ...query }), toAnswer),
  }),
  route({
    method: 'get',
    path: '/v1/users/{user}',
    summary: 'Read a person',
    access: 'users:read',
    storefront: 'all',
    ifMatch: 'answer',
    params,
    status: 200,
    answer: userAnswer,
    handle: async ({ services, of, params }) => answer(await services.storage.users.get(keys.user(of.tenantId, params.user))),
  }),
  route({
    method: 'patch',
    path: '/v1/users/{user}',
    summary: 'Change what a person may do',
    description:
      'The change takes effect with their next request. People who sign in at the identity provider get the role of their groups again at the next sign-in. You cannot change a person who has more permissions than you.',
    access: 'users:write',
    storefront: 'all',
    ifMatch: { document: 'the user' },
    params,
    body: z.strictObject({ name: name.nullish(), role: role.optional(), storefronts: storefronts.nullish(), disabled: z.boolean().optional() }),
    refusals: ['unknown_reference'],
    status: 200,
    answer: userAnswer,
    handle: async ({ services, of, caller, params, body, ifMatch }) =>
      answer(await changeUser(services, of.tenantId, caller, params.user, mustMatch(ifMatch), body)),
  }),
  route({
    method: 'post',
    path: '/v1/users/{user}/invitation',
    summary: 'Invite a person again',
    description: 'Use this for somebody who has lost their password or phone. Their sessions end, and the answer shows the new invitation, once.',
    access: 'users:write',
    storefront: 'all',
    ifMatch: { document: 'the user' },
    params,
    body: z.strictObject({}),
    status: 201,
    answer: invitedAnswer,
    handle: async ({ services, of, caller, params, ifMatch }) => shownOnce(await inviteAgain(services, of.tenantId, caller, params.user, mustMatch(ifMatch))),
  }),
  route({
    method: 'delete',
    path: '/v1/users/{user}',
    summary: 'Remove a person',
    description: 'Their sessions end.',
    access: 'users:write',
    storefront: 'all',
    ifMatch: { document: 'the user' },
    params,
    status: 204,
    handle: async ({ services, of, caller, params, ifMatch }) => {
      await removeUser(services, of.tenantId, caller, params.user, mustMatch(ifMatch))
      return {}
    },
  }),
]
