import type { Unknown } from './answer.ts'
import { isUnknown } from './errors.ts'

/** What is done if nobody can say: throw, or answer `unknown`, which denies or allows. */
export type OnUnknown = 'throw' | 'deny' | 'allow'

/** A question that was wrong, or may not be asked, always throws: that is for somebody to put right. */
export const unlessKnown = async <Decided>(onUnknown: OnUnknown, check: () => Promise<Decided>): Promise<Decided | Unknown> => {
  try {
    return await check()
  } catch (error) {
    if (onUnknown === 'throw' || !isUnknown(error)) throw error
    return { allowed: onUnknown === 'allow', reason: 'unknown', error }
  }
}
