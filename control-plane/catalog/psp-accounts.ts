import { Secret, toSecret } from '../../common/secret.ts'
import type { PspAccount } from '../schemas/psp-account.ts'
import { update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'

/** By the names that the provider's library uses. */
type Credentials = Record<string, Secret>

const mapped = <A, B>(record: Record<string, A>, change: (value: A) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]))

const toText = (credentials: Credentials): Secret => new Secret(JSON.stringify(mapped(credentials, (one) => one.reveal())))
const fromText = (text: Secret): Credentials => mapped(JSON.parse(text.reveal()) as Record<string, string>, toSecret)

/** Secrets as the caller gives them: storage has them sealed. */
export type PspAccountInput = Pick<PspAccount, 'id' | 'provider' | 'capabilities'> & {
  credentials?: Credentials | undefined
  webhookSecret?: Secret | undefined
} & Partial<Pick<PspAccount, 'capture' | 'returnUrl'>>

type Secrets = Pick<PspAccountInput, 'credentials' | 'webhookSecret'>

/** Only what is given: what a change leaves out stays as it is. */
const sealed = ({ sealing }: TenantScope, key: string, { credentials, webhookSecret }: Secrets) => ({
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
  const { sealing } = of
  return update(of.storage.pspAccounts, of.keys.pspAccount(id), (account) => {
    check(account)
    const { _id: key } = account
    const known = opened(() => (account.credentials ? fromText(sealing.open(account.credentials, key)) : undefined))
    const secret = webhookSecret ?? opened(() => (account.webhookSecret ? sealing.open(account.webhookSecret, key) : undefined))
    const merged = known || credentials ? { ...known, ...credentials } : undefined
    return { ...account, ...rest, ...sealed(of, key, { credentials: merged, webhookSecret: secret }) }
  })
}
