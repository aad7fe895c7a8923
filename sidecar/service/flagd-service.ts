/**
 * `flagd.evaluation.v1` and `.v2`, so that any flagd provider of OpenFeature reads entitlements as flags. The two differ
 * only in that v2 can leave a value out; v1 then says its type's nothing, and providers of both go by the reason.
 * https://flagd.dev/reference/specifications/providers/
 */
import type { handleUnaryCall, Metadata, ServerWritableStream } from '@grpc/grpc-js'
import { status as Status } from '@grpc/grpc-js'
import type { Clock } from '../../common/clock.ts'
import type { EntitlementSet } from '../../common/entitlements/model.ts'
import type { Faults } from '../../common/faults.ts'
import * as v1 from '../../proto/gen/flagd/evaluation/v1/evaluation.ts'
import * as v2 from '../../proto/gen/flagd/evaluation/v2/evaluation.ts'
import type { Callers } from '../policy/callers.ts'
import type { Replica } from '../replica/replica.ts'
import type { Flag, Flags } from './flags.ts'
import { toObject } from './flags.ts'
import { deadlineOf, first, type ServiceError, toServiceError } from './service-error.ts'

/** Changes are told together, so often. */
const TELL_EVERY_MS = 1_000
/** The most keys in one message; a client that hears of so many may as well look at all. */
const MAX_KEYS_TOLD = 1_000

interface Call {
  metadata: Metadata
  request: { flagKey: string; context: unknown }
  getDeadline(): Date | number
}

type Stream = ServerWritableStream<object, { type: string; data: Record<string, unknown> | undefined }>

export interface FlagdServiceOptions {
  flags: Flags
  callers: Callers
  replica: Pick<Replica, 'onAnyChange'>
  clock: Clock
  faults: Faults
}

export interface FlagdService {
  v1: v1.ServiceServer
  v2: v2.ServiceServer
  endStreams(): void
}

class WrongType extends Error {}

const boolean = ({ value }: Flag): boolean => {
  if (typeof value !== 'boolean') throw new WrongType('the entitlement is not a flag: request it as a number, string or object')
  return value
}
const string = ({ value }: Flag): string => {
  if (typeof value !== 'string') throw new WrongType('the entitlement is not a value: request it as a boolean, number or object')
  return value
}
const number = ({ value }: Flag): number => {
  if (typeof value !== 'number') throw new WrongType('the entitlement is not a quota or capacity: request it as a boolean, string or object')
  return value
}
const int = (flag: Flag): bigint => BigInt(number(flag))

const anyOf = (flag: Flag): v2.AnyFlag => {
  const { value, reason, variant, metadata } = flag
  const of =
    value === undefined
      ? undefined
      : typeof value === 'boolean'
        ? ({ $case: 'boolValue', value } as const)
        : typeof value === 'string'
          ? ({ $case: 'stringValue', value } as const)
          : ({ $case: 'doubleValue', value } as const)
  return { reason, variant, metadata, value: of }
}

export const createFlagdService = ({ flags, callers, replica, clock, faults }: FlagdServiceOptions): FlagdService => {
  const streams = new Set<Stream>()

  const fail = (error: unknown): ServiceError =>
    error instanceof WrongType ? { code: Status.INVALID_ARGUMENT, details: error.message } : toServiceError(error, faults)
  const evaluation = (call: Call) => ({
    method: 'flagd',
    key: call.request.flagKey,
    context: call.request.context,
    authorization: first(call.metadata, 'authorization'),
    traceparent: first(call.metadata, 'traceparent'),
    deadlineMs: deadlineOf(call, clock),
  })

  /** @param nothing what v1 says instead of a value. */
  const resolve =
    <T>(read: (flag: Flag) => T, nothing: T | undefined, noVariant: string | undefined) =>
    (call: Call, callback: (error: ServiceError | null, response?: object) => void): void => {
      flags
        .one(evaluation(call))
        .then((flag) => {
          const { reason, variant, metadata, value } = flag
          const isDefault = value === undefined
          // An object is the whole decision, whatever the kind.
          return { value: isDefault ? nothing : read(flag), reason, variant: variant ?? noVariant, metadata }
        })
        .then((response) => callback(null, response))
        .catch((error: unknown) => callback(fail(error)))
    }
  const resolveAll =
    (noVariant: string | undefined) =>
    (call: Call, callback: (error: ServiceError | null, response?: object) => void): void => {
      flags
        .all(evaluation(call))
        .then(({ flags: all }) =>
          callback(null, {
            flags: Object.fromEntries(all.map(({ key, ...flag }) => [key, { ...anyOf(flag), variant: flag.variant ?? noVariant }])),
            metadata: {},
          }),
        )
        .catch((error: unknown) => callback(fail(error)))
    }
  const object = (flag: Flag) => toObject(flag.decided)

  const say = (stream: Stream, event: Parameters<Stream['write']>[0]) => {
    try {
      stream.write(event)
    } catch (error) {
      faults.tell(error, 'a watcher could not be told about a change of flags')
    }
  }

  /** Keys that have changed since the last telling, by tenant. */
  let changed = new Map<string, Set<string>>()
  const note = (set: EntitlementSet) => {
    const keys = changed.get(set.tenantId) ?? new Set()
    changed.set(set.tenantId, keys)
    for (const { key } of set.grants) if (keys.size < MAX_KEYS_TOLD) keys.add(key)
  }
  /** Present while somebody listens: without it the feed need not bring what nobody asks about. */
  let stopListening: (() => void) | undefined
  const tell = setInterval(() => {
    const now = changed
    if (now.size === 0) return
    changed = new Map()
    for (const stream of streams) {
      const authorization = first(stream.metadata, 'authorization')
      const keys = [...now].flatMap(([tenantId, ofTenant]) => (callers.may(authorization, tenantId) ? [...ofTenant] : []))
      if (keys.length > 0) say(stream, { type: 'configuration_change', data: { flags: Object.fromEntries(keys.map((key) => [key, {}])) } })
    }
  }, TELL_EVERY_MS)
  tell.unref()

  const eventStream = (stream: Stream): void => {
    try {
      callers.checkKnown(first(stream.metadata, 'authorization'))
    } catch (error) {
      stream.emit('error', toServiceError(error, faults))
      return
    }
    streams.add(stream)
    stopListening ??= replica.onAnyChange(note)
    const end = () => {
      streams.delete(stream)
      if (streams.size > 0) return
      stopListening?.()
      stopListening = undefined
    }
    stream.on('cancelled', end)
    stream.on('close', end)
    say(stream, { type: 'provider_ready', data: undefined })
  }

  // Every call has the same shape; the generated types name each of them.
  const serviceOf = (nothings: { boolean?: boolean; string?: string; number?: number; int?: bigint; variant?: string }) => ({
    resolveBoolean: resolve(boolean, nothings.boolean, nothings.variant),
    resolveString: resolve(string, nothings.string, nothings.variant),
    resolveFloat: resolve(number, nothings.number, nothings.variant),
    resolveInt: resolve(int, nothings.int, nothings.variant),
    resolveObject: resolve(object, undefined, nothings.variant),
    resolveAll: resolveAll(nothings.variant) as unknown as handleUnaryCall<never, never>,
    eventStream,
  })

  return {
    v1: serviceOf({ boolean: false, string: '', number: 0, int: 0n, variant: '' }) as unknown as v1.ServiceServer,
    v2: serviceOf({}) as unknown as v2.ServiceServer,
    endStreams: () => {
      clearInterval(tell)
      stopListening?.()
      for (const stream of streams) stream.end()
      streams.clear()
    },
  }
}

export const flagdV1 = v1.ServiceService
export const flagdV2 = v2.ServiceService
