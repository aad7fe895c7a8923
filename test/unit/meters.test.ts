import test from 'ava'
import type { LedgerAnswer } from '../../common/metering/ledger-words.ts'
import { type Journal, type JournalEntry, noJournal } from '../../sidecar/metering/journal.ts'
import { createMeters, type MetersOptions } from '../../sidecar/metering/meters.ts'

const clock = { nowMs: () => Date.now(), now: () => new Date() }
const set = { tenantId: 't', storefrontId: 's', customerId: 'c', revision: 1, sandbox: false }
const of = { customer: { tenantId: 't', storefrontId: 's', customerId: 'c' }, entitlement: 'calls', sandbox: false }
const answerTo = (seq: number, change: Partial<LedgerAnswer> = {}): LedgerAnswer => ({
  ...{ seq, leases: [], limit: 10, used: 0, free: 0, recallable: 0, recall: false, resetsAtMs: undefined, laterUses: 0, usageSeq: 1 },
  ...change,
})
const open = (options: Pick<MetersOptions, 'ask'> & Partial<MetersOptions>) => {
  const told: string[] = []
  const meters = createMeters({ clock, faults: { tell: (_, what) => void told.push(what) }, ...options })
  const use = (withinMs: number, change: object = {}) =>
    meters.consume(set, { entitlement: 'calls', amount: 1, nowMs: Date.now(), untilMs: Date.now() + withinMs, whenAway: 'deny', ...change })
  return { meters, use, told }
}

test('an answer to another question is none: the next is asked, and somebody is told', async (t) => {
  const asked: number[] = []
  const { use, told, meters } = open({
    ask: async ({ question: { seq } }) => {
      asked.push(seq)
      return asked.length < 3 ? answerTo(seq + 100) : answerTo(seq, { leases: [{ id: 'l', lent: 1, spent: 0, untilMs: Date.now() + 60_000 }] })
    },
  })
  const alive = setInterval(() => {}, 1_000)
  t.teardown(() => clearInterval(alive))
  t.is(await use(2_000), 'allowed')
  t.is(told.length, 2)
  t.like(meters.stats(), { unanswered: 2 })
})

test('what is reserved while nobody answers is committed whole after a restart', async (t) => {
  const kept: JournalEntry[] = []
  const journal = (found: JournalEntry[]): Journal => ({ ...noJournal(), isKept: true, found, keep: (entry) => void kept.push(entry) })
  const away = () => Promise.reject(new Error('away'))
  const before = open({ ask: away, journal: journal([]) })
  t.is(await before.use(2_000, { amount: 7, whenAway: 'allow', reservation: { id: 'r', expiresAtMs: Date.now() + 60_000 } }), 'allowed')
  const { meters } = open({ ask: away, journal: journal(kept.slice(-1)) })
  t.like(meters.found, [{ ...of, id: 'r', amount: 7 }])
})
