import { grantModes, grantSources } from '../../../common/entitlements/model.ts'
import { GRANT_REVISION, getGrant, giveGrant, listGrants, removeGrant } from '../../entitlements/give-grants.ts'
import { toEntitlement } from '../../schemas/bundle.ts'
import type { GrantByHand } from '../../schemas/customer-grants.ts'
import type { TenantScope } from '../../tenant-scope.ts'
import { dateOrInstant, id, instant, isNormal, iso, isoOrNull, name, normalRule, pageAnswer, pageOf, pageQuery, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { ofList, ofNewDocument, route } from '../route.ts'
import { entitlementAnswer, entitlementsInput } from './entitlement-input.ts'

const MAX_REASON = 500

const source = z.enum(grantSources)
const mode = z.enum(['add', ...grantModes])

const newGrant = z
  .strictObject({
    entitlements: entitlementsInput
      // Not `min`: of a list that cannot be empty, generators of requests make none with entries of so many forms.
      .refine((list) => list.length > 0, 'must have at least one entry')
      .openapi({ description: 'At least one, in the same forms as those of a bundle. If the mode is deny, only the key and the kind of each count.' }),
    mode: mode.default('add').openapi({
      description:
        'How it counts beside what else the customer has of a key. add: limits add up. floor: raises the sum to its limit. replace: it counts alone. deny: access is refused.',
    }),
    from: dateOrInstant.optional().openapi({ description: "When it begins; now by default. A date means its first instant in the storefront's time zone." }),
    until: dateOrInstant.optional().openapi({ description: 'When it ends by itself. Without it, it lasts until it is removed.' }),
    reason: z.string().trim().min(1).max(MAX_REASON),
    source: source.default('manual').openapi({ description: 'Who gives it: a person, another system, or an import.' }),
    externalId: name
      .refine(isNormal, normalRule)
      .optional()
      .openapi({ description: 'Your id for it, unique per customer. The same grant again under it is answered with the one that is there.' }),
  })
  .openapi('NewGrant')

const grantAnswer = z
  .object({
    id: z.string(),
    storefrontId: z.string(),
    customerId: z.string(),
    externalId: z.string().nullable(),
    source,
    mode,
    reason: z.string(),
    entitlements: z.array(entitlementAnswer),
    from: instant,
    until: instant.nullable(),
    status: z.enum(['scheduled', 'current', 'ended']),
    createdAt: instant,
  })
  .openapi('Grant')

const givenAnswer = grantAnswer.extend({
  entitlementRevision: z.int().openapi({ description: 'To see this grant at a sidecar, send it to CheckEntitlement as min_revision.' }),
})

const statusOf = ({ from, until }: GrantByHand, now: Date): 'scheduled' | 'current' | 'ended' => {
  if (until && until <= now) return 'ended'
  return from > now ? 'scheduled' : 'current'
}

interface CustomerName {
  storefront: string
  customer: string
}

export const toGrantAnswer = (of: Pick<TenantScope, 'now'>, { storefront, customer }: CustomerName, grant: GrantByHand): z.output<typeof grantAnswer> => ({
  id: grant.id,
  storefrontId: storefront,
  customerId: customer,
  externalId: grant.externalId ?? null,
  source: grant.source,
  mode: grant.mode ?? 'add',
  reason: grant.reason,
  entitlements: grant.entitlements.map((one) => (grant.mode === 'deny' ? { key: one.key, kind: one.kind } : toEntitlement(one))),
  from: iso(grant.from),
  until: isoOrNull(grant.until),
  status: statusOf(grant, of.now()),
  createdAt: iso(grant.createdAt),
})

const params = z.object({ storefront: id, customer: id })
const oneParams = params.extend({ grant: id })
const path = '/v1/storefronts/{storefront}/customers/{customer}/grants'

export const grantRoutes = [
  route({
    method: 'post',
    path,
    summary: 'Give or deny entitlements by hand',
    description:
      'A grant counts beside what the customer has bought, by its mode, from its start until its end. A repeat with the same externalId and the same content answers the grant that is there. A customer has at most 200 grants that have not ended.',
    access: 'grants:write',
    storefront: 'path',
    ifMatch: ofNewDocument,
    params,
    body: newGrant,
    refusals: ['already_exists', 'set_too_large'],
    status: 201,
    answer: givenAnswer,
    handle: async ({ of, params, body, newId }) => {
      const { grant, entitlementRevision } = await giveGrant(of, params, newId('grt'), body)
      return { body: { ...toGrantAnswer(of, params, grant), entitlementRevision }, revision: GRANT_REVISION }
    },
  }),
  route({
    method: 'get',
    path,
    summary: 'List the grants of a customer',
    description: 'The list includes the latest grants that have ended.',
    access: 'grants:read',
    storefront: 'path',
    ifMatch: ofList,
    params,
    query: z.strictObject(pageQuery),
    status: 200,
    answer: pageOf(grantAnswer),
    handle: async ({ of, params, query }) => pageAnswer(await listGrants(of, params, query), (grant) => toGrantAnswer(of, params, grant)),
  }),
  route({
    method: 'get',
    path: `${path}/{grant}`,
    summary: 'Read a grant',
    access: 'grants:read',
    storefront: 'path',
    ifMatch: 'answer',
    params: oneParams,
    status: 200,
    answer: grantAnswer,
    handle: async ({ of, params }) => ({ body: toGrantAnswer(of, params, await getGrant(of, params, params.grant)), revision: GRANT_REVISION }),
  }),
  route({
    method: 'delete',
    path: `${path}/{grant}`,
    summary: 'Take back a grant',
    description: 'The grant is gone at once. To keep it in the list, give grants an end.',
    access: 'grants:write',
    storefront: 'path',
    ifMatch: { document: 'the grant' },
    params: oneParams,
    status: 204,
    handle: async ({ of, params, ifMatch }) => {
      await removeGrant(of, params, params.grant, mustMatch(ifMatch))
      return {}
    },
  }),
]
