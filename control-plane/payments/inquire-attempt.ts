/** Finding out what became of an attempt that has no final outcome. */
import { AppError } from '../../common/errors.ts'
import { keys } from '../keys.ts'
import type { Attempt, Payment } from '../schemas/payment.ts'
import type { Tenant } from '../schemas/tenant.ts'
import { repairTime, type Services, tenantNow } from '../services.ts'
import { update } from '../storage/update.ts'
import { recordInquiry, recordNeverArrived, recordOutcome } from './machine/attempts.ts'
import { isOpen } from './machine/state.ts'
import type { InquiryOutcome, Psp } from './psp/psp.ts'
import { loadParties, openAccount } from './routing/load-route.ts'
import { nameOf, sendCharge, storeOutcome, unknown } from './send-charge.ts'

/** Whether the same charge, sent again, can only bring the first one's outcome. */
const maySendAgain = (found: InquiryOutcome, psp: Psp, attempt: Attempt, now: Date): boolean =>
  found.status === 'not_found' || (found.status === 'cannot_tell' && now.getTime() - attempt.at.getTime() < psp.idempotencyMs)

/**
 * Asks the PSP what became of an attempt that has no final outcome. If the PSP never saw it, or cannot be asked, the
 * same attempt is sent again under the same reference, which is harmless even when the first one is still on its way;
 * unless nobody wants it any more.
 */
export const inquireAttempt = async (services: Services, tenant: Tenant, payment: Payment, attempt: Attempt): Promise<Payment> => {
  const { payments } = services.storage
  const opened = await openAccount(services, tenant, attempt.account)
  const found: InquiryOutcome = 'psp' in opened ? await opened.psp.inquire(nameOf(payment, attempt)) : unknown('account_unusable')
  const now = tenantNow(services, tenant)
  if (found.status === 'authorized' && 'psp' in opened) {
    const what = payment.abandoned || payment.status === 'succeeded' ? 'release' : 'capture'
    await storeOutcome(services, tenant, payment, attempt.id, found)
    await storeOutcome(
      services,
      tenant,
      payment,
      attempt.id,
      await opened.psp[what](`${attempt.id}-${what}`, nameOf(payment, { ...attempt, pspReference: found.pspReference })),
    )
  } else if (found.status !== 'not_found' && found.status !== 'cannot_tell') await storeOutcome(services, tenant, payment, attempt.id, found)
  else if (payment.abandoned) {
    await update(
      payments,
      payment._id,
      (latest) =>
        // Only a provider that can be asked can say that it has never seen it.
        (found.status === 'not_found' ? recordNeverArrived(latest, attempt.id, now, repairTime(services)) : undefined) ??
        recordOutcome(latest, attempt.id, unknown('not_seen_yet'), now, repairTime(services)),
    )
  } else if ('psp' in opened && attempt.pspReference == null && maySendAgain(found, opened.psp, attempt, now)) {
    // That nothing could be sent now says nothing of what was sent before.
    const again = (await sendCharge(opened, await loadParties(services, tenant, payment), payment, attempt)) ?? unknown('account_or_token_removed')
    await storeOutcome(services, tenant, payment, attempt.id, again.status === 'not_sent' ? unknown(again.pspCode) : again)
  } else await storeOutcome(services, tenant, payment, attempt.id, unknown('cannot_be_asked'))
  // What a crash left as sent is as good as sent now: its inquiries begin.
  if (attempt.status === 'sent') return payments.get(payment._id)
  return update(payments, payment._id, (latest) => recordInquiry(latest, attempt.id, now, repairTime(services)))
}

/**
 * The customer has come back from where they had to act: what they bring is handed to the provider, and what became of
 * the attempt is asked for at once.
 * @throws AppError `not_found`.
 */
export const completeAttempt = async (
  services: Services,
  tenant: Tenant,
  paymentId: string,
  attemptId: string,
  details: Record<string, string>,
): Promise<Payment> => {
  const payment = await services.storage.payments.get(keys.payment(tenant.tenantId, paymentId))
  const attempt = payment.attempts.find(({ id }) => id === attemptId)
  if (!attempt) throw new AppError('not_found', 'the payment has no such attempt')
  if (!isOpen(attempt)) return payment
  const opened = await openAccount(services, tenant, attempt.account)
  const outcome = 'psp' in opened ? await opened.psp.complete(nameOf(payment, attempt), details) : unknown('account_unusable')
  return storeOutcome(services, tenant, payment, attempt.id, outcome)
}
