/**
 * A route as one value: what it is called, who may call it, what it takes and answers, and what it does. The router,
 * the validation, the OpenAPI document and the table-driven tests are all made from these.
 */

import type { Readable } from 'node:stream'
import type { z } from 'zod'
import type { Defined } from '../../common/defined.ts'
import type { ErrorCode } from '../../common/errors.ts'
import type { Secret } from '../../common/secret.ts'
import type { Caller } from '../access/caller.ts'
import type { Permission } from '../access/permissions.ts'
import type { WebhookSender } from '../events/webhooks/send.ts'
import type { OpenId } from '../people/open-id.ts'
import type { Services } from '../ports.ts'
import type { User } from '../schemas/user.ts'
import type { TenantScope } from '../tenant-scope.ts'

/**
 * The access that a route asks of its caller: a permission, a platform key, any key; or nothing: it proves itself by its
 * signature, or there is nothing to protect.
 */
export type AccessRule = Permission | 'platform' | 'everybody' | 'public'

/**
 * The storefront that a call is about, for callers that are limited to some. There is no default, so that no route can forget
 * it; `storefront-scope.ts` heeds it before the route's own work begins.
 */
export type StorefrontRule =
  /** The one in the path, or that the body or the query names as `storefrontId`. */
  | 'path'
  | 'body'
  | 'query'
  /** The storefront of the subscription, or of the payment, in the path. */
  | 'subscription'
  | 'payment'
  /** The handler answers of those in `call.within`, and of no other. */
  | 'within'
  /** All of them: a limited caller is refused. */
  | 'all'
  /** It is about none. */
  | 'none'

/** The thing that a route compares `If-Match` with. There is no default, so that no route can forget it and ignore it in silence. */
export type IfMatchRule =
  /** The revision that it answers, once it has answered: for routes that change nothing. */
  | 'answer'
  /** The revision of this document, which it changes: the handler compares, in the compare-and-set of the change. */
  | { document: string }
  /** Nothing: a request that has the header is refused, and told why. */
  | { refused: string }

export const ofList: IfMatchRule = { refused: 'a list has no ETag' }
export const ofNewDocument: IfMatchRule = { refused: 'a new document has no ETag yet' }

/** Messages to the tenants' own endpoints. */
export interface Webhooks {
  sender: WebhookSender
  /** Endpoints may be in our own network, and without TLS. */
  allowPrivate: boolean
}

export interface Call<Params, Query, Body> {
  /** The ports for what is not of one tenant alone: who may call, and what the platform keeps. */
  services: Services
  caller: Caller
  /** The storefronts that the caller is limited to; undefined: to none. */
  within: readonly string[] | undefined
  /** The tenant that the call is about, and all that it has. */
  of: TenantScope
  params: Params
  query: Query
  body: Body
  /** The revision that `If-Match` names. */
  ifMatch: number | undefined
  /** Lower-case names. */
  headers: Record<string, string | undefined>
  /** The body as received, for signatures. */
  rawBody: string
  /** The body of a route that takes another type than JSON, as it arrives. */
  stream: Readable | undefined
  /** The origin at which callers reach us: scheme, host and port. */
  origin: string
  /** One of our cookies, by its short name. */
  cookie(name: CookieName): string | undefined
  openId: OpenId
  webhooks: Webhooks
  /** Somebody has signed in: told to the audit log. */
  tellOf(user: User): Promise<void>
  /** A signal that aborts when the caller is gone before the answer. */
  gone(): AbortSignal
  /** `sub_…`: unique, sorts by time, and the same when the same request is repeated under its idempotency key. */
  newId(prefix: string): string
}

/** `session`: who has signed in. `sign-in`: what a sign-in at an identity provider began with. */
export type CookieName = 'session' | 'sign-in'

export interface Cookie {
  name: CookieName
  value: string
  /** 0 takes it away. */
  maxAgeMs: number
}

/** A handler's answer, whatever its route declares. */
export interface Answer {
  body?: unknown
  /** The document's revision: answered as `ETag`. */
  revision?: number
  cookies?: Cookie[]
  /** The address to go to, with 302. */
  location?: string
  /** It tells of something that a provider has not answered yet: it is not kept as the answer to an Idempotency-Key. */
  isUnderWay?: boolean | undefined
}

/** The same, of a route whose answers have this body: a field that its schema lacks or has otherwise does not compile. */
export interface AnswerWith<Body> extends Answer {
  body: Body
  location?: never
}

interface EmptyAnswer extends Answer {
  body?: never
  location?: never
}

interface Redirect extends Answer {
  body?: never
  location: string
}

/** JSON holds no undefined: only the types of Zod would have it in what is left out. */
export type Given<T> = T extends Date | Secret ? T : T extends (infer E)[] ? Given<E>[] : T extends object ? Defined<{ [K in keyof T]: Given<T[K]> }> : T

type Output<T> = T extends z.ZodType ? Given<z.output<T>> : undefined

type Status = 200 | 201 | 202 | 204 | 302

/** The answers that a handler may give, by the status of success and the schema of the answer. */
type AnswerOf<S extends Status, A> = S extends 204 ? EmptyAnswer : S extends 302 ? Redirect : AnswerWith<A extends z.ZodType ? z.output<A> : Readable>

/** An answer is described by its schema, or has another type than JSON, or has no body. */
type Described<S extends Status, A> = S extends 204 | 302
  ? { answer?: never; gives?: never }
  : A extends z.ZodType
    ? { answer: A; gives?: never }
    : { answer?: never; gives: 'application/jsonl' }

interface RouteFacts {
  method: 'get' | 'post' | 'put' | 'patch' | 'delete'
  /** OpenAPI style: `/v1/storefronts/{storefront}`. */
  path: string
  /** A verb first, at most eight words. */
  summary: string
  /** One to four sentences where there is more to say: what follows, when it refuses, whether a repeat is safe. */
  description?: string
  access: AccessRule
  /** For a public route: whoever is wrong here guesses, and is counted by address. */
  guesses?: true
  storefront: StorefrontRule
  ifMatch: IfMatchRule
  /** False for the few routes that are not about one tenant. */
  ofTenant?: boolean
  /** The codes that its own work refuses with, beside those that follow from what is said here (`refusals.ts`). */
  refusals?: readonly ErrorCode[]
  /** A type of body other than JSON, which is handed on as it arrives. Its answer is not kept for repeats. */
  takes?: 'text/csv'
  /** Types that JSON may have here, beside its own. A body of such a type has many things in it, and may be larger. */
  jsonTypes?: readonly string[]
}

interface RouteDefinition<
  S extends Status,
  A extends z.ZodType | undefined,
  P extends z.ZodObject | undefined,
  Q extends z.ZodObject | undefined,
  B extends z.ZodType | undefined,
> extends RouteFacts {
  params?: P
  query?: Q
  body?: B
  /** The status of success. */
  status: S
  answer?: A
  handle(call: Call<Output<P>, Output<Q>, Output<B>>): Promise<AnswerOf<S, A>>
}

/** Routes of different shapes share one table; each is checked where it is made. */
export interface AnyRoute extends RouteFacts {
  params?: z.ZodObject | undefined
  query?: z.ZodObject | undefined
  body?: z.ZodType | undefined
  status: Status
  answer?: z.ZodType | undefined
  /** A type of answer other than JSON: its body is a stream. */
  gives?: 'application/jsonl' | undefined
  // biome-ignore lint/suspicious/noExplicitAny: the chain hands on what the route's own schemas have made.
  handle(call: Call<any, any, any>): Promise<Answer>
}

export const isKeyed = ({ access }: AnyRoute): boolean => access !== 'public'

/** True if a repeat under the same Idempotency-Key is answered as the first time. A read may be done twice, and is not recorded. */
export const takesIdempotencyKey = (route: AnyRoute): boolean => isKeyed(route) && route.method === 'post' && !route.access.endsWith(':read') && !route.takes

export const route = <
  S extends Status,
  A extends z.ZodType | undefined = undefined,
  P extends z.ZodObject | undefined = undefined,
  Q extends z.ZodObject | undefined = undefined,
  B extends z.ZodType | undefined = undefined,
>(
  definition: RouteDefinition<S, A, P, Q, B> & Described<S, A>,
): AnyRoute => definition
