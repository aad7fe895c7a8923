import {
  type CheckEntitlementResponse,
  type ExplainEntitlementResponse,
  Kind,
  type Offer,
  Reason,
  type Source,
} from '../proto/gen/entitlement/v1/entitlement.ts'

const words: Record<Reason, string> = {
  [Reason.REASON_UNSPECIFIED]: 'the sidecar gave no reason',
  [Reason.REASON_GRANTED]: 'granted',
  [Reason.REASON_NOT_GRANTED]: 'nothing that the customer bought contains it',
  [Reason.REASON_DISABLED]: 'the bundle switches it off',
  [Reason.REASON_EXPIRED]: 'its time is over',
  [Reason.REASON_LIMIT_EXCEEDED]: 'the limit is reached',
  [Reason.REASON_CUSTOMER_UNKNOWN]: 'the sidecar knows no such customer; check the spelling of tenant, storefront and customer',
  [Reason.REASON_SUBSCRIPTION_INACTIVE]: 'the subscription that contains it gives no access at present',
  [Reason.REASON_FALLBACK]: 'the configured fallback was used',
  [Reason.REASON_BLOCKED]: 'a grant by hand denies it',
  [Reason.UNRECOGNIZED]: 'the sidecar gave a reason that this version does not know',
}

/** A sidecar's answer as a person wants to read it; several lines. */
export const describeAnswer = (answer: CheckEntitlementResponse): string => {
  const lines = [`${answer.allowed ? 'ALLOWED' : 'DENIED'}: ${words[answer.reason]}`]
  if (answer.kind === Kind.KIND_VALUE && answer.allowed) lines.push(`  value      ${answer.value}`)
  if (answer.unlimited) lines.push(`  used       ${answer.used}, unlimited`)
  else if (answer.limit > 0n || answer.used > 0n) lines.push(`  used       ${answer.used} of ${answer.limit}, ${answer.remaining} left`)
  if (answer.resetsAt) lines.push(`  resets     ${answer.resetsAt.toISOString()}`)
  if (answer.validUntil) lines.push(`  until      ${answer.validUntil.toISOString()}: the end of the period and its grace, if nothing changes before`)
  if (answer.bundleId) lines.push(`  through    bundle ${answer.bundleId}, subscription ${answer.subscriptionId}`)
  const asOf = answer.asOf?.getTime() ? `last known to be current at ${answer.asOf.toISOString()} (system time)` : 'never known to be current'
  lines.push(`  revision   ${answer.revision}, ${asOf}${answer.stale ? ' (STALE)' : ''}`)
  return lines.join('\n')
}

const day = (instant: Date | undefined): string => instant?.toISOString().slice(0, 10) ?? 'no day'

const grantOf = ({ kind, limit, unlimited, value }: Offer): string => {
  if (kind === Kind.KIND_FLAG) return 'grants it'
  if (kind === Kind.KIND_VALUE) return `says ${value}`
  return unlimited ? 'grants it without limit' : `grants ${limit}`
}

/** What no subscription gives, since those are told with their periods. */
const byHand = ({ source, id, mode, from, until }: Source): string =>
  `  by hand    ${id} (${source}, ${mode}), from ${day(from)}${until ? ` to ${day(until)}` : ''}`

/** Describes what the answer was based on: what the customer holds, and what they could buy. */
export const describeExplanation = ({ holdings, offers, sources }: ExplainEntitlementResponse): string => {
  const lines = holdings.map(({ subscriptionId, bundleId, status, periodStart, periodEnd, paymentId, paymentStatus }) => {
    const paid = paymentId ? `payment ${paymentId}, ${paymentStatus}` : 'without a payment'
    return `  held       ${subscriptionId} of ${bundleId}, ${status}, ${day(periodStart)} to ${day(periodEnd)}, ${paid}`
  })
  lines.push(...sources.filter(({ source }) => source !== 'subscription').map(byHand))
  lines.push(...offers.map((offer) => `  offered    ${offer.bundleId} (${offer.name}) ${grantOf(offer)}`))
  return lines.length > 0 ? lines.join('\n') : '  held       nothing that contains it, and no bundle of the storefront offers it'
}
