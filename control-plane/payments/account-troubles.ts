/** Keeps the troubles of an account that people have to know of. They are noticed by its payments, which do not wait for that. */
import { DAY_MS } from '../../common/durations.ts'
import type { PspAccount } from '../schemas/psp-account.ts'
import { update } from '../storage/update.ts'
import type { TenantScope } from '../tenant-scope.ts'
import type { ChargeOutcome, PspAccess } from './psp/psp.ts'

type Trouble = NonNullable<PspAccount['troubles']>[number]

export interface Noticed {
  outcome: ChargeOutcome
  /** While the circuit of the account is open. */
  openUntil: Date | undefined
  /** In system time. */
  now: Date
}

const codeOf = (outcome: ChargeOutcome): string => ('pspCode' in outcome ? outcome.pspCode : outcome.status)

/** True if the provider has taken the credentials, whatever it said of the charge. */
const isAccepted = (outcome: ChargeOutcome): boolean =>
  outcome.status === 'declined' ? !['technical', 'config'].includes(outcome.declineClass) : outcome.status !== 'not_sent' && outcome.status !== 'unknown'

/** Each process has its own circuit: only the first that opens is news. */
const circuitTrouble = (known: Trouble | undefined, { outcome, openUntil, now }: Noticed): Trouble | undefined => {
  if (!openUntil || openUntil <= now || (known?.until && known.until > now)) return known
  return { kind: 'circuit_open', why: `calls to the provider kept failing, the last with ${codeOf(outcome)}`, at: now, until: openUntil }
}

/** It lasts until the provider takes the credentials again, and is news once a day at most. */
const credentialsTrouble = (known: Trouble | undefined, { outcome, now }: Noticed): Trouble | undefined => {
  const isRefused = outcome.status === 'declined' && outcome.credentialsRefused === true
  if (!isRefused) return known && !known.until && isAccepted(outcome) ? { ...known, until: now } : known
  if (known && (!known.until || now.getTime() - known.at.getTime() < DAY_MS)) return known
  return { kind: 'credentials_failed', why: `the provider refused them with ${codeOf(outcome)}`, at: now }
}

/** The account with what a charge has shown of it; undefined where that is no news. */
export const withTroubles = (account: PspAccount, noticed: Noticed): PspAccount | undefined => {
  const { troubles = [] } = account
  const known = (kind: Trouble['kind']): Trouble | undefined => troubles.find((trouble) => trouble.kind === kind)
  const before = [known('circuit_open'), known('credentials_failed')]
  const after = [circuitTrouble(before[0], noticed), credentialsTrouble(before[1], noticed)]
  return after.every((trouble, n) => trouble === before[n]) ? undefined : { ...account, troubles: after.filter((trouble) => trouble !== undefined) }
}

/** @param stored as it was read for the payment; undefined: the tenant has stored no such account. */
export const noticeTroubles = (of: TenantScope, stored: PspAccount | undefined, opened: PspAccess, outcome: ChargeOutcome): void => {
  if (!stored || 'unusable' in opened) return
  const noticed: Noticed = { outcome, openUntil: opened.circuit?.view().openUntil, now: of.clock.now() }
  if (!withTroubles(stored, noticed)) return
  update(of.storage.pspAccounts, stored._id, (latest) => withTroubles(latest, noticed)).catch((error: unknown) => {
    of.log.warn({ err: error, tenantId: of.tenantId, account: stored.id }, 'a trouble of a PSP account could not be stored')
  })
}
