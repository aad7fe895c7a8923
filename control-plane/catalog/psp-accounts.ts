import type { PspAccount } from '../schemas/psp-account.ts'
import { update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'

/** Secrets as the caller gives them: storage has them sealed. */
export type PspAccountInput = Pick<PspAccount, 'id' | 'provider' | 'capabilities'> & {
  credentials?: Record<string, string> | undefined
  webhookSecret?: string | undefined
} & Partial<Pick<PspAccount, 'capture' | 'returnUrl'>>

type Secrets = Pick<PspAccountInput, 'credentials' | 'webhookSecret'>

/** Only what is given: what a change leaves out stays as it is. */
const sealed = ({ sealing }: TenantScope, key: string, { credentials, webhookSecret }: Secrets) => ({
  ...(credentials === undefined ? {} : { credentials: sealing.seal(JSON.stringify(credentials), key) }),
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
    const known = opened(() => (account.credentials ? (JSON.parse(sealing.open(account.credentials, key).reveal()) as Record<string, string>) : undefined))
    const secret = webhookSecret ?? opened(() => (account.webhookSecret ? sealing.open(account.webhookSecret, key).reveal() : undefined))
    const merged = known || credentials ? { ...known, ...credentials } : undefined
    return { ...account, ...rest, ...sealed(of, key, { credentials: merged, webhookSecret: secret }) }
  })
}
