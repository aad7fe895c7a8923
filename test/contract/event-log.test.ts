/** Two control planes append to one log of events, die on the way, and are read meanwhile. On every real storage. */
import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import { createEventLogs, type EventLogs } from '../../control-plane/events/log.ts'
import { keys } from '../../control-plane/keys.ts'
import type { OutboxEvent } from '../../control-plane/schemas/schema.ts'
import type { Storage } from '../../control-plane/storage/storage.ts'
import { mongodbMissing } from '../support/mongodb.ts'
import { mongodb, type Stores, sqlite } from '../support/two-stores.ts'

const eventOf = (subject: string, seq: number): OutboxEvent => ({
  id: `evt_${subject}_${seq}`,
  type: 'bundle.updated',
  seq,
  time: new Date(0).toISOString(),
  subject,
  data: { seq },
})

const logsOf = (storage: Pick<Storage, 'loggedEvents' | 'eventLogs'>): EventLogs => createEventLogs({ storage, clock: systemClock })

/** A storage in which an entry is not written: its process dies after it has taken the place. */
const mortal = (storage: Storage, isFatal: (id: string) => boolean): Storage => ({
  ...storage,
  loggedEvents: {
    ...storage.loggedEvents,
    insert: async (entry) => {
      if (isFatal(entry.id)) throw new Error('killed')
      return storage.loggedEvents.insert(entry)
    },
  },
})

/** Goes on after what it has, in small pages. */
const readerOf = (logs: EventLogs, tenantId: string) => {
  const seen: { id: string; subject: string; seq: number }[] = []
  let after = 0
  return {
    seen,
    read: async (): Promise<number> => {
      const { events, upTo } = await logs.read(tenantId, after, 3)
      seen.push(...events.map(({ id, subject, seq }) => ({ id, subject, seq })))
      after = upTo
      return events.length
    },
  }
}

for (const { name, open, missing } of [
  { name: 'SQLite', open: sqlite, missing: undefined },
  { name: 'MongoDB', open: mongodb, missing: mongodbMissing },
]) {
  if (missing !== undefined) {
    test.skip(`the log of events on ${name} (${missing})`, () => {})
    continue
  }

  const withStores = async (run: (stores: Stores) => Promise<void>) => {
    const stores = await open()
    try {
      await run(stores)
    } finally {
      await stores.close()
    }
  }

  test(`the log of events on ${name}: two append at once, and a reader sees each event once and in order`, async (t) => {
    await withStores(async ({ a, b }) => {
      const tenantId = 'two'
      const appenders = [logsOf(a), logsOf(b)]
      const subjects = ['one', 'other', 'third', 'fourth']
      const reader = readerOf(logsOf(b), tenantId)
      let isDone = false
      const reading = (async () => {
        while (!isDone) {
          await reader.read()
          await new Promise(setImmediate)
        }
        while ((await reader.read()) > 0);
      })()
      // Each subject is one document: its events come in order, now through this process and now through that one; some come twice.
      await Promise.all(
        subjects.map(async (subject) => {
          for (let seq = 1; seq <= 40; seq += 1) {
            await appenders[seq % 2]?.append(tenantId, [eventOf(subject, seq)])
            if (seq % 5 === 0) await appenders[(seq + 1) % 2]?.append(tenantId, [eventOf(subject, seq)])
          }
        }),
      )
      isDone = true
      await reading
      for (const subject of subjects) {
        const seqs = reader.seen.filter((event) => event.subject === subject).map(({ seq }) => seq)
        t.deepEqual(
          seqs,
          Array.from({ length: 40 }, (_, n) => n + 1),
          subject,
        )
      }
    })
  })

  test(`the log of events on ${name}: a reader does not skip what a dead process has taken a place for`, async (t) => {
    await withStores(async ({ a, b }) => {
      const tenantId = 'dead'
      const dying = logsOf(mortal(a, (id) => id === 'evt_x_2'))
      const [living, reader] = [logsOf(b), readerOf(logsOf(b), tenantId)]
      await t.throwsAsync(dying.append(tenantId, [eventOf('x', 1), eventOf('x', 2), eventOf('x', 3)]), { message: 'killed' })
      while ((await reader.read()) > 0);
      t.deepEqual(
        reader.seen.map(({ id }) => id),
        ['evt_x_1', 'evt_x_2', 'evt_x_3'],
        'whoever reads next writes it',
      )
      // The document did not hear that they are in the log, and hands them on again beside what has come since.
      await living.append(tenantId, [eventOf('x', 1), eventOf('x', 2), eventOf('x', 3), eventOf('x', 4)])
      while ((await reader.read()) > 0);
      await reader.read()
      t.deepEqual(
        reader.seen.map(({ seq }) => seq),
        [1, 2, 3, 4],
      )
    })
  })

  test(`the log of events on ${name}: what a dead process has begun stands before what another appends`, async (t) => {
    await withStores(async ({ a, b }) => {
      const tenantId = 'begun'
      const dying = logsOf(mortal(a, () => true))
      await t.throwsAsync(dying.append(tenantId, [eventOf('x', 1)]), { message: 'killed' })
      await logsOf(b).append(tenantId, [eventOf('x', 2)])
      const { events, upTo } = await logsOf(a).read(tenantId, 0, 10)
      t.deepEqual(
        events.map(({ id, position }) => [id, position]),
        [
          ['evt_x_1', 1],
          ['evt_x_2', 2],
        ],
      )
      t.is(upTo, 2)
    })
  })

  test(`the log of events on ${name}: events with numbers at the end of what is exact, and large ones, are read as they were`, async (t) => {
    await withStores(async ({ a, b }) => {
      const tenantId = 'large'
      const data = {
        most: Number.MAX_SAFE_INTEGER,
        least: Number.MIN_SAFE_INTEGER,
        null: null,
        'a.b': 1,
        $set: 2,
        list: Array.from({ length: 500 }, (_, n) => ({ key: `k${n}` })),
      }
      const many = Array.from({ length: 150 }, (_, n) => ({ ...eventOf('x', n + 1), data: { ...data, pad: 'x'.repeat(30_000) } }))
      await logsOf(a).append(tenantId, many)
      const { events } = await logsOf(b).read(tenantId, 0, 200)
      t.deepEqual(
        events.map(({ seq }) => seq),
        many.map(({ seq }) => seq),
      )
      t.deepEqual(events[149]?.data, many[149]?.data)
      t.true(((await a.eventLogs.get(keys.eventLog(tenantId))).pending?.length ?? 0) < 64, 'the head holds a part of them')
    })
  })
}
