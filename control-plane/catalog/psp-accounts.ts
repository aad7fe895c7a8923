import { keys } from '../keys.ts'
import type { PspAccount } from '../schemas/psp-account.ts'
import type { Services } from '../services.ts'
import { update } from '../storage/update.ts'

export type PspAccountInput = Pick<PspAccount, 'id' | 'provider' | 'credentials' | 'webhookSecret' | 'capabilities'> &
  Partial<Pick<PspAccount, 'capture' | 'returnUrl'>>

/** @throws AppError `already_exists`. */
export const createPspAccount = (services: Services, tenantId: string, input: PspAccountInput): Promise<PspAccount> =>
  services.storage.pspAccounts.insert({ _id: keys.pspAccount(tenantId, input.id), tenantId, createdAt: services.clock.now(), ...input })

/** @throws AppError `not_found`. */
export const changePspAccount = (
  services: Services,
  tenantId: string,
  id: string,
  check: (account: PspAccount) => void,
  change: Partial<Omit<PspAccountInput, 'id' | 'provider'>>,
): Promise<PspAccount> =>
  update(services.storage.pspAccounts, keys.pspAccount(tenantId, id), (account) => {
    check(account)
    return { ...account, ...change }
  })
