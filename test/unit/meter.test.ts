import test from 'ava'
import type { LedgerAnswer, LedgerQuestion } from '../../common/metering/ledger-words.ts'
import { Meter, type MeterRecord, type Outcome } from '../../sidecar/metering/meter.ts'

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

const MINUTE_MS = 60_000

/** A meter that has been lent so much, and what its journal was told. */
const lentTo = (units: number, untilMs = END) => {
  const records: MeterRecord[] = []
  let seq = 0
  const make = () =>
    new Meter({
      nextSeq: () => {
        seq += 1
        return seq
      },
      keep: (record) => void records.push(structuredClone(record)),
    })
  const meter = make()
  const outcomes: Outcome[] = []
  meter.wait({ amount: 1, whenAway: 'deny', reservation: { id: 'first', expiresAtMs: 10 } }, 5_000, (outcome) => void outcomes.push(outcome))
  meter.answered(answerTo(meter.next(0, 0) as LedgerQuestion, { leases: [lease(units, 0, untilMs)] }), 1)
  meter.release('first')
  const reserve = (id: string, amount: number, expiresAtMs = 1_000) => meter.use({ amount, whenAway: 'deny', reservation: { id, expiresAtMs } }, 0, 2)
  const held = () => meter.leases().map(({ lent, spent, kept }) => [lent, spent, kept])
  return { meter, make, reserve, held, last: () => records.at(-1) as MeterRecord }
}

test('what is reserved is nobody else’s; what is committed is spent, and the rest is free', (t) => {
  const { meter, reserve, held, last } = lentTo(10)
  t.is(reserve('a', 6), 'allowed')
  t.deepEqual(last().reservations, [{ id: 'a', parts: [{ lease: 'l', units: 6 }], expiresAtMs: 1_000, amount: 6 }])
  t.is(reserve('b', 5), undefined)
  t.deepEqual(held(), [[10, 0, 6]])
  t.true(meter.commit('a', 2, 0))
  t.deepEqual(held(), [[10, 2, 0]])
  t.deepEqual(last().reservations, [])
  t.false(meter.commit('a', 2, 0))
  reserve('c', 8)
  t.true(meter.release('c'))
  t.false(meter.release('c'))
  t.deepEqual(held(), [[10, 2, 0]])
})

test('a reservation ends by itself; until then its units stay through what is given back, and the meter is not at rest', (t) => {
  const { meter, reserve, held } = lentTo(10)
  reserve('a', 6, 4_000)
  meter.giveBack()
  t.deepEqual(held(), [[6, 0, 6]])
  const asked = meter.next(0, 3) as LedgerQuestion
  t.deepEqual(asked.uses, [{ lease: 'l', spent: 0, upTo: 6 }])
  meter.answered(answerTo(asked, { leases: [lease(6)] }), 4)
  t.deepEqual(held(), [[6, 0, 6]])
  t.false(meter.isAtRest)
  meter.next(0, 3_999)
  t.deepEqual(held(), [[6, 0, 6]])
  meter.next(0, 4_000)
  t.deepEqual(held(), [[6, 0, 0]])
})

test('a commit beyond what was reserved takes what is lent, and the rest is told the ledger until it has counted it', (t) => {
  const { meter, reserve, held, last } = lentTo(10)
  reserve('a', 4)
  meter.commit('a', 13, 5)
  t.deepEqual(held(), [[10, 10, 0]])
  t.deepEqual(
    last().laterUses.map(({ amount, atMs }) => [amount, atMs]),
    [[3, 5]],
  )
  t.like(meter.reading(5), { since: 13 })
  t.false(meter.isSettled)
  const asked = meter.next(5, 600) as LedgerQuestion
  t.like(asked.laterUses, [{ amount: 3, atMs: 5 }])
  const seq = asked.laterUses[0]?.seq as number
  // One that comes meanwhile is of its own, for this one may be counted already.
  meter.count(2, 6)
  meter.answered(answerTo(asked, { leases: [lease(10, 10)], used: 13, laterUses: seq }), 601)
  t.deepEqual(
    last().laterUses.map(({ amount }) => amount),
    [3, 2],
  )
  t.like(meter.reading(6), { used: 13, since: 2 })
  t.true(meter.owesWord)
  const next = meter.next(6, 602) as LedgerQuestion
  t.deepEqual(
    next.laterUses.map(({ amount }) => amount),
    [2],
    'and is told at once',
  )
  meter.answered(answerTo(next, { leases: [lease(10, 10)], used: 15, laterUses: seq }), 603)
  t.true(meter.owesWord, 'the ledger has not counted it')
  t.false(meter.isSettled)
  meter.answered(answerTo(meter.next(6, 1_700) as LedgerQuestion, { leases: [lease(10, 10)], laterUses: next.laterUses[0]?.seq as number }), 1_701)
  t.false(meter.owesWord)
  t.true(meter.isAtRest)
})

test('later uses of one minute are told as one, and never over the end of a window', (t) => {
  const { meter, last } = lentTo(1)
  const later = () => last().laterUses.map(({ amount }) => amount)
  meter.count(3, END - 2_000)
  meter.count(4, END - 1_000)
  t.deepEqual(later(), [6])
  meter.count(5, END)
  t.deepEqual(later(), [6, 5])
  meter.count(5, END + MINUTE_MS)
  t.deepEqual(later(), [6, 5, 5])
})

test('the limit is passed by what goes beyond it, and not by its last unit', (t) => {
  const { meter } = lentTo(100)
  meter.count(100, 0)
  t.false(meter.isOverLimit(0))
  meter.count(1, 0)
  t.true(meter.isOverLimit(0))
})

test('a use that may be counted without the ledger is, when nobody answers', (t) => {
  const { meter, last } = lentTo(1)
  const outcomes: Outcome[] = []
  meter.wait({ amount: 5, whenAway: 'allow' }, 5_000, (outcome) => void outcomes.push(outcome))
  meter.wait({ amount: 6, whenAway: 'deny' }, 5_000, (outcome) => void outcomes.push(outcome))
  const asked = meter.next(0, 600) as LedgerQuestion
  meter.unanswered(asked.seq, 7, 601)
  t.deepEqual(outcomes, ['allowed'])
  t.like(last().laterUses, [{ amount: 5, atMs: 7 }])
  t.is(meter.use({ amount: 2, whenAway: 'allow', reservation: { id: 'r', expiresAtMs: 2_000 } }, 8, 602), 'allowed')
  meter.answered(answerTo(meter.next(8, 1_700) as LedgerQuestion, { leases: [lease(1, 1)], free: 0, laterUses: 1_000 }), 1_701)
  t.true(meter.isSettled)
  t.false(meter.isAtRest, 'it is still reserved')
  meter.commit('r', 2, 9)
  t.like(last().laterUses, [{ amount: 2 }])
})

test('the next process has what was reserved and what is still to be told, and nothing that is free', (t) => {
  const { meter, make, reserve, last } = lentTo(160)
  meter.count(16, 0)
  reserve('a', 40)
  meter.count(200, 3)
  const record = last()
  const next = make()
  next.restore(record, 10)
  t.deepEqual(next.record(), record)
  t.is(next.use({ amount: 1, whenAway: 'deny' }, 0, 11), undefined)
  t.false(next.isAtRest)
  next.count(1, 4)
  t.is(next.record().laterUses.length, 2, 'what another process may have told is not added to')
  const asked = next.next(0, 12) as LedgerQuestion
  t.deepEqual(asked.uses, [{ lease: 'l', spent: 120, upTo: 160 }])
  t.deepEqual(
    asked.laterUses.map(({ amount }) => amount),
    [96, 1],
  )
  next.answered(answerTo(asked, { leases: [lease(160, 120)], laterUses: asked.laterUses.at(-1)?.seq as number }), 13)
  t.true(next.commit('a', 30, 14))
  t.deepEqual(
    next.leases().map(({ lent, spent, kept }) => [lent, spent, kept]),
    [[160, 150, 0]],
  )
})

test('a process that is begun again asks at once, so that what it does not need comes back', (t) => {
  const next = lentTo(1).make()
  next.restore({ leases: [{ id: 'l', spent: 0, untilMs: END }], reservations: [], laterUses: [] }, 10)
  t.false(next.isAtRest)
  t.deepEqual((next.next(0, 11) as LedgerQuestion).uses, [{ lease: 'l', spent: 0, upTo: 0 }])
})

test('the journal says at least what was spent, somewhat ahead, and exactly that when nothing more is', (t) => {
  const { meter, last } = lentTo(160)
  meter.use({ amount: 1, whenAway: 'deny' }, 0, 2)
  t.is(last().leases[0]?.spent, 1 + 9)
  const before = last()
  for (let n = 0; n < 9; n += 1) meter.use({ amount: 1, whenAway: 'deny' }, 0, 3)
  t.is(last(), before, 'nothing is written meanwhile')
  meter.use({ amount: 1, whenAway: 'deny' }, 0, 4)
  t.true((last().leases[0]?.spent as number) > 11)
  meter.noteExactly(200)
  t.is(last().leases[0]?.spent, 11)
})

test('a later count that leaves less than is lent has it given back, and ends a refusal', (t) => {
  const { meter, held } = lentTo(50)
  meter.usageTold(1, 10)
  t.deepEqual(held(), [[50, 0, 0]], 'that count is known')
  meter.usageTold(2, 50)
  t.deepEqual(held(), [[50, 0, 0]])
  meter.usageTold(3, 49)
  t.deepEqual(held(), [[0, 0, 0]])
  const one = open()
  one.wait(5)
  one.meter.answered(answerTo(one.question(0, 0), { free: 0 }), 1)
  t.deepEqual(one.outcomes, ['refused'])
  t.is(one.meter.use({ amount: 5, whenAway: 'deny' }, 0, 2), 'refused')
  one.meter.usageTold(1, 5)
  t.is(one.meter.use({ amount: 5, whenAway: 'deny' }, 0, 2), 'refused')
  one.meter.usageTold(2, 5)
  t.is(one.meter.use({ amount: 5, whenAway: 'deny' }, 0, 2), undefined)
})

test('a count that is told while the ledger is asked is heeded when it answers', (t) => {
  const { meter, outcomes, wait, question } = open()
  wait(1)
  const asked = question(0, 0)
  meter.usageTold(9, 3)
  meter.answered(answerTo(asked, { leases: [lease(40)], usageSeq: 8 }), 1)
  t.deepEqual(outcomes, ['allowed'])
  t.is(meter.use({ amount: 1, whenAway: 'deny' }, 0, 2), undefined, 'only three are left, by somebody who knows more')
  t.deepEqual(question(0, 3).uses, [{ lease: 'l', spent: 1, upTo: 1 }])
})

test('where no ledger answers others, a use that may be counted without one does not wait for its turn', (t) => {
  const { meter, outcomes, wait } = open()
  wait(1)
  meter.wait({ amount: 2, whenAway: 'allow' }, 5_000, (outcome) => void outcomes.push(outcome))
  meter.noLedger(0)
  t.deepEqual(outcomes, ['allowed'])
  t.is(meter.use({ amount: 3, whenAway: 'allow' }, 0, 1), 'allowed')
  t.true(meter.isWaitedFor, 'the other one waits')
  t.true(meter.owesWord)
})
