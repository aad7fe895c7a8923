import { keys } from '../keys.ts'
import type { PspAccount } from '../schemas/psp-account.ts'
import type { Services } from '../services.ts'
import { update } from '../storage/update.ts'

/** Secrets as the caller gives them: storage has them sealed. */
export type PspAccountInput = Pick<PspAccount, 'id' | 'provider' | 'capabilities'> & {
  credentials?: Record<string, string> | undefined
  webhookSecret?: string | undefined
} & Partial<Pick<PspAccount, 'capture' | 'returnUrl'>>

type Secrets = Pick<PspAccountInput, 'credentials' | 'webhookSecret'>

/** Only what is given: what a change leaves out stays as it is. */
const sealed = ({ sealing }: Services, key: string, { credentials, webhookSecret }: Secrets) => ({
  ...(credentials === undefined ? {} : { credentials: sealing.seal(JSON.stringify(credentials), key) }),
  ...(webhookSecret === undefined ? {} : { webhookSecret: sealing.seal(webhookSecret, key) }),
})

/** @throws AppError `already_exists`. */
export const createPspAccount = (services: Services, tenantId: string, input: PspAccountInput): Promise<PspAccount> => {
  const { credentials: _, webhookSecret: __, ...rest } = input
  const key = keys.pspAccount(tenantId, input.id)
  return services.storage.pspAccounts.insert({ _id: key, tenantId, createdAt: services.clock.now(), ...rest, ...sealed(services, key, input) })
}

/** @throws AppError `not_found`. */
export const changePspAccount = (
  services: Services,
  tenantId: string,
  id: string,
  check: (account: PspAccount) => void,
  change: Partial<Omit<PspAccountInput, 'id' | 'provider'>>,
): Promise<PspAccount> => {
  const { credentials: _, webhookSecret: __, ...rest } = change
  const key = keys.pspAccount(tenantId, id)
  const secrets = sealed(services, key, change)
  return update(services.storage.pspAccounts, key, (account) => {
    check(account)
    return { ...account, ...rest, ...secrets }
  })
}
