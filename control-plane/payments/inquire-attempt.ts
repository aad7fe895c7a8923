/** Finding out what became of an attempt that has no final outcome. */
import { isAppError } from '../../common/errors.ts'
import type { Attempt, Payment } from '../schemas/payment.ts'
import { update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import { nameOf, storeOutcome, unknownOutcome } from './attempt-outcome.ts'
import { claimForSending, recordInquiry, recordNeverArrived, recordOutcome, recordWatched } from './machine/attempts.ts'
import { openAccount } from './open-account.ts'
import { loadParties } from './parties.ts'
import type { ChargeOutcome, InquiryOutcome, Psp, PspAccess } from './psp/psp.ts'
import { sendCharge } from './send-charge.ts'

/** True if the same charge, sent again, can only bring the first one's outcome. */
const maySendAgain = (found: InquiryOutcome, psp: Psp, attempt: Attempt, now: Date): boolean =>
  found.status === 'not_found' || (found.status === 'cannot_tell' && now.getTime() - attempt.at.getTime() < psp.idempotencyMs)

/** An authorized amount is captured, unless nobody needs it any more. */
const wanted = ({ abandoned, status }: Payment): 'release' | 'capture' => (abandoned || status === 'succeeded' ? 'release' : 'capture')

/** A resend that was not accepted says nothing about the first send. */
const saysNothing = (again: ChargeOutcome): boolean =>
  again.status === 'not_sent' ||
  (again.status === 'declined' && again.pspReference === undefined && ['technical', 'config', 'credential'].includes(again.declineClass))

/** The same charge under the same reference; unless the attempt was resolved, or is not wanted any more, since it was read. */
const sendAgain = async (of: TenantScope, payment: Payment, attempt: Attempt, opened: PspAccess): Promise<void> => {
  const { payments } = of.storage
  const wait = 'psp' in opened ? opened.timeoutMs : 0
  const claim = claimForSending(await payments.get(payment._id), attempt.id, of.attemptRepairAt(wait))
  if (!claim) return
  const claimed = await payments.replace(claim).catch((error: unknown) => {
    // Somebody else has just changed it: whoever looks next sees what is to be done.
    if (isAppError(error, 'revision_conflict')) return undefined
    throw error
  })
  if (!claimed) return
  const again = (await sendCharge(opened, await loadParties(of, claimed), claimed, attempt)) ?? unknownOutcome('account_or_token_removed')
  await storeOutcome(of, claimed, attempt.id, saysNothing(again) ? unknownOutcome('pspCode' in again && again.pspCode ? again.pspCode : again.status) : again)
}

/**
 * Asks the PSP what became of an attempt that has no final outcome. If the PSP never saw it, or cannot be asked, the
 * same attempt is sent again under the same reference, which is harmless even when the first one is still on its way;
 * unless nobody wants it any more.
 */
export const inquireAttempt = async (of: TenantScope, payment: Payment, attempt: Attempt): Promise<Payment> => {
  const { payments } = of.storage
  const opened = await openAccount(of, attempt.account)
  const found: InquiryOutcome = 'psp' in opened ? await opened.psp.inquire(nameOf(payment, attempt)) : unknownOutcome('account_unusable')
  const now = of.now()
  if (found.status === 'authorized' && 'psp' in opened) {
    const what = wanted(payment)
    await storeOutcome(of, payment, attempt.id, found)
    await storeOutcome(
      of,
      payment,
      attempt.id,
      await opened.psp[what](`${attempt.id}-${what}`, nameOf(payment, { ...attempt, pspReference: found.pspReference })),
    )
  } else if (found.status !== 'not_found' && found.status !== 'cannot_tell') await storeOutcome(of, payment, attempt.id, found)
  else if (found.status === 'cannot_tell' && attempt.status === 'authorized' && 'psp' in opened) {
    // It was asked for already, and whether that arrived cannot be told: again under the same key.
    const what = wanted(payment)
    await storeOutcome(of, payment, attempt.id, await opened.psp[what](`${attempt.id}-${what}`, nameOf(payment, attempt)))
  } else if (payment.abandoned) {
    await update(
      payments,
      payment._id,
      (latest) =>
        // Only a provider that can be asked can say that it has never seen it.
        (found.status === 'not_found' ? recordNeverArrived(latest, attempt.id, now, of.repairAt()) : undefined) ??
        recordOutcome(latest, attempt.id, unknownOutcome('not_seen_yet'), now, of.repairAt()),
    )
  } else if ('psp' in opened && attempt.pspReference == null && maySendAgain(found, opened.psp, attempt, now)) {
    await sendAgain(of, payment, attempt, opened)
  } else await storeOutcome(of, payment, attempt.id, unknownOutcome('cannot_be_asked'))
  // What a crash left as sent is as good as sent now: its inquiries begin.
  if (attempt.status === 'sent') return payments.get(payment._id)
  return update(payments, payment._id, (latest) => recordInquiry(latest, attempt.id, now, of.repairAt()))
}

/**
 * Looks at an attempt that was given up and may still bring money: only the money would be news. An amount
 * that is only authorized is released.
 */
export const lookForLateMoney = async (of: TenantScope, payment: Payment, attempt: Attempt): Promise<Payment> => {
  const opened = await openAccount(of, attempt.account)
  const found: InquiryOutcome = 'psp' in opened ? await opened.psp.inquire(nameOf(payment, attempt)) : unknownOutcome('account_unusable')
  if (found.status === 'authorized' && 'psp' in opened) {
    await opened.psp.release(`${attempt.id}-release`, nameOf(payment, { ...attempt, pspReference: found.pspReference }))
  }
  if (found.status === 'succeeded') return storeOutcome(of, payment, attempt.id, found)
  return update(of.storage.payments, payment._id, (latest) => recordWatched(latest, attempt.id, of.now(), of.repairAt()), payment)
}
