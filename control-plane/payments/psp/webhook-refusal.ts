/** The error with which a caller is told why a provider has not set a webhook up. */
import { AppError } from '../../../common/errors.ts'
import { transportFailure } from './transport-errors.ts'

/** A provider's sentence may be a page. */
const MAX_WORDS = 300

interface RefusedCall {
  provider: string
  /** Undefined: no answer, or none that could be read. */
  status: number | undefined
  /** The provider's own words about the request. */
  words?: string | undefined
  /** The permission that the credentials need, as a clause that ends a sentence. */
  permission: string
  /** What to do, if the provider has as many webhooks as it allows. */
  full?: string | undefined
  cause: unknown
}

/**
 * 401 and 403 are told in our words: a provider's own may quote the key.
 * @returns `refused_by_provider` for what only the caller can correct; `unavailable` for what another call may find otherwise.
 */
export const webhookRefusal = ({ provider, status, words, permission, full, cause }: RefusedCall): AppError => {
  const refused = (why: string) => new AppError('refused_by_provider', why, [], { cause })
  if (status === undefined || status >= 500 || [408, 409, 429].includes(status)) {
    const what = status === undefined ? `gave no answer that can be read (${transportFailure(cause).pspCode})` : `answered HTTP ${status}`
    return new AppError('unavailable', `${provider} ${what}; make the same call again, which is harmless`, [], { cause })
  }
  if (status === 401) return refused(`${provider} does not accept the account's credentials: correct them with PATCH`)
  if (status === 403) return refused(`${provider} does not allow these credentials to manage webhooks: ${permission}`)
  if (full !== undefined) return refused(`${provider} has as many webhooks as it allows: ${full}`)
  return refused(`${provider} refused the webhook with HTTP ${status}: ${(words || 'it gave no reason').slice(0, MAX_WORDS)}`)
}
