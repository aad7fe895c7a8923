import test from 'ava'
import { isCurrent } from '../../common/entitlements/decide.ts'
import { deriveGrants } from '../../common/entitlements/derive.ts'
import type { Entitlement } from '../../common/entitlements/model.ts'
import type { LedgerQuestion } from '../../common/metering/ledger-words.ts'
import { accessOfSubscription } from '../../control-plane/entitlements/subscription-access.ts'
import { askLedger, type Ledgers, spentEntries } from '../../control-plane/metering/ledger.ts'
import { subscriptionOf } from '../support/subscriptions.ts'

const START = new Date('2024-03-01T00:00:00Z')
const DAY_MS = 86_400_000

/** A ledger of one or two quotas, and sidecars that ask it. */
const open = (...quotas: { limit: number | null; per: 'day' | 'month'; overage?: 'allow'; untilMs?: number }[]) => {
  let now = new Date('2024-03-10T12:00:00Z')
  let subscriptions = quotas.map(({ untilMs: _, ...terms }, n) => {
    const entitlements: Entitlement[] = [{ key: 'calls', kind: 'quota', ...terms }]
    return subscriptionOf({ id: `sub_${n}`, entitlements, timeZone: 'UTC', anchor: START })
  })
  let ledgers: Ledgers = { entries: [], borrowers: [] }
  const seqs = new Map<string, number>()
  const terms = () => {
    const held = subscriptions.flatMap((subscription, n) => {
      const [grant] = deriveGrants([accessOfSubscription(subscription)])
      return grant ? [{ grant: { ...grant, untilMs: quotas[n]?.untilMs }, holder: subscription }] : []
    })
    const current = held.filter(({ grant }) => isCurrent(grant, now.getTime()))
    return { key: 'calls', held, current, holders: subscriptions, now, systemNow: now }
  }
  const nothing = { least: 0, need: 0, want: 0, uses: [], laterUses: [] }
  const ask = (sidecar: string, question: Partial<LedgerQuestion>) => {
    const seq = question.seq ?? (seqs.get(sidecar) ?? 0) + 1
    seqs.set(sidecar, Math.max(seq, seqs.get(sidecar) ?? 0))
    const asked = askLedger(ledgers, sidecar, { ...nothing, ...question, seq }, terms())
    ledgers = asked.ledgers
    return asked.answer
  }
  return {
    ask,
    counted: () => ledgers.entries.reduce((sum, { used, until }) => sum + (until && until > now ? used : 0), 0),
    shown: () => spentEntries(ledgers, now, now).reduce((sum, { used }) => sum + used, 0),
    borrowers: () => ledgers.borrowers,
    pass: (ms: number) => {
      now = new Date(now.getTime() + ms)
    },
    setLimit: (limit: number, per: 'day' | 'month' = 'day') => {
      subscriptions = subscriptions.map((one) => ({ ...one, entitlements: [{ key: 'calls', kind: 'quota', limit, per }] }))
    },
  }
}

const idOf = ({ leases: [lease] }: { leases: { id: string }[] }): string => lease?.id ?? 'none'

test('units count as used when they are lent, and show as used when they are spent', (t) => {
  const { ask, counted, shown } = open({ limit: 100, per: 'day' })
  const first = ask('a', { least: 10, need: 10 })
  t.like(first, { limit: 100, used: 0, free: 90, recallable: 0, recall: false })
  t.like(first.leases, [{ lent: 10, spent: 0, untilMs: Date.parse('2024-03-11T00:00:00Z') }])
  t.deepEqual([counted(), shown()], [10, 0])
  const second = ask('a', { uses: [{ lease: idOf(first), spent: 7, upTo: 10 }] })
  t.like(second, { used: 7, free: 90 })
  t.deepEqual([counted(), shown()], [10, 7])
})

test('what is not needed comes back, and what was spent does not', (t) => {
  const { ask, counted } = open({ limit: 100, per: 'day' })
  const lease = idOf(ask('a', { least: 50, need: 50 }))
  t.like(ask('a', { uses: [{ lease, spent: 20, upTo: 30 }] }), { free: 70, used: 20 })
  t.is(counted(), 30)
  t.like(ask('a', { uses: [{ lease, spent: 20, upTo: 0 }] }), { free: 80, used: 20 })
  t.is(counted(), 20)
})

test('a repeat is told what there is, and lends nothing; an older question takes nothing back', (t) => {
  const { ask, counted } = open({ limit: 100, per: 'day' })
  const first = ask('a', { seq: 5, least: 10, need: 10 })
  t.deepEqual(ask('a', { seq: 5, least: 10, need: 10 }).leases, first.leases)
  const lease = idOf(first)
  ask('a', { seq: 7, need: 20, least: 20, uses: [{ lease, spent: 3, upTo: 10 }] })
  t.is(counted(), 30)
  t.is(ask('a', { seq: 6, need: 50, least: 1, uses: [{ lease, spent: 4, upTo: 0 }] }).seq, 7, 'its sidecar does not take it for the answer')
  t.is(counted(), 30)
  t.like(ask('a', { seq: 7 }), { used: 4 }, 'what was spent is believed, whenever it is told')
})

test('a lease that its sidecar does not name was never heard of there', (t) => {
  const { ask, counted } = open({ limit: 100, per: 'day' })
  ask('a', { least: 10, need: 10 })
  t.is(counted(), 10)
  ask('a', { least: 5, need: 5 })
  t.is(counted(), 5)
})

test('no more is believed to be spent than was lent, and nothing that was spent is taken back', (t) => {
  const { ask, counted } = open({ limit: 100, per: 'day' })
  const lease = idOf(ask('a', { least: 10, need: 10 }))
  t.like(ask('a', { uses: [{ lease, spent: 1_000, upTo: 1_000 }] }), { used: 10 })
  t.is(counted(), 10)
  t.like(ask('a', { uses: [{ lease, spent: 0, upTo: 0 }] }), { used: 10 })
  t.is(counted(), 10)
})

test('what is needed is lent as far as it goes, if it is enough for one use; beside it at most half of the rest, shared', (t) => {
  const { ask } = open({ limit: 100, per: 'day' })
  t.is(ask('a', { least: 10, need: 20, want: 1_000 }).leases[0]?.lent, 60)
  t.is(ask('b', { least: 1, need: 1, want: 1_000 }).leases[0]?.lent, 10, '1, and a quarter of 39')
  t.is(ask('c', { least: 31, need: 40, want: 10 }).leases.length, 0)
  t.is(ask('c', { least: 1, need: 40, want: 10 }).leases[0]?.lent, 30, 'all that is left')
})

test('who is refused what others have makes them give back, for as long as it may wait', (t) => {
  const { ask, pass } = open({ limit: 100, per: 'day' })
  const lease = idOf(ask('a', { least: 100, need: 100 }))
  const use = { lease, spent: 10, upTo: 100 }
  t.false(ask('a', { uses: [use] }).recall)
  t.like(ask('b', { least: 1, need: 1 }), { free: 0, recallable: 90 })
  t.true(ask('a', { uses: [use] }).recall)
  t.is(ask('c', { least: 0, need: 0, want: 50 }).leases.length, 0, 'nobody stocks up meanwhile')
  ask('a', { uses: [{ lease, spent: 10, upTo: 10 }] })
  t.is(ask('b', { least: 1, need: 1 }).leases[0]?.lent, 1)
  t.false(ask('a', { uses: [{ lease, spent: 10, upTo: 10 }] }).recall)
  pass(11_000)
  t.like(ask('c', { least: 100, need: 100 }), { recallable: 0 }, 'nobody waits for who was not heard of for ten seconds')
})

test('a lease ends with its window: nothing of it comes back in the next', (t) => {
  const { ask, counted, pass } = open({ limit: 100, per: 'day' })
  const lease = idOf(ask('a', { least: 60, need: 60 }))
  pass(DAY_MS)
  const answer = ask('a', { least: 100, need: 100, uses: [{ lease, spent: 5, upTo: 5 }] })
  t.like(answer, { free: 0, limit: 100 })
  t.deepEqual(
    answer.leases.map(({ lent, spent }) => [lent, spent]),
    [[100, 0]],
  )
  t.is(counted(), 100)
})

test('of several quotas each lends in its own window, the one that ends first before the others', (t) => {
  const { ask } = open({ limit: 10, per: 'month' }, { limit: 5, per: 'day' })
  const answer = ask('a', { least: 8, need: 8 })
  t.deepEqual(
    answer.leases.map(({ id, lent }) => [id.split('@')[0], lent]),
    [
      ['sub_1', 5],
      ['sub_0', 3],
    ],
  )
  t.like(answer, { limit: 15, free: 7, resetsAtMs: Date.parse('2024-03-11T00:00:00Z') })
})

test('what is unlimited lends whatever is asked for', (t) => {
  const { ask } = open({ limit: null, per: 'day' })
  t.like(ask('a', { least: 1, need: 1, want: 1_000_000 }), { limit: null, leases: [{ lent: 1_000_001 }] })
})

test('a lower limit lends nothing beyond it', (t) => {
  const { ask, setLimit } = open({ limit: 100, per: 'day' })
  const lease = idOf(ask('a', { least: 50, need: 50 }))
  setLimit(20)
  t.like(ask('a', { least: 1, need: 1, uses: [{ lease, spent: 10, upTo: 10 }] }), { limit: 20, free: 9, used: 10 })
  t.like(ask('b', { least: 10, need: 10 }), { free: 9, leases: [] })
})

test('a sidecar that is gone has used what it was lent, and is forgotten with its window', (t) => {
  const { ask, shown, pass, borrowers } = open({ limit: 100, per: 'day' })
  ask('a', { least: 40, need: 40 })
  t.is(shown(), 0)
  pass(11_000)
  t.is(shown(), 40)
  t.like(ask('b', { least: 60, need: 60 }), { free: 0, used: 40 })
  pass(DAY_MS)
  ask('b', {})
  t.deepEqual(
    borrowers().map(({ sidecar }) => sidecar),
    ['b'],
  )
})

test('a soft limit lends what is asked for beyond it, counts it, and is told as it is', (t) => {
  const { ask, counted } = open({ limit: 10, per: 'day', overage: 'allow' })
  const lease = idOf(ask('a', { least: 25, need: 25 }))
  t.like(ask('a', { uses: [{ lease, spent: 25, upTo: 25 }] }), { limit: 10, used: 25 })
  t.like(ask('b', { least: 5, need: 5 }).leases, [{ lent: 5, spent: 0 }])
  t.is(counted(), 30)
  t.like(ask('a', { uses: [{ lease, spent: 25, upTo: 25 }] }), { recall: false })
})

test('beside a soft limit a hard one is filled first, and nothing is refused', (t) => {
  const { ask, counted } = open({ limit: 10, per: 'day' }, { limit: 10, per: 'day', overage: 'allow' })
  const { leases, limit } = ask('a', { least: 50, need: 50 })
  t.is(limit, 20)
  t.is(
    leases.reduce((sum, { lent }) => sum + lent, 0),
    50,
  )
  t.is(counted(), 50)
})

test('what is lent beyond a soft limit and not needed comes back', (t) => {
  const { ask, counted } = open({ limit: 10, per: 'day', overage: 'allow' })
  const lease = idOf(ask('a', { least: 25, need: 25 }))
  ask('a', { uses: [{ lease, spent: 12, upTo: 0 }] })
  t.is(counted(), 12)
})

test('what is lent of a grant that ends within its window is lent until then, and longer when it ends later', (t) => {
  const untilMs = Date.parse('2024-03-10T18:00:00Z')
  const quota = { limit: 10, per: 'day' as const, untilMs }
  const { ask, pass } = open(quota, { limit: 4, per: 'day' })
  const answer = ask('a', { least: 12, need: 12 })
  const leases = answer.leases.map(({ id, lent, untilMs: until }) => ({ of: id.split('@')[0], lent, until }))
  t.deepEqual(leases, [
    { of: 'sub_0', lent: 10, until: untilMs },
    { of: 'sub_1', lent: 2, until: Date.parse('2024-03-11T00:00:00Z') },
  ])
  quota.untilMs = untilMs + 3_600_000
  ask('a', { uses: answer.leases.map(({ id }) => ({ lease: id, spent: 0, upTo: 0 })) })
  t.is(ask('a', { least: 9, need: 9 }).leases.find(({ id }) => id.startsWith('sub_0'))?.untilMs, untilMs + 3_600_000)
  pass(8 * 3_600_000)
  t.like(ask('a', { least: 5, need: 5 }), { limit: 4, free: 4 })
})

test('a day and a month that begin together are told apart when the one becomes the other', (t) => {
  const { ask, pass, setLimit, counted } = open({ limit: 100, per: 'day' })
  pass(Date.parse('2024-04-01T06:00:00Z') - Date.parse('2024-03-10T12:00:00Z'))
  const ofDay = idOf(ask('a', { least: 10, need: 10 }))
  setLimit(100, 'month')
  const [lease] = ask('a', { least: 40, need: 40, uses: [{ lease: ofDay, spent: 0, upTo: 10 }] }).leases.filter(({ id }) => id !== ofDay)
  t.like(lease, { lent: 40, untilMs: Date.parse('2024-05-01T00:00:00Z') })
  const uses = [
    { lease: lease?.id ?? 'none', spent: 15, upTo: 15 },
    { lease: ofDay, spent: 0, upTo: 0 },
  ]
  t.like(ask('a', { uses }), { used: 15, free: 85 })
  t.is(counted(), 10 + 15, 'what the day has counted stays')
})

test('a use that no lease covers is counted once, beyond the limit too, and in the window that it was in', (t) => {
  const { ask, counted, pass } = open({ limit: 10, per: 'day' })
  const atMs = Date.parse('2024-03-10T12:00:00Z')
  t.like(ask('a', { laterUses: [{ seq: 3, amount: 8, atMs }] }), { laterUses: 3, used: 8, free: 2 })
  const both = [
    { seq: 3, amount: 8, atMs },
    { seq: 4, amount: 7, atMs },
  ]
  t.like(ask('a', { laterUses: both }), { laterUses: 4, used: 15, free: 0 })
  t.like(ask('a', { seq: 1, laterUses: both }), { laterUses: 4, used: 15 }, 'whenever it is told')
  pass(3_600_000)
  ask('b', {})
  t.like(ask('a', { laterUses: both }), { laterUses: 4, used: 15 }, 'and however late')
  pass(DAY_MS)
  t.like(ask('a', { laterUses: [...both, { seq: 5, amount: 1, atMs }, { seq: 6, amount: 2, atMs: atMs + DAY_MS }] }), { laterUses: 6, used: 2 })
  t.is(counted(), 2)
  t.like(ask('a', { laterUses: [{ seq: 7, amount: Number.MAX_SAFE_INTEGER, atMs: atMs + DAY_MS }] }), { used: Number.MAX_SAFE_INTEGER })
  t.is(counted(), Number.MAX_SAFE_INTEGER)
})

test('a sidecar that was away for long gives back what it did not spend, within the window', (t) => {
  const { ask, counted, pass } = open({ limit: 100, per: 'day' })
  const lease = idOf(ask('a', { least: 40, need: 40 }))
  pass(3_600_000)
  ask('b', {})
  t.like(ask('a', { uses: [{ lease, spent: 3, upTo: 3 }] }), { used: 3, free: 97 })
  t.is(counted(), 3)
})

test('no more than a thousand sidecars are remembered', (t) => {
  const { ask, borrowers } = open({ limit: null, per: 'day' })
  for (let n = 0; n <= 1_000; n += 1) ask(`s${n}`, { least: 1, need: 1 })
  t.is(borrowers().length, 1_000)
})
