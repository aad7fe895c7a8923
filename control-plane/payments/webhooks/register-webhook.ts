/**
 * Sets our own address up at the provider of an account, and keeps what its events are then verified with.
 *
 * A call first claims the account, since two at once would make two webhooks. The claim runs out by itself: whoever calls again
 * after a crash finds at the provider what was made, and goes on from there.
 */
import { ulid } from 'ulid'
import { AppError, isAppError } from '../../../common/errors.ts'
import { withWebhook } from '../../catalog/psp-accounts.ts'
import { isPublicUrl } from '../../outgoing-http.ts'
import type { PspAccount } from '../../schemas/psp-account.ts'
import { update } from '../../storage/update.ts'
import type { TenantScope } from '../../tenant-scope.ts'
import { webhookPath } from '../psp/webhook-path.ts'

/** More than any provider is called before its secret is stored: Adyen is listed in three pages, changed, and asked for a key. */
const MOST_CALLS = 6

const claim = (of: TenantScope, id: string, check: (account: PspAccount) => void, by: string, forMs: number): Promise<PspAccount> =>
  update(of.storage.pspAccounts, of.keys.pspAccount(id), (account) => {
    check(account)
    const now = of.clock.now()
    const leftMs = (account.registration?.until.getTime() ?? 0) - now.getTime()
    if (leftMs > 0)
      throw new AppError(
        'not_allowed_in_state',
        `another call registers the webhook of this account; if it has failed, call again in ${Math.ceil(leftMs / 1_000)} seconds`,
      )
    return { ...account, registration: { by, until: new Date(now.getTime() + forMs) } }
  })

/** @throws AppError `not_allowed_in_state` for a claim that another call has taken over. */
const settle = (of: TenantScope, id: string, by: string, change: (account: PspAccount) => PspAccount): Promise<PspAccount> =>
  update(of.storage.pspAccounts, of.keys.pspAccount(id), (account) => {
    const { registration, ...rest } = account
    if (registration?.by !== by) throw new AppError('not_allowed_in_state', 'the provider took too long, and another call took over; call again')
    return change(rest)
  })

/**
 * @param origin the address at which the provider reaches this control plane. @param check of the account, before anything is done.
 * @throws AppError `not_found`, `not_allowed_in_state`, `unsupported_by_provider`, `refused_by_provider` or `unavailable`.
 */
export const registerWebhook = async (of: TenantScope, id: string, origin: string, check: (account: PspAccount) => void): Promise<PspAccount> => {
  const account = await of.storage.pspAccounts.get(of.keys.pspAccount(id))
  check(account)
  const opened = of.openPsp(id, account)
  if ('unusable' in opened) throw new AppError('not_allowed_in_state', `the PSP account cannot be used: ${opened.unusable}`)
  const { webhooks } = opened.psp
  const url = `${origin}${webhookPath(of.tenantId, id)}`
  if ('byHand' in webhooks) throw new AppError('unsupported_by_provider', `${webhooks.byHand} Our URL is ${url}`)
  if (!isPublicUrl(new URL(url)))
    throw new AppError(
      'not_allowed_in_state',
      `the provider cannot reach ${origin}: set PUBLIC_URL to the https address of this control plane on the internet, restart it, and call again`,
    )
  const by = ulid()
  const claimed = await claim(of, id, check, by, MOST_CALLS * opened.timeoutMs)
  const registered = await webhooks.register(url, claimed.webhook?.id).catch(async (error: unknown) => {
    // Nothing is kept, so another call may begin at once. A claim that stays runs out by itself.
    await settle(of, id, by, (latest) => latest).catch((failure: unknown) => {
      if (!isAppError(failure)) throw failure
    })
    throw error
  })
  const kept = await settle(of, id, by, (latest) => withWebhook(of, latest, url, registered))
  await webhooks.removeOthers?.(url, registered.id)
  return kept
}
