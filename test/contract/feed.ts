/** What every feed adapter owes, as `feed.ts` says it. */
import type { ExecutionContext, TestFn } from 'ava'
import type { CustomerUsage, EntitlementSet, TestClock } from '../../common/entitlements/model.ts'
import { encodeSet } from '../../common/entitlements/wire.ts'
import { isAppError } from '../../common/errors.ts'
import { type Feed, type FeedListener, MAX_SET_BYTES, type MissingSet, MissingSetError } from '../../common/feed/feed.ts'
import { eventually } from '../support/eventually.ts'
import { bytesOf, textOf } from '../support/text.ts'

export interface FeedUnderTest {
  name: string
  /** Two handles on one feed, as a control plane and a sidecar would have. */
  open?: () => Promise<{ publisher: Feed; reader: Feed; close(): Promise<void> }>
  missing?: string
}

let made = 0
const newCustomer = () => {
  made += 1
  return { tenantId: 't', storefrontId: 'us store', customerId: `john+${made}@example.com` }
}

const setOf = (customer: ReturnType<typeof newCustomer>, revision: number): EntitlementSet => ({
  ...customer,
  revision,
  sandbox: revision % 2 === 0,
  grants: [
    { key: 'flag', subscriptionId: 's', bundleId: 'b', fromMs: 1, untilMs: 2, inactive: false, terms: { kind: 'flag', enabled: true } },
    {
      key: 'quota',
      subscriptionId: 's',
      bundleId: 'b',
      fromMs: 1_700_000_000_000,
      inactive: true,
      terms: { kind: 'quota', limit: 10_000, per: 'quarter', anchorMs: -1, timeZone: 'Europe/Berlin' },
    },
    { key: 'seats', subscriptionId: 's', bundleId: 'b', fromMs: 0, inactive: false, terms: { kind: 'capacity', limit: null } },
    { key: 'support', subscriptionId: 's', bundleId: 'b', fromMs: 0, inactive: false, terms: { kind: 'value', value: 'business hours' } },
  ],
  usage: [
    { key: 'quota', used: revision, untilMs: 5 },
    { key: 'seats', used: 3 },
  ],
})

const recorder = () => {
  const sets: EntitlementSet[] = []
  const clocks: TestClock[] = []
  const missing: MissingSet[] = []
  const listener: FeedListener = {
    onSet: (set) => sets.push(set),
    onMissing: (one) => missing.push(one),
    onClock: (clock) => clocks.push(clock),
    onReset: () => {},
  }
  return { sets, clocks, missing, listener }
}

/** Of exactly so many bytes, encoded. */
const setOfBytes = (customer: ReturnType<typeof newCustomer>, revision: number, bytes: number): EntitlementSet => {
  const withValue = (length: number): EntitlementSet => ({
    ...customer,
    revision,
    sandbox: false,
    grants: [{ key: 'k', subscriptionId: 's', bundleId: 'b', fromMs: 0, inactive: false, terms: { kind: 'value', value: 'x'.repeat(length) } }],
    usage: [],
  })
  const set = withValue(bytes - (encodeSet(withValue(bytes)).length - bytes))
  if (encodeSet(set).length !== bytes) throw new Error(`${encodeSet(set).length} bytes instead of ${bytes}`)
  return set
}

export const testFeed = (test: TestFn, adapter: FeedUnderTest): void => {
  const { open } = adapter
  if (!open) {
    test.skip(`feed on ${adapter.name} (${adapter.missing})`, () => {})
    return
  }
  const opened = open()
  const check = (title: string, run: (t: ExecutionContext, publisher: Feed, reader: Feed) => Promise<void>) => {
    test(`${adapter.name}: ${title}`, async (t) => {
      const { publisher, reader } = await opened
      await run(t, publisher, reader)
    })
  }
  test.after.always(`${adapter.name}: close`, async () => (await opened).close())

  check('a set comes back as it was put, with every kind of grant', async (t, publisher, reader) => {
    const customer = newCustomer()
    t.is(await reader.getSet(customer), undefined)
    await publisher.putSet(setOf(customer, 1))
    t.deepEqual(await reader.getSet(customer), setOf(customer, 1))
    await publisher.putSet(setOf(customer, 2))
    t.deepEqual(await reader.getSet(customer), setOf(customer, 2))
  })

  check('a lower or equal revision never replaces a higher one', async (t, publisher, reader) => {
    const customer = newCustomer()
    await publisher.putSet(setOf(customer, 5))
    await publisher.putSet(setOf(customer, 4))
    await publisher.putSet({ ...setOf(customer, 5), grants: [] })
    t.deepEqual(await reader.getSet(customer), setOf(customer, 5))
  })

  check('the highest revision of many writers at once stays', async (t, publisher, reader) => {
    const customer = newCustomer()
    const revisions = [3, 9, 1, 7, 10, 2, 8, 4, 6, 5]
    await Promise.all(revisions.map((revision, n) => (n % 2 === 0 ? publisher : reader).putSet(setOf(customer, revision))))
    const got = (await reader.getSet(customer))?.revision ?? 0
    // Where that cannot be had it is said, and whoever puts sees to it (`putLatest`).
    if (publisher.mayReorder()) t.true(revisions.includes(got))
    else t.is(got, 10)
  })

  const removalOf = (customer: ReturnType<typeof newCustomer>, revision: number): EntitlementSet => ({
    ...customer,
    revision,
    sandbox: false,
    grants: [],
    usage: [],
    removed: true,
  })

  check('a removed customer has no set, returns under a higher revision only, and watches hear of both', async (t, publisher, reader) => {
    const customer = newCustomer()
    const { sets, listener } = recorder()
    await publisher.putSet(setOf(customer, 4))
    const watch = await reader.watch(listener)
    await publisher.putSet(removalOf(customer, 5))
    t.is(await reader.getSet(customer), undefined)
    t.is(await publisher.getSet(customer), undefined)
    await reader.putSet(setOf(customer, 5))
    await publisher.putSet(setOf(customer, 3))
    t.is(await reader.getSet(customer), undefined, 'what comes late does not bring it back')
    await publisher.putSet(setOf(customer, 6))
    t.deepEqual(await reader.getSet(customer), setOf(customer, 6))
    await eventually(() => sets.some(({ customerId, revision }) => customerId === customer.customerId && revision === 6))
    t.deepEqual(
      sets.filter(({ customerId }) => customerId === customer.customerId),
      [removalOf(customer, 5), setOf(customer, 6)],
    )
    await watch.stop()
  })

  check('the trace of a removal can be deleted, and nothing else can', async (t, publisher, reader) => {
    const [gone, anew, other] = [newCustomer(), newCustomer(), newCustomer()]
    await publisher.putSet(removalOf(gone, 5))
    await publisher.putSet(removalOf(anew, 5))
    await publisher.putSet(setOf(anew, 6))
    await publisher.putSet(setOf(other, 7))
    for (const customer of [anew, other, newCustomer()]) await reader.forgetSet(customer)
    await Promise.all([reader.forgetSet(gone), publisher.forgetSet(gone)])
    t.deepEqual(await publisher.getSet(anew), setOf(anew, 6))
    t.deepEqual(await publisher.getSet(other), setOf(other, 7))
    t.is(await publisher.getSet(gone), undefined)
    await publisher.putSet(setOf(gone, 1))
    t.deepEqual(await reader.getSet(gone), setOf(gone, 1), 'nothing of it is left')
  })

  check('a watch delivers every later change, and no earlier one', async (t, publisher, reader) => {
    const [before, customer] = [newCustomer(), newCustomer()]
    await publisher.putSet(setOf(before, 1))
    const { sets, listener } = recorder()
    const watch = await reader.watch(listener)
    t.true(watch.isLive())
    await publisher.putSet(setOf(customer, 1))
    await publisher.putSet(setOf(customer, 2))
    await eventually(() => sets.some((set) => set.customerId === customer.customerId && set.revision === 2))
    t.deepEqual(
      sets.findLast((set) => set.customerId === customer.customerId),
      setOf(customer, 2),
    )
    t.false(sets.some((set) => set.customerId === before.customerId))
    await watch.stop()
    t.false(watch.isLive())
    await publisher.putSet(setOf(customer, 3))
    await publisher.ping()
    t.false(sets.some((set) => set.revision === 3 && set.customerId === customer.customerId))
  })

  check(
    'a question is answered by one of those who answer, once; what is told is heard by each; and by nobody when there is none',
    async (t, publisher, reader) => {
      await t.throwsAsync(reader.ask('t', bytesOf('anybody?'), 500), { message: /feed|control plane/ })
      const heard: string[] = []
      const told: string[][] = [[], []]
      const answerAs = (to: string[]) =>
        publisher.answer(
          async (question, tenantId) => {
            t.is(tenantId, 't', 'whom a question may be about is known')
            heard.push(textOf(question))
            return bytesOf(`${textOf(question)} yes`)
          },
          (message, tenantId) => {
            to.push(`${tenantId ?? 'all'}: ${textOf(message)}`)
            if (textOf(message) === 'bad') throw new Error('a listener that fails')
          },
        )
      const stops = await Promise.all(told.map(answerAs))
      // NATS hears of who answers a moment later.
      await eventually(async () => textOf(await reader.ask('t', bytesOf('there?'), 500).catch(() => bytesOf(''))) === 'there? yes')
      heard.length = 0
      const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => reader.ask('t', bytesOf(`ü ${n}`), 2_000)))
      t.deepEqual(
        answers.map(textOf),
        Array.from({ length: 20 }, (_, n) => `ü ${n} yes`),
      )
      t.is(heard.length, 20)
      await eventually(async () => {
        await reader.tell(undefined, bytesOf('there?'))
        return told.every((one) => one.includes('all: there?'))
      })
      for (const [tenantId, text] of [
        ['ü*', 'bad'],
        ['ü*', 'one'],
        [undefined, 'two'],
      ] as const)
        await reader.tell(tenantId, bytesOf(text))
      await eventually(() => told.every((one) => one.includes('ü*: one') && one.includes('all: two')))
      for (const one of told)
        t.deepEqual(
          one.toSorted().filter((text) => text !== 'all: there?'),
          ['all: two', 'ü*: bad', 'ü*: one'],
        )
      t.is(heard.length, 20, 'what is told is no question')
      for (const stop of stops) stop()
      await eventually(async () => textOf(await reader.ask('t', bytesOf('still there?'), 500).catch(() => bytesOf(''))) === '')
      // Whoever tells cannot know that nobody hears it.
      for (const tenantId of ['ü*', undefined]) await reader.tell(tenantId, bytesOf('nobody'))
      await publisher.ping()
      t.false(told.flat().some((text) => text.includes('nobody')))
    },
  )

  check('what a customer has used is told to who follows it, and to nobody else', async (t, publisher, reader) => {
    const [one, other] = [newCustomer(), newCustomer()]
    const heard: CustomerUsage[] = []
    let isWanted = true
    const following = reader.followUsage((usage) => {
      heard.push(usage)
      return isWanted
    })
    following.follow(one)
    following.follow(one)
    const usage = (usageSeq: number): CustomerUsage => ({
      ...one,
      usageSeq,
      usage: [
        { key: 'calls', used: usageSeq, untilMs: 5, subscriptionId: 's' },
        { key: 'seats', used: 3 },
      ],
    })
    // NATS hears of who follows a moment later.
    await eventually(async () => {
      await publisher.sayUsage(usage(1))
      return heard.length > 0
    })
    await publisher.sayUsage({ ...usage(2), ...other })
    await publisher.sayUsage(usage(3))
    await eventually(() => heard.some(({ usageSeq }) => usageSeq === 3))
    t.deepEqual(heard.at(-1), usage(3))
    t.true(heard.every(({ customerId }) => customerId === one.customerId))
    isWanted = false
    heard.length = 0
    await publisher.sayUsage(usage(4))
    await eventually(() => heard.length === 1)
    await publisher.sayUsage(usage(5))
    following.follow(other)
    await eventually(async () => {
      await publisher.sayUsage({ ...usage(6), ...other })
      return heard.length > 1
    })
    t.true(
      heard.slice(1).every(({ customerId }) => customerId === other.customerId),
      'who is of no interest is not followed any more',
    )
    following.stop()
    const before = heard.length
    await publisher.sayUsage(usage(7))
    await publisher.ping()
    t.is(heard.length, before)
  })

  check("a watch's knowledge is as recent as its last word from the feed", async (t, _publisher, reader) => {
    const watch = await reader.watch(recorder().listener)
    const startedMs = watch.currentAsOfMs()
    await eventually(() => watch.currentAsOfMs() > startedMs)
    await watch.stop()
    const stoppedMs = watch.currentAsOfMs()
    await new Promise((resolve) => setTimeout(resolve, 20))
    t.is(watch.currentAsOfMs(), stoppedMs)
  })

  check('a set of the largest size travels; one more byte is refused as too large, and changes nothing', async (t, publisher, reader) => {
    const customer = newCustomer()
    await publisher.putSet(setOfBytes(customer, 1, MAX_SET_BYTES))
    t.is((await reader.getSet(customer))?.revision, 1)
    const error = await t.throwsAsync(publisher.putSet(setOfBytes(customer, 2, MAX_SET_BYTES + 1)))
    t.true(isAppError(error, 'set_too_large'))
    t.is((await reader.getSet(customer))?.revision, 1)
  })

  check('a set that no reader could use is refused, and changes nothing', async (t, publisher, reader) => {
    const customer = newCustomer()
    const good = setOf(customer, 1)
    await publisher.putSet(good)
    const [flag, quota] = good.grants as [EntitlementSet['grants'][number], EntitlementSet['grants'][number]]
    const wrong: Partial<EntitlementSet>[] = [
      { grants: [{ ...flag, terms: { kind: 'perpetual' } as never }] },
      { grants: [{ ...quota, terms: { ...quota.terms, per: 'fortnight' } as never }] },
      { grants: [{ ...quota, terms: { ...quota.terms, timeZone: 'Moon/Tranquility' } as never }] },
      { grants: [{ ...quota, terms: { ...quota.terms, anchorMs: 8.64e15 + 1 } as never }] },
      { grants: [{ ...quota, terms: { ...quota.terms, limit: 2 ** 63 } as never }] },
      { grants: [{ ...flag, fromMs: Number.NaN }] },
      { grants: [{ ...flag, untilMs: Number.POSITIVE_INFINITY }] },
      { usage: [{ key: 'quota', used: 0.5 }] },
      { usage: [{ key: 'quota', used: Number.NaN }] },
    ]
    for (const change of wrong) {
      const error = await t.throwsAsync(publisher.putSet({ ...setOf(customer, 2), ...change }), undefined, JSON.stringify(change))
      t.true(isAppError(error, 'internal'), String(error))
    }
    t.deepEqual(await reader.getSet(customer), good)
  })

  check('word of a missing set replaces an older set; it is told once, is never "none", and a whole set ends it', async (t, publisher, reader) => {
    const customer = newCustomer()
    const { sets, missing, listener } = recorder()
    const watch = await reader.watch(listener)
    await publisher.putSet(setOf(customer, 3))
    t.false(await publisher.putMissing(customer, 3), 'that revision is there')
    t.false(await publisher.putMissing(customer, 2))
    t.deepEqual(await reader.getSet(customer), setOf(customer, 3))
    t.true(await publisher.putMissing(customer, 4))
    t.false(await publisher.putMissing(customer, 4), 'the feed has said so already')
    const told = () => missing.filter(({ customerId }) => customerId === customer.customerId)
    await eventually(() => told().length > 0)
    t.deepEqual(told(), [{ ...customer, revision: 4 }])
    const error = await t.throwsAsync(reader.getSet(customer))
    t.true(error instanceof MissingSetError && isAppError(error, 'unavailable'))
    t.deepEqual((error as MissingSetError).missing, { ...customer, revision: 4 })
    await publisher.putSet(setOf(customer, 3))
    await t.throwsAsync(reader.getSet(customer), { instanceOf: MissingSetError }, 'an older set does not mend it')
    await publisher.putSet(setOf(customer, 4))
    t.deepEqual(await reader.getSet(customer), setOf(customer, 4))
    await eventually(() => sets.some(({ customerId, revision }) => customerId === customer.customerId && revision === 4))
    const unheard = newCustomer()
    t.true(await publisher.putMissing(unheard, 1))
    await t.throwsAsync(reader.getSet(unheard), { instanceOf: MissingSetError })
    await watch.stop()
  })

  check('an error of one listener reaches neither the publisher nor another listener', async (t, publisher, reader) => {
    const customer = newCustomer()
    const fail = () => {
      throw new Error('of a listener')
    }
    const { sets, clocks, listener } = recorder()
    const watches = [await reader.watch({ onSet: fail, onMissing: fail, onClock: fail, onReset: fail }), await reader.watch(listener)]
    await publisher.putSet(setOf(customer, 1))
    await publisher.putMissing(customer, 2)
    await publisher.putSet(setOf(customer, 3))
    await publisher.putClock({ tenantId: `tenant ${made++}`, revision: 1, nowMs: 1 })
    await eventually(() => sets.some(({ customerId, revision }) => customerId === customer.customerId && revision === 3))
    await eventually(() => clocks.length > 0)
    t.true(watches.every((watch) => watch.isLive()))
    for (const watch of watches) await watch.stop()
  })

  check('test clocks travel like sets', async (t, publisher, reader) => {
    const tenantId = `tenant ${made++}`
    const { clocks, listener } = recorder()
    const watch = await reader.watch(listener)
    t.is(await reader.getClock(tenantId), undefined)
    await publisher.putClock({ tenantId, revision: 2, nowMs: 200 })
    await publisher.putClock({ tenantId, revision: 1, nowMs: 100 })
    t.deepEqual(await reader.getClock(tenantId), { tenantId, revision: 2, nowMs: 200 })
    await eventually(() => clocks.some((clock) => clock.tenantId === tenantId && clock.revision === 2))
    await watch.stop()
    t.pass()
  })

  check('ping answers', async (t, _publisher, reader) => {
    await t.notThrowsAsync(reader.ping())
  })
}
