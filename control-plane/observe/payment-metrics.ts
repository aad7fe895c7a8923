/** Attempts to charge: by provider, and by account for as many accounts as a scrape can carry. */
import { LRUCache } from 'lru-cache'
import { keys } from '../keys.ts'
import type { PspDirectory } from '../payments/psp/psp.ts'
import type { UnknownOutcomes } from '../payments/unknown-outcomes.ts'
import type { PaymentObserver } from '../ports.ts'
import { pspProviders } from '../schemas/psp-account.ts'
import { cachedReading } from './cached-reading.ts'
import type { Instruments, Series } from './instruments.ts'

/** Accounts that have series of their own, of some ten outcomes each; later ones are summed up. */
const MAX_ACCOUNTS = 200
const OTHER = { tenant: 'other', account: 'other' }
/** As many as there are circuits. */
const MAX_PROVIDERS = 10_000
/** Reading payments takes longer than a scrape should, and their outcomes change in minutes. */
const UNKNOWN_EVERY_MS = 60_000

type State = 'closed' | 'open' | 'half_open'

export interface MeasuredPayments {
  circuits(): Iterable<{ account: string; state: State }>
  unknownOutcomes(): Promise<UnknownOutcomes>
  nowMs(): number
}

export interface PaymentMetrics {
  observer: PaymentObserver
  /** @returns the same directory, whose accounts are known by their providers from now on. */
  measured(psps: PspDirectory): PspDirectory
}

const labelsOf = (key: string): { tenant: string; account: string } => {
  const [tenant = '', account = ''] = key.split('/').map(decodeURIComponent)
  return { tenant, account }
}

const circuitsByState = (circuits: Iterable<{ state: State }>): Series => {
  const counts = { closed: 0, open: 0, half_open: 0 }
  for (const { state } of circuits) counts[state] += 1
  return Object.entries(counts).map(([state, value]) => ({ labels: { state }, value }))
}

/** Circuits that are closed are as they should be, and there are as many as accounts. */
const troubledAccounts = (circuits: Iterable<{ account: string; state: State }>): Series => {
  const found: Series = []
  for (const { account, state } of circuits) {
    if (found.length === MAX_ACCOUNTS) break
    if (state !== 'closed') found.push({ labels: { ...labelsOf(account), state }, value: 1 })
  }
  return found
}

export const measurePayments = ({ counter, readEach }: Instruments, { circuits, unknownOutcomes, nowMs }: MeasuredPayments): PaymentMetrics => {
  const providers = new LRUCache<string, string>({ max: MAX_PROVIDERS })
  const named = new Set<string>()
  const attempts = counter(
    'tollgate_payment_attempts_total',
    'Outcomes of attempts to charge, as providers reported them. One that is not final is followed by another. Sandboxes count as the provider sandbox.',
    ['provider', 'outcome', 'decline_class'],
  )
  // A counter that begins with its first event shows no increase by it, and one such decline is worth an alert.
  for (const provider of pspProviders) attempts.inc({ provider, outcome: 'declined', decline_class: 'config' }, 0)
  const byAccount = counter(
    'tollgate_account_attempts_total',
    `The same of live tenants, by PSP account. The first ${MAX_ACCOUNTS} accounts of this process have series of their own; the others count as other.`,
    ['tenant', 'account', 'outcome', 'decline_class'],
  )
  readEach('tollgate_circuits', 'PSP accounts that this process has paid at, by the state of their circuits.', ['state'], () => circuitsByState(circuits()))
  readEach('tollgate_account_circuit', `1 for each PSP account whose circuit is not closed; at most ${MAX_ACCOUNTS}.`, ['tenant', 'account', 'state'], () =>
    troubledAccounts(circuits()),
  )
  const unknown = cachedReading(unknownOutcomes, UNKNOWN_EVERY_MS, nowMs)
  const readUnknown = (name: string, help: string, value: (unknown: UnknownOutcomes) => number) =>
    readEach(name, help, [], async () => {
      const now = await unknown()
      return now ? [{ labels: {}, value: value(now) }] : []
    })
  readUnknown('tollgate_unknown_outcomes', 'Attempts of the installation whose outcome no provider has told yet. Counted once a minute.', ({ count }) => count)
  readUnknown('tollgate_unknown_outcome_age_seconds', 'Age of the oldest attempt whose outcome is unknown; 0 if there is none.', ({ oldest }) =>
    oldest ? Math.max(0, (nowMs() - oldest.getTime()) / 1000) : 0,
  )

  return {
    observer: {
      attempted: ({ tenant: { tenantId, mode }, account }, { status: outcome, declineClass }) => {
        const key = keys.pspAccount(tenantId, account)
        const said = { outcome, decline_class: declineClass ?? '' }
        attempts.inc({ provider: mode === 'sandbox' ? 'sandbox' : (providers.get(key) ?? 'unknown'), ...said })
        if (mode === 'sandbox') return
        if (named.size < MAX_ACCOUNTS) named.add(key)
        byAccount.inc({ ...(named.has(key) ? { tenant: tenantId, account } : OTHER), ...said })
      },
    },
    measured: (psps) => ({
      ...psps,
      open: (tenant, accountId, account) => {
        if (account) providers.set(account._id, account.provider)
        return psps.open(tenant, accountId, account)
      },
    }),
  }
}
