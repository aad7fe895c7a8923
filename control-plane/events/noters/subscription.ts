import type { Subscription, SubscriptionEvent } from '../../schemas/subscription.ts'
import type { EventType } from '../event-types.ts'
import { type Fact, type Noter, subjectPath } from './noter.ts'

/** Entries of the timeline that the world is told of, and as what. */
const typesOf: Readonly<Record<string, readonly EventType[]>> = {
  created: ['subscription.created'],
  trial_started: ['subscription.trial_started'],
  trial_ending: ['subscription.trial_ending'],
  activated: ['subscription.activated'],
  renewal_upcoming: ['subscription.renewal_upcoming'],
  renewed: ['subscription.renewed'],
  recovered: ['subscription.recovered', 'subscription.renewed'],
  change_scheduled: ['subscription.change_scheduled'],
  change_taken_back: ['subscription.change_taken_back'],
  change_declined: ['subscription.change_declined'],
  changed: ['subscription.changed'],
  moved_to_version: ['subscription.changed'],
  past_due: ['subscription.past_due'],
  suspended: ['subscription.suspended'],
  paused: ['subscription.paused'],
  resumed: ['subscription.resumed'],
  resume_declined: ['subscription.resume_declined'],
  collection_paused: ['subscription.collection_paused'],
  collection_resumed: ['subscription.collection_resumed'],
  cancel_scheduled: ['subscription.cancel_scheduled'],
  cancel_taken_back: ['subscription.cancel_taken_back'],
  canceled: ['subscription.canceled'],
  incomplete_expired: ['subscription.expired'],
}

interface Told {
  /** Entries of the timeline that were looked at. */
  events: number
  /** When the current period began: ISO 8601. */
  period: string
}

const isTold = (told: unknown): told is Told => typeof told === 'object' && told !== null && 'events' in told

const beginsPeriod = ({ type, paymentId }: SubscriptionEvent): boolean =>
  ['created', 'trial_started', 'activated', 'renewed', 'recovered', 'resumed', 'resuming'].includes(type) || (type === 'changed' && paymentId !== undefined)

const SAME_SECOND_MS = 1_000

export const subscriptionNoter: Noter<Subscription> = {
  subject: ({ id }) => subjectPath('subscriptions', id),
  about: ({ storefrontId, customerId }) => ({ storefrontId, customerId }),
  note: (subscription, told, since) => {
    const { events, eventsMade, currentPeriod, status } = subscription
    const period = currentPeriod.start.toISOString()
    const isNew = (event: SubscriptionEvent): boolean => (isTold(told) ? event.seq >= told.events : since === undefined || event.at > since)
    const news = events.filter(isNew)
    const facts = news.flatMap(({ type, at }): Fact[] => (typesOf[type] ?? []).map((name) => ({ type: name, time: at })))
    // The next period of what is free, or not charged now, begins without a word in the timeline.
    const turned = isTold(told) && status === 'active' && told.period < period && !news.some(beginsPeriod)
    return {
      told: { events: eventsMade, period } satisfies Told,
      facts: turned ? [...facts, { type: 'subscription.renewed', time: currentPeriod.start }] : facts,
    }
  },
  settle: (waiting, facts) => {
    const recovered = facts.find(({ type }) => type === 'subscription.recovered')
    const isTakenBack = ({ type, time }: { type: string; time: string }): boolean =>
      type === 'subscription.past_due' && recovered !== undefined && recovered.time.getTime() - Date.parse(time) < SAME_SECOND_MS
    if (!waiting.some(isTakenBack)) return { stays: waiting.map(() => true), facts: [...facts] }
    return { stays: waiting.map((one) => !isTakenBack(one)), facts: facts.filter((fact) => fact !== recovered) }
  },
  isAtRest: ({ repairAt }) => repairAt === undefined,
}
