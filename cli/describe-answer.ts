import { type CheckEntitlementResponse, Kind, Reason } from '../proto/gen/entitlement/v1/entitlement.ts'

const words: Record<Reason, string> = {
  [Reason.REASON_UNSPECIFIED]: 'the sidecar gave no reason',
  [Reason.REASON_GRANTED]: 'granted',
  [Reason.REASON_NOT_GRANTED]: 'nothing the customer bought has it',
  [Reason.REASON_DISABLED]: 'it is switched off in the bundle',
  [Reason.REASON_EXPIRED]: 'its time is over',
  [Reason.REASON_LIMIT_EXCEEDED]: 'the limit is reached',
  [Reason.REASON_CUSTOMER_UNKNOWN]: 'the sidecar knows no such customer; is the tenant, storefront or customer spelt otherwise?',
  [Reason.REASON_SUBSCRIPTION_INACTIVE]: 'the subscription that has it gives no access at present',
  [Reason.REASON_FALLBACK]: 'the configured fallback answered',
  [Reason.UNRECOGNIZED]: 'a reason that this version does not know',
}

/** A sidecar's answer as a person wants to read it; several lines. */
export const describeAnswer = (answer: CheckEntitlementResponse): string => {
  const lines = [`${answer.allowed ? 'ALLOWED' : 'DENIED'}: ${words[answer.reason]}`]
  if (answer.kind === Kind.KIND_VALUE && answer.allowed) lines.push(`  value      ${answer.value}`)
  if (answer.unlimited) lines.push(`  used       ${answer.used}, unlimited`)
  else if (answer.limit > 0n || answer.used > 0n) lines.push(`  used       ${answer.used} of ${answer.limit}, ${answer.remaining} left`)
  if (answer.resetsAt) lines.push(`  resets     ${answer.resetsAt.toISOString()}`)
  if (answer.validUntil) lines.push(`  until      ${answer.validUntil.toISOString()}, unless something happens before`)
  if (answer.bundleId) lines.push(`  through    bundle ${answer.bundleId}, subscription ${answer.subscriptionId}`)
  lines.push(
    `  revision   ${answer.revision}, known to be current at ${answer.asOf?.toISOString() ?? 'no time'} (system time)${answer.stale ? ' (STALE)' : ''}`,
  )
  return lines.join('\n')
}
