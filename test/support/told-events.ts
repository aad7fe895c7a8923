/** Compares what was told with what is stored: every change has its event once, and nothing else was told. */
import type { ExecutionContext } from 'ava'
import type { Payment } from '../../control-plane/schemas/payment.ts'
import type { Subscription } from '../../control-plane/schemas/subscription.ts'
import type { HttpClient } from './http-client.ts'

export interface ToldEvent {
  id: string
  type: string
  subject: string
  sequence: string
}

/** The whole log, page by page. */
export const readLog = async (api: HttpClient): Promise<ToldEvent[]> => {
  const events: ToldEvent[] = []
  let path = '/events?limit=500'
  for (;;) {
    const { body } = await api.get(path)
    events.push(...body.data)
    if (body.nextCursor === undefined) return events
    path = `/events?limit=500&cursor=${body.nextCursor}`
  }
}

/** The first time that each event was seen: repeats are allowed, and come under the same id. */
export const firstSeen = <E extends ToldEvent>(events: readonly E[]): E[] => {
  const seen = new Set<string>()
  return events.filter(({ id }) => !seen.has(id) && seen.add(id))
}

/** Events of each subject are there once, in their order; and without a gap, unless only some types were asked for. */
export const inOrderOnce = (t: ExecutionContext, events: readonly ToldEvent[], what: string, isWhole = true): void => {
  for (const [subject, own] of Map.groupBy(events, ({ subject: of }) => of)) {
    const sequences = own.map(({ sequence }) => Number(sequence))
    const [first = 0] = sequences
    t.deepEqual(sequences, isWhole ? sequences.map((_, n) => first + n) : sequences.toSorted((a, b) => a - b), `${what}: ${subject}`)
  }
  t.is(new Set(events.map(({ id }) => id)).size, events.length, what)
}

const timeline: Record<string, string> = {
  created: 'subscription.created',
  activated: 'subscription.activated',
  canceled: 'subscription.canceled',
  incomplete_expired: 'subscription.expired',
  cancel_scheduled: 'subscription.cancel_scheduled',
}

const count = <T>(items: readonly T[]): Map<T, number> => new Map([...Map.groupBy(items, (item) => item)].map(([item, all]) => [item, all.length]))

/** @param events the log. */
export const toldAsStored = (t: ExecutionContext, events: readonly ToldEvent[], subscriptions: readonly Subscription[], payments: readonly Payment[]): void => {
  const of = (subject: string): Map<string, number> => count(events.filter((event) => event.subject === subject).map(({ type }) => type))
  for (const { id, events: own } of subscriptions) {
    const wanted = count(own.flatMap(({ type }) => timeline[type] ?? []))
    const told = of(`/subscriptions/${id}`)
    for (const type of Object.values(timeline)) t.is(told.get(type) ?? 0, wanted.get(type) ?? 0, `${id}: ${type}`)
  }
  for (const { id, status, attempts, refunds } of payments) {
    const told = of(`/payments/${id}`)
    const isPaid = status === 'succeeded'
    t.is(told.get('invoice.created'), 1, id)
    t.is(told.get('invoice.paid') ?? 0, isPaid ? 1 : 0, id)
    t.is(told.get('payment.succeeded') ?? 0, isPaid && attempts.some((one) => one.status === 'succeeded') ? 1 : 0, id)
    t.is(told.get('payment.canceled') ?? 0, status === 'canceled' ? 1 : 0, id)
    t.is(told.get('payment.refunded') ?? 0, refunds.filter((refund) => refund.status === 'succeeded').length, id)
  }
  const known = new Set([...subscriptions.map(({ id }) => `/subscriptions/${id}`), ...payments.map(({ id }) => `/payments/${id}`)])
  const invented = events.filter(({ subject }) => /^\/(subscriptions|payments)\//.test(subject) && !known.has(subject))
  t.deepEqual(invented, [], 'nothing is told of what is not there')
}
