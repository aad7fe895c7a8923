/**
 * A client of a Tollgate sidecar. It answers from memory what it knows for certain, by the sidecar's own rules and clock, and
 * asks the sidecar for the rest. Uses are the sidecar's to count.
 */
import { systemClock } from '../common/clock.ts'
import { wireReasons } from '../common/entitlements/wire-names.ts'
import type { CheckEntitlementResponse, ListEntitlementsResponse, WatchEntitlementsResponse } from '../proto/gen/entitlement/v1/entitlement.ts'
import { type Consumed, type Decided, readAnswer } from './answer.ts'
import { createBatches } from './batches.ts'
import type { CallOptions } from './call-options.ts'
import { type ConnectionOptions, createConnection } from './connection.ts'
import { createCounting } from './counting.ts'
import { answerRemembered, holdingsFrom, type Remembered } from './decide-from.ts'
import { TollgateError } from './errors.ts'
import { createMemory } from './memory.ts'
import { checkCount, checkId } from './question.ts'
import type { ConsumeOptions, Holdings, Question, Tollgate, Use } from './tollgate.ts'
import { type OnUnknown, unlessKnown } from './unless-known.ts'
import type { Version } from './version.ts'
import { watchHoldings } from './watch-holdings.ts'

export type { Answer, Committed, Consumed, Count, Decided, Kind, Known, Reason, Reservation, Reserved, Through, Unknown } from './answer.ts'
export type { CallOptions } from './call-options.ts'
export type { ConnectionOptions, Tls } from './connection.ts'
export { TollgateError, type TollgateErrorCode } from './errors.ts'
export type { ConsumeOptions, GivenBack, Holdings, Question, Tollgate, Use } from './tollgate.ts'
export type { OnUnknown } from './unless-known.ts'

export interface CacheOptions {
  /** Customers in memory: those that were asked about last. Each is a kilobyte or two, here and at the sidecar. At most 100,000. */
  maxCustomers?: number | undefined
  /** How old an answer from memory may be. A stream that was cut, or a sidecar whose feed is away, makes what is known older. */
  maxAgeMs?: number | undefined
}

export interface TollgateOptions extends ConnectionOptions {
  tenant: string
  storefront: string
  /** How long to wait for an answer, retries included. */
  timeoutMs?: number | undefined
  /** What `check` does if it cannot find out: it throws, or answers with the reason `unknown`. */
  onUnknown?: OnUnknown | undefined
  /** False: every check asks the sidecar. */
  cache?: CacheOptions | false | undefined
}

const defaults = {
  /** A sidecar answers within a millisecond what it holds, and within a few what it has to read first. */
  timeoutMs: 1_000,
  onUnknown: 'throw',
  /** What one process serves in a while; 20 MB. */
  maxCustomers: 10_000,
  /** A few of the beats that come each second may be late. */
  maxAgeMs: 5_000,
} as const
/** What a sidecar watches for all its callers together. */
const MOST_CUSTOMERS = 100_000

/** By this machine's clock, which is the sidecar's where they run beside each other. */
const readHoldings = ({ customerKnown, entitlements, revision, asOf = new Date(0), stale }: ListEntitlementsResponse | WatchEntitlementsResponse): Holdings => {
  const nowMs = systemClock.nowMs()
  const decided = entitlements.flatMap(({ key, decision }) => (decision ? [[key, readAnswer(decision, nowMs)] as const] : []))
  const ageMs = Math.max(0, nowMs - asOf.getTime())
  return { customerKnown, revision: Number(revision), asOf, ageMs, stale, from: 'sidecar', entitlements: new Map(decided) }
}

/** @throws TollgateError `invalid_request` for options that are wrong. Nothing is connected before the first question. */
export const createTollgate = (options: TollgateOptions): Tollgate => {
  const tenantId = checkId('tenant', options.tenant)
  const storefrontId = checkId('storefront', options.storefront)
  const timeoutMs = options.timeoutMs ?? defaults.timeoutMs
  const onUnknown = options.onUnknown ?? defaults.onUnknown
  const connection = createConnection(options)
  const { maxCustomers = defaults.maxCustomers, maxAgeMs = defaults.maxAgeMs } = options.cache || {}
  if (!Number.isSafeInteger(maxCustomers) || maxCustomers < 1 || maxCustomers > MOST_CUSTOMERS)
    throw new TollgateError('invalid_request', `cache.maxCustomers: must be a whole number from 1 to ${MOST_CUSTOMERS}`)
  const memory = options.cache === false ? undefined : createMemory({ connection, tenantId, storefrontId, maxCustomers, maxAgeMs })

  /**
   * What memory says, at once; undefined if the sidecar has to be asked.
   * @throws TollgateError for a question that is wrong, and for a client that is closed; the signal's reason.
   */
  const recall = <Result>(
    { customer, minRevision = 0 }: Pick<Question, 'customer' | 'minRevision'>,
    signal: AbortSignal | undefined,
    from: (remembered: Remembered) => Result | undefined,
  ): Result | undefined => {
    checkId('customer', customer)
    checkCount('minRevision', minRevision)
    signal?.throwIfAborted()
    connection.ensureOpen()
    const remembered = memory?.find(customer, minRevision)
    return remembered && from(remembered)
  }

  /** The sidecar's answer: asked once more, for the revision that the application knows of, where the sidecar is behind that. */
  const ask = async <Response>(
    { customer, minRevision = 0 }: Pick<Question, 'customer' | 'minRevision'>,
    { signal, timeoutMs: within = timeoutMs }: CallOptions,
    call: (customerId: string, minRevision: bigint) => Parameters<typeof connection.call<Response>>[0],
    /** Undefined for an answer that is not made from a set. */
    versionOf: (response: Response) => Version | undefined,
  ): Promise<Response> => {
    const untilMs = performance.now() + within
    const newerThan = (response: Response): number => {
      const version = versionOf(response)
      return version ? (memory?.newerThan(customer, version) ?? 0) : 0
    }
    const response = await connection.call(call(customer, BigInt(minRevision)), within, signal)
    const newer = newerThan(response)
    if (newer === 0) return response
    const again = await connection.call(call(customer, BigInt(newer)), untilMs - performance.now(), signal)
    newerThan(again)
    return again
  }

  const askCheck = async (question: Question, settings: CallOptions): Promise<Decided> => {
    const { customer, entitlement, amount = 1 } = question
    const response = await ask<CheckEntitlementResponse>(
      question,
      settings,
      (customerId, minRevision) => (service, metadata, options, done) =>
        service.checkEntitlement({ tenantId, storefrontId, customerId, entitlement, amount: BigInt(amount), minRevision }, metadata, options, done),
      ({ reason, revision, asOf }) =>
        reason === wireReasons.fallback
          ? undefined
          : { customerKnown: reason !== wireReasons.customer_unknown, revision: Number(revision), asOfMs: Number(asOf ?? 0) },
    )
    const decided = readAnswer(response, systemClock.nowMs())
    memory?.hear(customer, entitlement, decided)
    return decided
  }
  /** Without a turn of the event loop, if memory answers: most checks are of that kind. */
  const check: Tollgate['check'] = (question, settings = {}) => {
    const { entitlement, amount = 1 } = question
    try {
      checkId('entitlement', entitlement)
      checkCount('amount', amount)
      const known = recall(question, settings.signal, (remembered) => answerRemembered(remembered, entitlement, amount))
      return known ? Promise.resolve(known) : unlessKnown(onUnknown, () => askCheck(question, settings))
    } catch (error) {
      return Promise.reject(error)
    }
  }
  const counting = createCounting({
    connection,
    tenantId,
    storefrontId,
    timeoutMs,
    onCount: (customerId, entitlement, decided) => {
      memory?.hear(customerId, entitlement, decided)
    },
  })
  const batches = createBatches(counting)
  const consume = (use: Use, { batchMs, ...options }: ConsumeOptions): Promise<Decided & Consumed> =>
    batchMs === undefined
      ? counting.consume(use, options)
      : batches.consume(use, batchMs, { timeoutMs: options.timeoutMs ?? timeoutMs, signal: options.signal })

  return {
    check,
    consume: (use, settings = {}) => unlessKnown(onUnknown, () => consume(use, settings)),
    reserve: (use, settings = {}) => counting.reserve(use, settings),
    release: (places, settings = {}) => counting.release(places, settings),
    list: async (question, settings = {}) => {
      const known = recall(question, settings.signal, (remembered) => (remembered.readings ? undefined : holdingsFrom(remembered)))
      if (known) return known
      const response = await ask<ListEntitlementsResponse>(
        question,
        settings,
        (customerId, minRevision) => (service, metadata, options, done) =>
          service.listEntitlements({ tenantId, storefrontId, customerId, minRevision }, metadata, options, done),
        ({ customerKnown, revision, asOf }) => ({ customerKnown, revision: Number(revision), asOfMs: Number(asOf ?? 0) }),
      )
      return readHoldings(response)
    },
    watch: async function* ({ customer }, { signal } = {}) {
      const customerId = checkId('customer', customer)
      for await (const response of watchHoldings(connection, { tenantId, storefrontId, customerId, minRevision: 0n }, signal)) yield readHoldings(response)
    },
    close: () => {
      memory?.close()
      connection.close()
    },
  }
}
