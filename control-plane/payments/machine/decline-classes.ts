/**
 * The consequences of a decline for the next attempt. PSPs say "no" in hundreds of codes; each adapter's mapping turns its own
 * into one of these classes, and nothing else in Tollgate knows a PSP's code.
 */
import type { DeclineClass } from '../../schemas/payment.ts'

interface Consequence {
  /** May another PSP be tried at once? `once`: one other, since an issuer that is asked too often says no for good. */
  otherPspNow: 'yes' | 'once' | 'no'
  /** May the same PSP be tried again later, with nothing changed on the customer's side? */
  laterUnchanged: boolean
  /** True: access is left as it is for a while, since nobody has refused the customer. */
  accessUnchanged: boolean
}

export const consequences: Record<DeclineClass, Consequence> = {
  technical: { otherPspNow: 'yes', laterUnchanged: true, accessUnchanged: true },
  issuer_soft: { otherPspNow: 'once', laterUnchanged: true, accessUnchanged: false },
  funds: { otherPspNow: 'no', laterUnchanged: true, accessUnchanged: false },
  action_required: { otherPspNow: 'no', laterUnchanged: false, accessUnchanged: false },
  credential: { otherPspNow: 'no', laterUnchanged: false, accessUnchanged: false },
  hard: { otherPspNow: 'no', laterUnchanged: false, accessUnchanged: false },
  config: { otherPspNow: 'yes', laterUnchanged: true, accessUnchanged: true },
}
