/** CloudEvents 1.0 that tell of uses: what is checked here holds for each alone, so that a bad one rejects no other. */
import { CloudEvent } from 'cloudevents'
import { DAY_MS } from '../../common/durations.ts'
import type { ErrorCode } from '../../common/errors.ts'
import { ID, isNormal, z } from './fields.ts'
import { under } from './problem.ts'

/** Clocks of servers that follow NTP are apart by milliseconds; by so much, one of them is wrong. */
const AHEAD_MS = 5 * 60_000
const OLDEST_MS = 35 * DAY_MS

/** `application/cloudevents+json` is one event, and `application/cloudevents-batch+json` a list. */
export const eventMediaTypes = ['application/cloudevents+json', 'application/cloudevents-batch+json'] as const
export const MAX_EVENTS = 1_000

const id = z.string().regex(ID).refine(isNormal)

/** The library makes up an id, a version and a time where there is none. */
const given = z.looseObject({ specversion: z.literal('1.0'), id: z.string().min(1) })

const use = z.object({
  subject: id,
  type: z.string().min(1).max(128),
  data: z.object({ storefrontId: id, amount: z.int() }),
})

export interface UsageEvent {
  source: string
  id: string
  storefrontId: string
  customerId: string
  entitlement: string
  amount: number
  /** Not later than now: a clock that is ahead tells of what has happened. */
  at: Date
}

export interface Rejection {
  code: ErrorCode
  /** Of the event, such as `data.amount`. */
  field: string
}

const bad = (field: string): Rejection => ({ code: 'invalid_request', field })

const fieldOf = (error: z.ZodError): string => error.issues[0]?.path.reduce<string>(under, '') || 'data'

/** The attribute that the library finds wrong. */
const attributeOf = (error: unknown, event: object): string => {
  const [first] = (error as { errors?: { instancePath?: string; params?: { missingProperty?: string } }[] }).errors ?? []
  const named = first?.params?.missingProperty ?? first?.instancePath?.slice(1)
  return named || (Object.keys(event).find((name) => !/^[a-z0-9]+$/.test(name)) ?? 'specversion')
}

const timeOf = (time: string | null | undefined, now: Date): Date | undefined => {
  if (time === undefined || time === null) return now
  const ms = Date.parse(time)
  if (!(ms <= now.getTime() + AHEAD_MS && ms >= now.getTime() - OLDEST_MS)) return undefined
  return new Date(Math.min(ms, now.getTime()))
}

/** @param now the tenant's time. */
export const readUsageEvent = (raw: unknown, now: Date): UsageEvent | Rejection => {
  const checked = given.safeParse(raw)
  if (!checked.success) return bad(fieldOf(checked.error))
  let event: CloudEvent<unknown>
  try {
    event = new CloudEvent<unknown>(checked.data)
  } catch (error) {
    return bad(attributeOf(error, checked.data))
  }
  const parsed = use.safeParse(event)
  if (!parsed.success) return bad(fieldOf(parsed.error))
  const at = timeOf(checked.data.time as string | null | undefined, now)
  if (!at) return bad('time')
  const { subject, type, data } = parsed.data
  return { source: event.source, id: event.id, storefrontId: data.storefrontId, customerId: subject, entitlement: type, amount: data.amount, at }
}
