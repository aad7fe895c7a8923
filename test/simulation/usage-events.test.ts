/** Uses come through every door, and the process dies between any two of its writes: each is counted once, and is in the history once. */
import test, { type ExecutionContext } from 'ava'
import { createBundle } from '../../control-plane/catalog/bundles.ts'
import { createCustomer } from '../../control-plane/customers/customers.ts'
import { eraseCustomer } from '../../control-plane/customers/erase-customer.ts'
import type { UsageChange } from '../../control-plane/entitlements/count-usage.ts'
import { reportEvents } from '../../control-plane/entitlements/report-events.ts'
import { reportUsage, tendCounters } from '../../control-plane/entitlements/report-usage.ts'
import { keys } from '../../control-plane/keys.ts'
import { answerHolder } from '../../control-plane/metering/answer-holder.ts'
import { answerSidecar } from '../../control-plane/metering/answer-sidecar.ts'
import { countedId, MAX_IN_COUNTERS } from '../../control-plane/metering/counted-reports.ts'
import { flushCounters } from '../../control-plane/metering/flush-counters.ts'
import { hoursIn, MAX_PENDING } from '../../control-plane/metering/history.ts'
import { monthsOfUse } from '../../control-plane/metering/read-history.ts'
import { readLedger } from '../../control-plane/metering/read-ledger.ts'
import { createSubscription } from '../../control-plane/subscriptions/create-subscription.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'
import { startWorker } from '../../control-plane/worker/worker.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { Killed, openLaboratory, storefront } from './laboratory.ts'

const HOUR_MS = 3_600_000
const ANN = { tenantId: 't', storefrontId: 'shop', customerId: 'ann' }
const key = keys.customer('t', 'shop', 'ann')

/** Ann has 10,000 calls per month, and 50 seats. */
const open = async () => {
  const laboratory = openLaboratory()
  const { services } = laboratory
  const tenant = await laboratory.newTenant('t', undefined, storefront)
  const of = tenantScope(services, tenant)
  await createBundle(of, 'shop', 'calls', {
    name: 'calls',
    pricing: { amountMinor: 100, currency: 'USD', interval: 'month', intervalCount: 1 },
    entitlements: [
      { key: 'calls', kind: 'quota', limit: 10_000, per: 'month' },
      { key: 'seats', kind: 'capacity', limit: 50 },
    ],
    trialDays: 0,
    refundEndsAccess: false,
  })
  await createCustomer(of, 'shop', 'ann', { paymentMethods: [] })
  await createSubscription(of, 'sub', { customerId: 'ann', bundleId: 'calls', storefrontId: 'shop', paymentMethod: 'good' })
  const history = async (entitlement: string): Promise<number> => {
    let total = 0
    for await (const month of monthsOfUse(tenantScope({ ...services, storage: laboratory.storage }, tenant), ANN, entitlement))
      for (const { used } of hoursIn(month)) total += used
    return total
  }
  const used = async (entitlement: string): Promise<number> => (await readLedger(of, ANN, entitlement)).used
  /** Repeats until it is done, as whoever gets no answer does; each life of the process is a little longer than the last. */
  const insist = async (work: () => Promise<unknown>, afterDeath: (deaths: number) => Promise<void> = async () => {}): Promise<number> => {
    for (let deaths = 0; ; deaths += 1) {
      laboratory.dieAt(deaths + 1)
      try {
        await work()
        laboratory.dieAt(undefined)
        return deaths
      } catch (error) {
        if (!(error instanceof Killed)) throw error
      }
      laboratory.dieAt(undefined)
      await afterDeath(deaths)
    }
  }
  return { laboratory, of, tenant, history, used, insist, now: () => services.clock.now() }
}

const eventOf = (id: string, amount: number, at: Date, entitlement = 'calls') => ({ id: countedId({ source: '/s', id }), entitlement, amount, at })

test('events count once, and are in the history once, wherever the process dies', async (t) => {
  const { laboratory, of, history, used, insist, now } = await open()
  t.teardown(laboratory.close)
  let deaths = 0
  let total = 0
  // Enough that ids and hours have to move on the way.
  for (let batch = 0; batch < 8; batch += 1) {
    const events = Array.from({ length: 40 }, (_, n) => eventOf(`${batch}-${n}`, n + 1, now()))
    deaths += await insist(() => reportEvents(of, ANN, events))
    total += (40 * 41) / 2
    const before = batch === 0 ? [] : Array.from({ length: 40 }, (_, n) => eventOf(`${batch - 1}-${n}`, n + 1, now()))
    t.deepEqual(new Set(await reportEvents(of, ANN, [...before, ...events])), new Set(['duplicate']), `batch ${batch}`)
    t.deepEqual([await used('calls'), await history('calls')], [total, total], `batch ${batch}`)
    laboratory.pass(HOUR_MS)
  }
  t.true(deaths > 150, `${deaths} deaths`)
  await laboratory.recover()
  const counters = await laboratory.storage.usageCounters.get(key)
  t.true((counters.counted ?? []).length < MAX_IN_COUNTERS + 40)
  t.truthy(counters.countedElsewhereUntil)
  t.is(await history('calls'), total)
  t.deepEqual(counters.pending, [], 'the worker has moved it')
  t.is(counters.repairAt, undefined)
})

test('what is pending moves once, wherever whoever moves it dies, and whatever is used meanwhile', async (t) => {
  const { laboratory, of, history, insist } = await open()
  t.teardown(laboratory.close)
  const stored = () => laboratory.storage.usageCounters.get(key)
  await reportUsage(of, ANN, { id: 'use', entitlement: 'calls', change: { add: 7 } })
  await reportUsage(of, ANN, { id: 'seats', entitlement: 'seats', change: { set: 9 } })
  const { moveAt } = await stored()
  laboratory.pass((moveAt?.getTime() ?? 0) - laboratory.services.clock.nowMs())
  let calls = 7
  const deaths = await insist(
    async () => tendCounters(of, await stored()),
    async (death) => {
      t.deepEqual([await history('calls'), await history('seats')], [calls, 9], `after death ${death}`)
      await reportUsage(of, ANN, { id: `use-${death}`, entitlement: 'calls', change: { add: 1 } })
      calls += 1
      t.deepEqual([await history('calls'), await history('seats')], [calls, 9], `after death ${death}, and another use`)
    },
  )
  t.true(deaths > 8, `${deaths} deaths`)
  laboratory.pass(600_000)
  await laboratory.recover()
  const { pending, repairAt } = await stored()
  t.deepEqual([pending, repairAt], [[], undefined])
  t.deepEqual([await history('calls'), await history('seats')], [calls, 9])
  t.is((await laboratory.storage.usageMonths.page({ where: ANN, limit: 10 })).data.length, 2)
})

test('two that move the same at once move it once, and what is used meanwhile is kept', async (t) => {
  const { laboratory, of, history, used } = await open()
  t.teardown(laboratory.close)
  for (let round = 1; round <= 20; round += 1) {
    const report = (n: number) => reportUsage(of, ANN, { id: `use-${round}-${n}`, entitlement: 'calls', change: { add: 1 } })
    await Promise.all([
      report(1),
      flushCounters(of, { _id: key }).catch(() => undefined),
      report(2),
      flushCounters(of, { _id: key }).catch(() => undefined),
      report(3),
    ])
    t.deepEqual([await used('calls'), await history('calls')], [3 * round, 3 * round])
  }
})

/** 150 reports, events and questions of a sidecar, some of which meet a process that dies. */
const live = async (t: ExecutionContext, seed: number): Promise<number> => {
  const random = seededRandom(seed)
  const upTo = (most: number): number => Math.floor(random() * (most + 1))
  const { laboratory, of, history, used, insist, now } = await open()
  let [seq, lent, spent, lease, deaths] = [0, 0, 0, '', 0]
  const ask = async () => {
    seq += 1
    spent += upTo(lent - spent)
    const question = {
      seq,
      least: 0,
      need: 0,
      want: upTo(40),
      uses: lease === '' ? [] : [{ lease, spent, upTo: lent }],
      laterUses: [{ seq, amount: 1 + upTo(3), atMs: now().getTime() }],
    }
    const [told] = (await answerSidecar(of, { customer: ANN, entitlement: 'calls', sidecar: 's', question })).leases
    if (told) [lent, lease] = [told.lent, told.id]
  }
  const report = (id: string, change: UsageChange, entitlement = 'calls') => reportUsage(of, ANN, { id, entitlement, change })
  const place = (act: 'acquire' | 'release', n: number) =>
    answerHolder(of, { customer: ANN, entitlement: 'seats', id: `${act}-${n}`, act, holder: `seat-${upTo(4)}`, amount: 1, ttlMs: 0 })
  const doors: ((n: number) => Promise<unknown>)[] = [
    (n) => report(`add-${n}`, { add: 1 + upTo(30) }),
    async (n) => report(`back-${n}`, { add: -upTo(await history('calls')) }),
    (n) => report(`set-${n}`, { set: upTo(500) }),
    (n) => report(`seats-${n}`, { set: 10 + upTo(40) }, 'seats'),
    (n) => place('acquire', n),
    (n) => place('release', n),
    (n) => {
      const add = 1 + upTo(9)
      const own = { id: countedId({ id: `own-${n}` }), says: 'the same' }
      return reportUsage(of, ANN, { id: `asked-${n}-${add}`, entitlement: 'calls', change: { add }, own })
    },
    (n) => {
      const events = Array.from({ length: 5 }, (_, m) => eventOf(`${n}-${m}`, 1 + upTo(9), now(), m === 0 ? 'seats' : 'calls'))
      return reportEvents(of, ANN, events)
    },
    ask,
  ]
  for (let n = 0; n < 150; n += 1) {
    const door = doors[upTo(doors.length - 1)] as (typeof doors)[number]
    if (random() < 0.2) deaths += await insist(() => door(n))
    else await door(n)
    if (random() < 0.2) laboratory.pass(upTo(30) * 60_000)
    if (random() < 0.1) await laboratory.recover()
    const { windows, outstanding } = await readLedger(of, ANN, 'calls')
    t.is(await history('calls'), (windows[0]?.counted ?? 0) - outstanding, `seed ${seed}, after ${n}`)
    t.is(await history('seats'), await used('seats'), `seed ${seed}, after ${n}`)
  }
  await laboratory.close()
  return deaths
}

test('the history has in all what was counted through all doors', async (t) => {
  let deaths = 0
  for (let seed = 1; seed <= 6; seed += 1) deaths += await live(t, seed)
  t.true(deaths > 300, `${deaths} deaths`)
})

test("one customer's events do not make a document grow without bound", async (t) => {
  const { laboratory, of, history, now } = await open()
  t.teardown(laboratory.close)
  const hours = (n: number) => new Date(now().getTime() - n * HOUR_MS)
  for (let batch = 0; batch < 4; batch += 1) {
    const events = Array.from({ length: 500 }, (_, n) => eventOf(`${batch}-${n}`, 1, hours(n)))
    t.deepEqual(new Set(await reportEvents(of, ANN, events)), new Set(['accepted']))
    const { pending = [], counted = [] } = await laboratory.storage.usageCounters.get(key)
    t.true(pending.length < MAX_PENDING + 500 && counted.length < MAX_IN_COUNTERS + 500, `${pending.length}, ${counted.length}`)
  }
  t.is(await history('calls'), 2_000)
  const again = Array.from({ length: 500 }, (_, n) => eventOf(`${n % 4}-${n}`, 1, hours(n)))
  t.deepEqual(new Set(await reportEvents(of, ANN, again)), new Set(['duplicate']))
  laboratory.pass(25 * HOUR_MS)
  t.deepEqual(new Set(await reportEvents(of, ANN, again)), new Set(['accepted']), 'after a day an id may be used again')
  t.deepEqual(new Set(await reportEvents(of, ANN, again)), new Set(['duplicate']))
  const worker = startWorker({ ...laboratory.services, storage: laboratory.storage }, { pollMs: 3_600_000 })
  t.teardown(worker.stop)
  await worker.runOnce()
  const left = await laboratory.storage.countedReports.due({ by: 'expiresAt', until: laboratory.services.clock.now(), limit: 500 })
  t.deepEqual(left, [])
})

test('months that are past their time are removed', async (t) => {
  const { laboratory, of, history } = await open()
  t.teardown(laboratory.close)
  await reportUsage(of, ANN, { id: 'use', entitlement: 'calls', change: { add: 7 } })
  await flushCounters(of, { _id: key })
  const worker = startWorker({ ...laboratory.services, storage: laboratory.storage }, { pollMs: 3_600_000 })
  t.teardown(worker.stop)
  laboratory.pass(396 * 24 * HOUR_MS)
  await worker.runOnce()
  t.is(await history('calls'), 7)
  laboratory.pass(31 * 24 * HOUR_MS)
  await worker.runOnce()
  t.is(await history('calls'), 0)
})

test('an erasure takes the history and the ids with it, wherever it dies, and whoever moves them meanwhile', async (t) => {
  for (let step = 1; ; step += 7) {
    const { laboratory, of } = await open()
    const { storage } = laboratory
    await reportEvents(
      of,
      ANN,
      Array.from({ length: 200 }, (_, n) => eventOf(`${n}`, 1, laboratory.services.clock.now())),
    )
    await flushCounters(of, { _id: key })
    await reportUsage(of, ANN, { id: 'use', entitlement: 'seats', change: { add: 1 } })
    laboratory.dieAt(step)
    const [erased] = await Promise.allSettled([
      eraseCustomer(of, { storefront: 'shop', customer: 'ann' }, () => {}, true),
      flushCounters(of, { _id: key }),
      reportEvents(of, ANN, [eventOf('late', 1, laboratory.services.clock.now())]),
    ])
    const isDone = erased.status === 'fulfilled' && erased.value.finished
    await laboratory.recover()
    const marked = (await storage.customers.find(key)) === undefined
    if (marked) {
      t.is(await storage.usageCounters.find(key), undefined, `step ${step}`)
      for (const name of ['usageMonths', 'countedReports'] as const)
        t.deepEqual((await storage[name].page({ where: { tenantId: 't' }, limit: 500 })).data, [], `step ${step}: ${name}`)
    }
    await laboratory.close()
    if (isDone) return
  }
})

for (const name of ['usageMonths', 'countedReports'] as const)
  for (const when of ['before', 'after'] as const) {
    test(`what is moved to ${name} just ${when} its customer is erased is not kept`, async (t) => {
      const { laboratory, of, tenant } = await open()
      t.teardown(laboratory.close)
      const { services, storage } = laboratory
      await reportEvents(
        of,
        ANN,
        Array.from({ length: MAX_IN_COUNTERS }, (_, n) => eventOf(`${n}`, 1, services.clock.now())),
      )
      let erasures = 0
      const erase = async (): Promise<void> => {
        erasures += 1
        if (erasures === 1) await eraseCustomer(of, { storefront: 'shop', customer: 'ann' }, () => {}, true)
      }
      const insert = async (document: never) => {
        if (when === 'before') await erase()
        const made = await storage[name].insert(document)
        if (when === 'after') await erase()
        return made
      }
      const interrupted = tenantScope({ ...services, storage: { ...services.storage, [name]: { ...storage[name], insert } } }, tenant)
      await Promise.allSettled([flushCounters(interrupted, { _id: key })])
      t.true(erasures > 0)
      for (const left of ['usageMonths', 'countedReports'] as const)
        t.deepEqual((await storage[left].page({ where: { tenantId: 't' }, limit: 500 })).data, [], left)
    })
  }

test('reports of one customer that come at once share writes, and each is counted by itself', async (t) => {
  const { laboratory, of, used } = await open()
  t.teardown(laboratory.close)
  const before = (await laboratory.storage.usageCounters.find(key))?.revision ?? 0
  const report = (n: number, change: UsageChange) => reportUsage(of, ANN, { id: `at-once-${n}`, entitlement: 'calls', change })
  const outcomes = await Promise.allSettled(
    Array.from({ length: 100 }, (_, n) => (n % 10 === 3 ? report(n, { add: -1_000 }) : n % 10 === 7 ? report(n - 1, { add: 2 }) : report(n, { add: 2 }))),
  )
  t.is(outcomes.filter(({ status }) => status === 'rejected').length, 10, 'who gives back more than there is is told so, alone')
  t.is(await used('calls'), 160, 'a repeat is counted once')
  const writes = (await laboratory.storage.usageCounters.get(key)).revision - before
  t.true(writes <= 10, `${writes} writes`)
  const last = await report(1_000, { add: 1 })
  t.is(last.used, 161)
})
