import { defined } from '../../common/defined.ts'
import { DAY_MS } from '../../common/durations.ts'
import { Secret, toSecret } from '../../common/secret.ts'
import type { AccountSecrets, RegisteredWebhook } from '../payments/psp/psp.ts'
import type { PspAccount } from '../schemas/psp-account.ts'
import { update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'

type Credentials = Record<string, Secret>

const mapped = <A, B>(record: Record<string, A>, change: (value: A) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]))

const toText = (credentials: Credentials): Secret => new Secret(JSON.stringify(mapped(credentials, (one) => one.reveal())))
const fromText = (text: Secret): Credentials => mapped(JSON.parse(text.reveal()) as Record<string, string>, toSecret)

/** Secrets as the caller gives them: storage has them sealed. */
export type PspAccountInput = Pick<PspAccount, 'id' | 'provider' | 'capabilities'> & AccountSecrets & Partial<Pick<PspAccount, 'capture' | 'returnUrl'>>

/** Only what is given: what a change leaves out stays as it is. */
const sealed = ({ sealing }: TenantScope, key: string, { credentials, webhookSecret }: AccountSecrets) => ({
  ...(credentials === undefined ? {} : { credentials: sealing.seal(toText(credentials), key) }),
  ...(webhookSecret === undefined ? {} : { webhookSecret: sealing.seal(webhookSecret, key) }),
})

/** @throws AppError `already_exists`. */
export const createPspAccount = (of: TenantScope, input: PspAccountInput): Promise<PspAccount> => {
  const { credentials: _, webhookSecret: __, ...rest } = input
  const key = of.keys.pspAccount(input.id)
  return of.storage.pspAccounts.insert({ _id: key, tenantId: of.tenantId, createdAt: of.clock.now(), ...rest, ...sealed(of, key, input) })
}

/** Undefined for what cannot be opened: then all of it has to be given anew. */
const opened = <T>(open: () => T): T | undefined => {
  try {
    return open()
  } catch {
    return undefined
  }
}

const openedSecrets = ({ sealing }: TenantScope, { _id: key, credentials, webhookSecret }: PspAccount): AccountSecrets => ({
  credentials: opened(() => (credentials ? fromText(sealing.open(credentials, key)) : undefined)),
  webhookSecret: opened(() => (webhookSecret ? sealing.open(webhookSecret, key) : undefined)),
})

/** The former secrets sealed anew; undefined when their time is over, or they cannot be opened any more. */
const keptFormer = ({ sealing, clock }: TenantScope, { _id: key, formerSecrets }: PspAccount): PspAccount['formerSecrets'] => {
  if (!formerSecrets || formerSecrets.until <= clock.now()) return undefined
  const text = opened(() => sealing.open(formerSecrets.sealed, key))
  return text && { ...formerSecrets, sealed: sealing.seal(text, key) }
}

/** The account with these secrets beside those that it has: all of them sealed anew, with the key that is the first one now. */
const withSecrets = (of: TenantScope, account: PspAccount, given: AccountSecrets): PspAccount => {
  const known = openedSecrets(of, account)
  const credentials = known.credentials || given.credentials ? { ...known.credentials, ...given.credentials } : undefined
  const secrets = sealed(of, account._id, { credentials, webhookSecret: given.webhookSecret ?? known.webhookSecret })
  return defined({ ...account, ...secrets, formerSecrets: keptFormer(of, account) })
}

/** Whether the provider takes other credentials is not known yet. */
const withoutRefusal = ({ troubles }: PspAccount): Pick<PspAccount, 'troubles'> =>
  troubles ? { troubles: troubles.filter(({ kind }) => kind !== 'credentials_failed') } : {}

/**
 * Credentials that are given replace those of the same name; the others stay. Whatever is changed, all secrets are
 * sealed anew, with the key that is the first one now.
 * @throws AppError `not_found`.
 */
export const changePspAccount = (
  of: TenantScope,
  id: string,
  check: (account: PspAccount) => void,
  change: Partial<Omit<PspAccountInput, 'id' | 'provider'>>,
): Promise<PspAccount> => {
  const { credentials, webhookSecret, ...rest } = change
  return update(of.storage.pspAccounts, of.keys.pspAccount(id), (account) => {
    check(account)
    const changed = { ...withSecrets(of, account, { credentials, webhookSecret }), ...rest, ...(credentials ? withoutRefusal(account) : {}) }
    // Whoever gives a secret means this one alone; and of which webhook it is, they know.
    return webhookSecret || credentials?.webhookId ? defined({ ...changed, webhook: undefined, formerSecrets: undefined }) : changed
  })
}

/** Longer than events are under way that were signed before the secret changed; and Adyen's servers take a while to sign with a new one. */
const FORMER_MS = DAY_MS

/** The parts of `known` that `given` replaces by others; undefined where it replaces none. */
const replacedBy = (known: AccountSecrets, given: AccountSecrets): Secret | undefined => {
  const isReplaced = (old: Secret | undefined, now: Secret | undefined) => old !== undefined && now !== undefined && old.reveal() !== now.reveal()
  const credentials = Object.entries(known.credentials ?? {}).filter(([name, old]) => isReplaced(old, given.credentials?.[name]))
  const webhookSecret = isReplaced(known.webhookSecret, given.webhookSecret) ? known.webhookSecret?.reveal() : undefined
  if (credentials.length === 0 && webhookSecret === undefined) return undefined
  return new Secret(JSON.stringify({ credentials: mapped(Object.fromEntries(credentials), (one) => one.reveal()), webhookSecret }))
}

/** The account with the webhook that Tollgate has set up. The secrets that its own replace are accepted for a day. */
export const withWebhook = (of: TenantScope, account: PspAccount, url: string, { id, events, secrets = {} }: RegisteredWebhook): PspAccount => {
  const now = of.clock.now()
  const replaced = replacedBy(openedSecrets(of, account), secrets)
  const formerSecrets = replaced && { sealed: of.sealing.seal(replaced, account._id), until: new Date(now.getTime() + FORMER_MS) }
  return { ...withSecrets(of, account, secrets), ...(formerSecrets ? { formerSecrets } : {}), webhook: { id, url, events, registeredAt: now } }
}
