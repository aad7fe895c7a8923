import test from 'ava'
import fc from 'fast-check'
import { MAX_COUNT } from '../../common/entitlements/model.ts'
import type { HolderQuestion } from '../../common/metering/holder-words.ts'
import { askPlaces, heldOf, livingPlaces, MAX_HOLDERS, nextEnd, type Places, usedOf } from '../../control-plane/metering/holders.ts'

const customer = { tenantId: 't', storefrontId: 's', customerId: 'c' }
const START = Date.UTC(2024, 2, 1)
const question = (change: Partial<HolderQuestion>): HolderQuestion => ({
  ...{ customer, entitlement: 'seats', id: 'q', act: 'acquire', holder: '', amount: 1, ttlMs: 0 },
  ...change,
})
const none: Places = { entries: [], holders: [] }
const at = (ms: number): Date => new Date(START + ms)

test('whatever is asked, no more is acquired than the limit, holders occupy once, and the count is the sum', (t) => {
  const step = fc.record({
    act: fc.constantFrom('acquire' as const, 'acquire' as const, 'release' as const, 'settle' as const),
    entitlement: fc.constantFrom('seats', 'slots'),
    holder: fc.constantFrom('', 'ann', 'ben', 'cem'),
    amount: fc.integer({ min: 1, max: 3 }),
    ttlMs: fc.constantFrom(0, 5, 50),
    passedMs: fc.integer({ min: 0, max: 20 }),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.integer({ min: 0, max: 6 }), (steps, limit) => {
      let places = none
      let nowMs = 0
      for (const { passedMs, ...rest } of steps) {
        nowMs += passedMs
        const asked = question({ ...rest, ...(rest.act === 'settle' ? { heir: rest.holder } : {}) })
        const before = usedOf(livingPlaces(places, at(nowMs)).entries, asked.entitlement)
        const decided = askPlaces(places, asked, { limit, isSoft: false, now: at(nowMs) })
        places = decided.places
        const { used, outcome } = decided.answer
        t.is(used, usedOf(places.entries, asked.entitlement))
        if (asked.act === 'acquire') t.true(outcome === 'granted' ? used === before + asked.amount && used <= limit : used === before)
        if (asked.act === 'release') t.true(used <= before)
        for (const key of ['seats', 'slots']) {
          t.true(heldOf(places.holders, key) <= usedOf(places.entries, key))
          const names = places.holders.filter((one) => one.key === key).map(({ holder }) => holder)
          t.is(new Set(names).size, names.length)
        }
        t.true(places.holders.every(({ until }) => until === undefined || until > at(nowMs)))
      }
    }),
    { numRuns: 2_000 },
  )
})

test('a holder is renewed, never ends earlier than it would have, and stays when it is said to', (t) => {
  const terms = (ms: number) => ({ limit: 1, isSoft: false, now: at(ms) })
  const endOf = ({ holders }: Places) => holders[0]?.until?.getTime()
  const first = askPlaces(none, question({ holder: 'ann', ttlMs: 100 }), terms(0)).places
  t.is(endOf(first), START + 100)
  const sooner = askPlaces(first, question({ holder: 'ann', ttlMs: 10 }), terms(50))
  t.is(sooner.answer.outcome, 'repeat')
  t.is(endOf(sooner.places), START + 100)
  const later = askPlaces(first, question({ holder: 'ann', ttlMs: 100 }), terms(50)).places
  t.is(endOf(later), START + 150)
  t.deepEqual(nextEnd(later.holders), at(150))
  const good = askPlaces(later, question({ holder: 'ann' }), terms(60)).places
  t.is(endOf(good), undefined)
  t.is(endOf(askPlaces(good, question({ holder: 'ann', ttlMs: 1 }), terms(60)).places), undefined)
  t.is(askPlaces(later, question({ holder: 'ben' }), terms(149)).answer.outcome, 'refused')
  t.is(askPlaces(later, question({ holder: 'ben' }), terms(150)).answer.outcome, 'granted')
})

test('soft limits and what has happened go beyond the limit; another amount, and too many holders, do not go at all', (t) => {
  const soft = askPlaces(none, question({ amount: 5 }), { limit: 3, isSoft: true, now: at(0) })
  t.like(soft.answer, { outcome: 'granted', used: 5, limit: 3 })
  const settled = askPlaces(none, question({ act: 'settle', amount: 5 }), { limit: 3, isSoft: false, now: at(0) })
  t.like(settled.answer, { outcome: 'granted', used: 5 })
  const twice = askPlaces(settled.places, question({ amount: MAX_COUNT }), { limit: null, isSoft: false, now: at(0) })
  t.like(twice.answer, { used: MAX_COUNT }, 'the largest count that is exact')
  const hard = { limit: null, isSoft: false, now: at(0) }
  const ann = askPlaces(none, question({ holder: 'ann', amount: 2 }), hard).places
  t.is(askPlaces(ann, question({ holder: 'ann', amount: 3 }), hard).answer.outcome, 'other_amount')
  const holders = Array.from({ length: MAX_HOLDERS }, (_, n) => ({ key: 'seats', holder: `${n}`, amount: 1, since: at(0) }))
  const full = { entries: [{ key: 'seats', used: MAX_HOLDERS }], holders }
  t.is(askPlaces(full, question({ holder: 'one more' }), hard).answer.outcome, 'too_many')
  t.is(askPlaces(full, question({ holder: '7' }), hard).answer.outcome, 'repeat')
})
