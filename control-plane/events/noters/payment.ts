import type { Attempt, Payment } from '../../schemas/payment.ts'
import type { EventType } from '../event-types.ts'
import { type KeyedFact, type Noter, noteKeyed, subjectPath } from './noter.ts'

const timeOf = ({ resolvedAt, at }: Attempt): Date => resolvedAt ?? at

const disputeTypes = { open: 'payment.disputed', won: 'payment.dispute_won', lost: 'payment.dispute_lost' } as const satisfies Record<string, EventType>

const factsOf = (payment: Payment): KeyedFact[] => {
  const { status, attempts, refunds, disputes = [], round, createdAt, abandoned } = payment
  const last = attempts.at(-1)
  const settledAt = last ? timeOf(last) : createdAt
  const facts: KeyedFact[] = [{ key: 'created', type: 'invoice.created', time: createdAt }]
  for (const attempt of attempts) {
    if (attempt.status === 'requires_action') facts.push({ key: `action ${attempt.id}`, type: 'payment.action_required', time: timeOf(attempt) })
    if (attempt.status === 'unknown') facts.push({ key: `unknown ${attempt.id}`, type: 'payment.unknown', time: timeOf(attempt) })
  }
  if (status === 'failed') facts.push({ key: `failed ${round}`, type: 'payment.failed', time: settledAt })
  if (status === 'canceled') facts.push({ key: 'canceled', type: 'payment.canceled', time: settledAt })
  // What has failed stays so when the purchase is off; it is owed no longer all the same.
  if (status === 'canceled' || (status === 'failed' && abandoned)) facts.push({ key: 'voided', type: 'invoice.voided', time: settledAt })
  if (status === 'succeeded') {
    const paid = attempts.find((attempt) => attempt.status === 'succeeded')
    const time = paid ? timeOf(paid) : createdAt
    if (paid) facts.push({ key: 'succeeded', type: 'payment.succeeded', time })
    facts.push({ key: 'paid', type: 'invoice.paid', time })
  }
  for (const { id, status: become, tries = 0, at } of refunds) {
    if (become === 'succeeded') facts.push({ key: `refunded ${id}`, type: 'payment.refunded', time: at })
    if (become === 'failed' || tries > 0) facts.push({ key: `refund failed ${id} ${tries}`, type: 'payment.refund_failed', time: at })
  }
  for (const { id, status: become, changedAt } of disputes) facts.push({ key: `dispute ${id} ${become}`, type: disputeTypes[become], time: changedAt })
  return facts
}

export const paymentNoter: Noter<Payment> = {
  subject: ({ id }) => subjectPath('payments', id),
  about: ({ storefrontId, customerId }) => ({ storefrontId, customerId }),
  note: (payment, told, since) => noteKeyed(factsOf(payment), told, since),
}
