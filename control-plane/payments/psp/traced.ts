/** A provider whose every call is a span. The spans say which operation it was and how it ended: no amount, token or reference. */
import { currentTracer, type OpenSpan, traced } from '../../../common/tracing.ts'
import type { ChargeOutcome, InquiryOutcome, Psp, RefundOutcome } from './psp.ts'

type Outcome = ChargeOutcome | InquiryOutcome | RefundOutcome

const note = (span: OpenSpan, outcome: Outcome): void => {
  span.set({ 'tollgate.psp.outcome': outcome.status })
  if (outcome.status === 'declined') span.set({ 'tollgate.psp.decline_class': outcome.declineClass })
  // A decline is an answer; these two are calls that brought none.
  if (outcome.status === 'unknown' || outcome.status === 'not_sent') span.fail(outcome.status)
}

/** The same provider, if nothing is traced. */
export const tracedPsp = (psp: Psp, provider: string): Psp => {
  if (!currentTracer()) return psp
  const call = <T>(operation: string, work: () => Promise<T>, outcomeOf: (result: T) => Outcome | undefined): Promise<T> =>
    traced(
      { name: `psp ${operation}`, kind: 'client', attributes: { 'tollgate.psp.provider': provider, 'tollgate.psp.operation': operation } },
      async (span) => {
        const result = await work()
        const outcome = outcomeOf(result)
        if (outcome) note(span, outcome)
        return result
      },
    )
  const itself = <T extends Outcome>(outcome: T) => outcome
  return {
    ...psp,
    charge: (request) => call('charge', () => psp.charge(request), itself),
    inquire: (charge) => call('inquire', () => psp.inquire(charge), itself),
    complete: (charge, details) => call('complete', () => psp.complete(charge, details), itself),
    capture: (reference, charge) => call('capture', () => psp.capture(reference, charge), itself),
    release: (reference, charge) => call('release', () => psp.release(reference, charge), itself),
    cancel: (reference, charge) => call('cancel', () => psp.cancel(reference, charge), itself),
    refund: (request) => call('refund', () => psp.refund(request), itself),
    inquireRefund: (request) => call('inquire refund', () => psp.inquireRefund(request), itself),
    lookUp: (pspReference) =>
      call(
        'look up',
        () => psp.lookUp(pspReference),
        (found) => found?.outcome,
      ),
  }
}
