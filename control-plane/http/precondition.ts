/** `If-Match`: whoever changes what somebody else has changed meanwhile is told, and changes nothing. */
import { fieldError } from '../../common/errors.ts'
import { mustBeAt } from '../storage/claim-revision.ts'
import type { Answer, IfMatchRule } from './route.ts'

/** A check for `If-Match`. @throws AppError `precondition_failed`, from the function it answers. */
export const mustMatch =
  (ifMatch: number | undefined) =>
  (document: { revision: number }): void => {
    if (ifMatch !== undefined) mustBeAt(ifMatch, document)
  }

/** One of our own ETags, weak or strong, or any. */
export const IF_MATCH = /^(?:\*|(?:W\/)?"(\d+)")$/

/**
 * @param header undefined where there is none. An empty one names nothing that could be compared.
 * @returns the revision that it names; undefined for `*`, which every document matches.
 * @throws AppError `invalid_request` where the route has nothing to compare it with, or it is no ETag of ours.
 */
export const ifMatchOf = (rule: IfMatchRule, header: string | undefined): number | undefined => {
  if (header === undefined) return undefined
  if (typeof rule === 'object' && 'refused' in rule) throw fieldError('invalid_request', 'If-Match', `does not apply here: ${rule.refused}; leave it out`)
  const match = IF_MATCH.exec(header)
  if (!match) throw fieldError('invalid_request', 'If-Match', 'must be an ETag that a GET has returned, such as "3"')
  return match[1] === undefined ? undefined : Number(match[1])
}

/**
 * Checks `If-Match` for routes that compare it with their answer.
 * @throws AppError `precondition_failed`, or `invalid_request` for an answer without an ETag.
 */
export const checkAnswer = (rule: IfMatchRule, ifMatch: number | undefined, { revision }: Answer): void => {
  if (rule !== 'answer' || ifMatch === undefined) return
  if (revision === undefined) throw fieldError('invalid_request', 'If-Match', 'does not apply here: this answer has no ETag; leave it out')
  mustMatch(ifMatch)({ revision })
}
