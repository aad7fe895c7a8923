/**
 * Every change by a caller goes through here: it is told to the audit log before it is made, and again, with what became of it,
 * before it is answered.
 */

import { fieldError, isAppError } from '../../common/errors.ts'
import type { Caller } from '../access/caller.ts'
import type { AuditEntry } from '../audit/entry.ts'
import { changesBetween, customerReference, masked } from '../audit/masked.ts'
import type { AuditTrail } from '../audit/trail.ts'
import { PLATFORM } from '../keys.ts'
import type { Services } from '../ports.ts'
import type { User } from '../schemas/user.ts'
import type { TenantScope } from '../tenant-scope.ts'
import type { Answer, AnyRoute, Call } from './route.ts'
import { routes } from './routes/index.ts'

/** Reads are not audited, nor is usage, which is what is sold and not an act of administration. The export of a person is audited, too. */
const isChange = ({ method, access }: AnyRoute): boolean =>
  (method !== 'get' || access === 'customers:export') && access !== 'public' && access !== 'usage:report' && access !== 'everybody' && !access.endsWith(':read')

/** The GET of the document that a route changes: that of its path, or of the nearest path above. */
const readerOf = ({ path }: AnyRoute): AnyRoute | undefined => {
  for (let parts = path.split('/'); parts.length > 2; parts = parts.slice(0, -1)) {
    const here = parts.join('/')
    const reader = routes.find((one) => one.method === 'get' && one.path === here && one.ifMatch === 'answer')
    if (reader) return reader
  }
  return undefined
}

const readers = new Map(routes.map((route) => [route, readerOf(route)]))

type AnyCall = Call<unknown, unknown, unknown>

const named = (value: unknown): Record<string, string> =>
  Object.fromEntries(Object.entries((value ?? {}) as object).filter((entry): entry is [string, string] => typeof entry[1] === 'string'))

/** The kind of thing that a route makes, by the name that paths have for it: `customer` of `/v1/customers`. */
const madeBy = ({ path }: AnyRoute): string => {
  const below = routes.find((one) => one.path.startsWith(`${path}/{`))?.path.slice(path.length + 2)
  return below ? below.slice(0, below.indexOf('}')) : (path.split('/').at(-1) ?? '').replace(/s$/, '')
}

/** The ids as the caller named them, and of what was made; customers by a name that says nothing of them. */
const resourceOf = (route: AnyRoute, call: AnyCall, tenantId: string, made: unknown): Record<string, string> => {
  const { storefrontId, customerId, bundleId, account } = named(call.body)
  const all: Record<string, string | undefined> = { storefront: storefrontId, customer: customerId, bundle: bundleId, account, ...named(call.params) }
  const { id } = made === undefined ? {} : named(made)
  // What is made beside what the path names, as another key is: by a name of its own.
  if (id !== undefined && !Object.values(named(call.params)).includes(id)) all[readers.get(route) ? 'made' : madeBy(route)] = id
  if (all.customer !== undefined) all.customer = customerReference(tenantId, all.storefront ?? '', all.customer)
  if (isOfCustomer(route)) delete all.method
  return Object.fromEntries(Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined))
}

/** The tenant whose log a call belongs into. Tenants that are made or ended are the platform's to remember. */
const tenantIdOf = ({ of, params }: AnyCall, { method }: AnyRoute, isThere: boolean): string =>
  (of as TenantScope | undefined)?.tenantId ?? (isThere && method !== 'delete' ? named(params).tenant : undefined) ?? PLATFORM

const isOfCustomer = ({ path }: AnyRoute): boolean => path.includes('/customers')

const MAX_REASON = 500

/** @throws AppError `invalid_request`. */
const reasonOf = ({ headers, body }: AnyCall): string | null => {
  const said = headers['x-reason']
  if (said !== undefined && said.length > MAX_REASON) throw fieldError('invalid_request', 'X-Reason', `must not be longer than ${MAX_REASON} characters`)
  return said || named(body).reason || null
}

/** The document as a reader sees it; undefined where there is none, or none can be read. */
const seenBy = async (reader: AnyRoute | undefined, call: AnyCall): Promise<unknown> => {
  if (!reader) return undefined
  try {
    return (await reader.handle({ ...call, query: {}, body: undefined, within: undefined } as never)).body
  } catch (error) {
    if (!isAppError(error)) throw error
    return undefined
  }
}

/** Beyond this an entry names the fields and leaves out what was in them. */
const MAX_CHANGES = 16_384

const bounded = (changes: NonNullable<AuditEntry['changes']>): NonNullable<AuditEntry['changes']> =>
  JSON.stringify(changes).length <= MAX_CHANGES ? changes : changes.map(({ field }) => ({ field }))

/** The input, cut so that a caller who sends much does not make the log, which nobody may shorten, larger by as much. */
const boundedInput = (input: unknown): unknown =>
  JSON.stringify(input ?? null).length <= MAX_CHANGES
    ? input
    : {
        '[cut]': Object.keys(input as object)
          .slice(0, 100)
          .map((field) => field.slice(0, 100)),
      }

export interface RequestOrigin {
  requestId: string
  /** The IP address that the call came from. */
  from: string
}

/** The parts that every entry has. */
const entryOf = (
  { clock }: Pick<Services, 'clock'>,
  actor: Pick<Caller, 'kind' | 'id' | 'name' | 'role'>,
  { method, path }: AnyRoute,
  { requestId, from }: RequestOrigin,
): Pick<AuditEntry, 'at' | 'requestId' | 'actor' | 'from' | 'action'> => ({
  at: clock.now().toISOString(),
  requestId,
  actor: { kind: actor.kind, id: actor.id, name: actor.name ?? null, role: actor.role },
  from,
  action: `${method} ${path}`,
})

/** Somebody who is known has tried a change that they may not make; what they named may be a customer. Undefined for what is no change. */
export const deniedEntry = (services: Pick<Services, 'clock'>, caller: Caller, route: AnyRoute, asked: RequestOrigin): AuditEntry | undefined =>
  isChange(route) ? { ...entryOf(services, caller, route, asked), event: 'done', resource: {}, reason: null, code: 'forbidden' } : undefined

/** Somebody has come in, by one of the public routes. */
export const signInEntry = (services: Pick<Services, 'clock'>, user: User, route: AnyRoute, asked: RequestOrigin): AuditEntry => {
  const actor = { kind: 'user' as const, id: user.id, name: user.name ?? user.email, role: user.role }
  return { ...entryOf(services, actor, route, asked), event: 'done', resource: { user: user.id }, reason: null }
}

/**
 * @param work makes the change.
 * @throws AppError `unavailable` when it could not be told, and then nothing is changed; what `work` throws.
 */
export const audited = async (trail: AuditTrail, route: AnyRoute, call: AnyCall, asked: RequestOrigin, work: () => Promise<Answer>): Promise<Answer> => {
  if (!isChange(route)) return work()
  const { services, caller } = call
  const reader = readers.get(route)
  const isNew = route.method === 'post' && !reader
  const before = isNew ? undefined : await seenBy(reader, call)
  const tenantId = tenantIdOf(call, route, before !== undefined)
  const tell = (entry: Pick<AuditEntry, 'event'> & Partial<AuditEntry>, made?: unknown): Promise<void> =>
    trail.append(tenantId, {
      ...entryOf(services, caller, route, asked),
      resource: resourceOf(route, call, tenantId, isNew ? (made ?? call.body) : route.status === 201 ? made : undefined),
      reason: reasonOf(call),
      ...entry,
    })
  const context = { tenantId, isCustomer: isOfCustomer(route), storefrontId: named(call.params).storefront }
  await tell({ event: 'begun', input: boundedInput(masked(call.body, context)) })
  const outcome = async (result: Pick<AuditEntry, 'status' | 'code' | 'changes'>, made?: unknown): Promise<void> => {
    try {
      await tell({ event: 'done', ...result }, made)
    } catch (error) {
      // It has been done, or refused, and its beginning is told: the caller is not told otherwise.
      services.log.error({ err: error, requestId: asked.requestId }, 'the outcome of a call could not be recorded in the audit log')
    }
  }
  try {
    const answer = await work()
    const after = route.status === 204 ? undefined : isNew || route.answer === reader?.answer ? answer.body : await seenBy(reader, call)
    await outcome({ status: route.status, changes: bounded(changesBetween(before, after, context)) }, answer.body)
    return answer
  } catch (error) {
    await outcome({ code: isAppError(error) ? error.code : 'internal' })
    throw error
  }
}
