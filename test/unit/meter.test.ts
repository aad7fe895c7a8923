import test from 'ava'
import type { LedgerAnswer, LedgerQuestion } from '../../common/metering/ledger-words.ts'
import { Meter, type Outcome } from '../../sidecar/metering/meter.ts'

const END = 1_000_000
const answerTo = ({ seq }: LedgerQuestion, change: Partial<LedgerAnswer> = {}): LedgerAnswer => ({
  seq,
  leases: [],
  limit: 100,
  used: 0,
  free: 100,
  recallable: 0,
  recall: false,
  resetsAtMs: END,
  laterUses: 0,
  usageSeq: 1,
  ...change,
})
const lease = (lent: number, spent = 0, untilMs = END) => ({ id: 'l', lent, spent, untilMs })

/** A meter, the outcomes of the uses that waited for it, and its next question, which there must be. */
const open = () => {
  let seq = 0
  const meter = new Meter({
    nextSeq: () => {
      seq += 1
      return seq
    },
  })
  const outcomes: Outcome[] = []
  const wait = (amount: number, untilMs = 5_000) => meter.wait({ amount, whenAway: 'deny' }, untilMs, (outcome) => void outcomes.push(outcome))
  const question = (nowMs: number, atMs: number): LedgerQuestion => {
    const asked = meter.next(nowMs, atMs)
    if (!asked) throw new Error('nothing is asked')
    return asked
  }
  return { meter, outcomes, wait, question }
}

test('a use waits for what the ledger lends, and the next is counted at once', (t) => {
  const { meter, outcomes, wait, question } = open()
  t.is(meter.use({ amount: 2, whenAway: 'deny' }, 0, 0), undefined)
  wait(2)
  const asked = question(0, 0)
  t.like(asked, { seq: 1, least: 2, need: 2, uses: [] })
  t.is(meter.next(0, 1), undefined, 'one question at a time')
  t.true(meter.answered(answerTo(asked, { leases: [lease(5)] }), 2))
  t.deepEqual(outcomes, ['allowed'])
  t.is(meter.use({ amount: 3, whenAway: 'deny' }, 0, 3), 'allowed')
  t.is(meter.use({ amount: 1, whenAway: 'deny' }, 0, 4), undefined)
  t.like(meter.reading(0), { limit: 100, used: 0, since: 5 })
})

test('only the answer to the last question counts', (t) => {
  const { meter, outcomes, wait, question } = open()
  wait(1)
  const first = question(0, 0)
  meter.unanswered(first.seq, 0, 300)
  const second = question(0, 400)
  t.false(meter.answered(answerTo(first, { leases: [lease(10)] }), 401))
  t.deepEqual(outcomes, [])
  t.true(meter.answered(answerTo(second, { leases: [lease(1)] }), 402))
  t.deepEqual(outcomes, ['allowed'])
})

test('an unanswered question is followed by another, though nobody waits any more', (t) => {
  const { meter, wait, question } = open()
  const hangUp = wait(1)
  const asked = question(0, 0)
  hangUp()
  meter.unanswered(asked.seq, 0, 300)
  t.false(meter.isAtRest)
  const next = question(0, 400)
  t.like(next, { least: 0, need: 0, uses: [] })
  meter.answered(answerTo(next), 401)
  t.true(meter.isAtRest)
})

test('a use beyond all that there is is refused, and so is the next one for a moment without a question', (t) => {
  const { meter, outcomes, wait, question } = open()
  wait(7)
  meter.answered(answerTo(question(0, 0), { free: 6, used: 94 }), 1)
  t.deepEqual(outcomes, ['refused'])
  t.is(meter.use({ amount: 7, whenAway: 'deny' }, 0, 100), 'refused')
  t.is(meter.use({ amount: 6, whenAway: 'deny' }, 0, 100), undefined, 'a smaller one may be allowed')
  t.is(meter.use({ amount: 7, whenAway: 'deny' }, 0, 300), undefined)
  t.is(meter.use({ amount: 7, whenAway: 'deny' }, END, 100), undefined, 'another window has begun')
})

test('a use waits for units that others may give back, asks again, and is told in time that nobody can say', (t) => {
  const { meter, outcomes, wait, question } = open()
  wait(7, 1_000)
  meter.answered(answerTo(question(0, 0), { free: 0, recallable: 10 }), 1)
  t.deepEqual(outcomes, [])
  t.is(meter.next(0, 5), undefined)
  meter.answered(answerTo(question(0, 12), { free: 0, recallable: 10 }), 13)
  t.is(meter.next(0, 1_000), undefined)
  t.deepEqual(outcomes, ['unavailable'])
})

test('nothing is spent in the last second of a window but what the ledger lends then', (t) => {
  const { meter, outcomes, wait, question } = open()
  wait(1)
  meter.answered(answerTo(question(0, 0), { leases: [lease(10)] }), 1)
  t.is(meter.use({ amount: 1, whenAway: 'deny' }, END - 1_001, 2), 'allowed')
  t.is(meter.use({ amount: 1, whenAway: 'deny' }, END - 1_000, 3), undefined)
  wait(1)
  meter.answered(answerTo(question(END - 1_000, 4), { leases: [lease(10, 2)] }), 5)
  t.deepEqual(outcomes, ['allowed', 'allowed'])
})

test('what is not spent for three seconds is given back, and what was spent is told every second', (t) => {
  const { meter, wait, question } = open()
  wait(1)
  meter.answered(answerTo(question(0, 0), { leases: [lease(10)] }), 1)
  t.is(meter.next(0, 999), undefined)
  meter.answered(answerTo(question(0, 1_000), { leases: [lease(10, 1)], used: 1 }), 1_001)
  t.is(meter.next(0, 2_500), undefined)
  t.deepEqual(question(0, 3_002).uses, [{ lease: 'l', spent: 1, upTo: 1 }])
})

test('a changed set ends what is held at once, and the higher of two numbers is shown until the ledger has answered', (t) => {
  const { meter, wait, question } = open()
  wait(1)
  meter.answered(answerTo(question(0, 0), { leases: [lease(10)] }), 1)
  meter.setChanged()
  t.is(meter.use({ amount: 1, whenAway: 'deny' }, 0, 2), undefined)
  t.like(meter.reading(0), { used: 0, since: 1, isOld: true })
  const asked = question(0, 3)
  t.deepEqual(asked.uses, [{ lease: 'l', spent: 1, upTo: 1 }])
  meter.answered(answerTo(asked, { limit: 50, used: 1 }), 4)
  t.like(meter.reading(0), { limit: 50, used: 1, isOld: false })
  t.is(meter.reading(END), undefined, 'the window is over')
})

test('more is asked for where more is spent', (t) => {
  const { meter, wait, question } = open()
  wait(1)
  meter.answered(answerTo(question(0, 0), { leases: [lease(1_000)] }), 1)
  for (let n = 0; n < 100; n += 1) meter.use({ amount: 5, whenAway: 'deny' }, 0, 2 + n)
  const { want } = question(0, 1_000)
  t.true(want > 400 && want <= 1_002, String(want))
})

test('the ledger may know of more that was spent than a new meter does', (t) => {
  const { meter, outcomes, wait, question } = open()
  wait(1)
  meter.answered(answerTo(question(0, 0), { leases: [lease(40, 39)], used: 39 }), 1)
  t.deepEqual(outcomes, ['allowed'])
  t.is(meter.use({ amount: 1, whenAway: 'deny' }, 0, 2), undefined, 'one of forty was left')
})

test('a meter that is recalled gives back what it does not need, unless somebody waits here', (t) => {
  const { meter, wait, question } = open()
  wait(1)
  meter.answered(answerTo(question(0, 0), { leases: [lease(10)] }), 1)
  t.true(meter.recall())
  t.deepEqual(question(0, 2).uses, [{ lease: 'l', spent: 1, upTo: 1 }])
  t.false(meter.recall(), 'there is nothing left')
})

test('what a journal says beyond what was lent is not believed', (t) => {
  const { meter, question } = open()
  meter.restore({ leases: [{ id: 'l', spent: 26, untilMs: END }], reservations: [], laterUses: [] }, 0)
  const asked = question(0, 1)
  t.deepEqual(asked.uses, [{ lease: 'l', spent: 26, upTo: 26 }])
  meter.answered(answerTo(asked, { leases: [lease(10, 10)], used: 10 }), 2)
  t.like(meter.leases()[0], { lent: 10, spent: 10 })
  t.like(meter.reading(0), { used: 10, since: 0 })
})

test('what was asked for before the set has changed is given back, and who waits is decided by the next answer', (t) => {
  const { meter, outcomes, wait, question } = open()
  wait(1)
  const before = question(0, 0)
  meter.setChanged()
  meter.answered(answerTo(before, { limit: 100, leases: [lease(50)] }), 1)
  t.deepEqual(outcomes, [])
  t.is(meter.use({ amount: 1, whenAway: 'deny' }, 0, 2), undefined, 'nothing is spent by the limit of before')
  const after = question(0, 3)
  t.like(after, { need: 1, uses: [{ lease: 'l', spent: 0, upTo: 0 }] })
  t.true(meter.reading(0)?.isOld)
  meter.answered(answerTo(after, { limit: 0, free: 0 }), 4)
  t.deepEqual(outcomes, ['refused'])
  t.false(meter.reading(0)?.isOld)
})

test('a use that the journal cannot be told of ends, too', (t) => {
  let isOurs = true
  let seq = 0
  const nextSeq = () => {
    seq += 1
    return seq
  }
  const keep = () => {
    if (!isOurs) throw new Error('another process has the journal')
  }
  const meter = new Meter({ nextSeq, keep })
  const outcomes: Outcome[] = []
  for (const whenAway of ['deny', 'allow', 'deny'] as const) meter.wait({ amount: 1, whenAway }, 5_000, (outcome) => void outcomes.push(outcome))
  const asked = meter.next(0, 0) as LedgerQuestion
  isOurs = false
  t.throws(() => meter.answered(answerTo(asked, { leases: [lease(10)] }), 1))
  t.deepEqual(outcomes, [])
  meter.next(0, 5_000)
  t.deepEqual(outcomes, ['unavailable', 'unavailable', 'unavailable'])
})
