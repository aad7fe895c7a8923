/** The connection to the feed is cut again and again, at random moments, under a stream of changes: no change is lost. */
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import { createLog } from '../../common/log.ts'
import { eventually } from '../support/eventually.ts'
import { openKept, openReader } from '../support/nats-feeds.ts'
import { natsMissing, startNatsServer } from '../support/nats-server.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { openSidecar, setOf } from '../support/sidecar.ts'
import { createProxy } from '../support/tcp-proxy.ts'

const CUTS = Number(process.env.RECONNECT_CUTS ?? 100)
const SEED = Number(process.env.RECONNECT_SEED ?? Date.now() % 1_000_000)
const CUSTOMERS = 40
const suite = natsMissing ? test.skip : test

suite(`after ${CUTS} cuts every customer has its last set, and none ever went back${natsMissing ? ` (${natsMissing})` : ''}`, async (t) => {
  t.timeout(240_000)
  const random = seededRandom(SEED)
  let writing = true
  const nats = await startNatsServer()
  const proxy = await createProxy(nats.url)
  const log = createLog('silent')
  const options = { bucket: 'cuts', clock: systemClock, log }
  const writer = await openKept({ ...options, url: nats.url })
  const reader = await openReader({ ...options, url: proxy.url, reconnectWaitMs: 5 })
  const sidecar = await openSidecar({}, { feed: reader })
  t.teardown(async () => {
    writing = false
    await sidecar.close()
    await reader.close()
    await writer.close()
    await proxy.close()
    await nats.stop()
  })

  // Everybody is in memory: from here on the watch alone brings what is new.
  for (let n = 0; n < CUSTOMERS; n += 1) {
    await writer.putSet(setOf(`c${n}`, 1, { usage: [{ key: 'seats', used: 1 }] }))
    await sidecar.check(`c${n}`, 'seats')
  }
  const revisions = new Array<number>(CUSTOMERS).fill(1)
  const seen = new Array<number>(CUSTOMERS).fill(0)
  let asked = 0
  const write = async () => {
    while (writing) {
      const n = Math.floor(random() * CUSTOMERS)
      const next = (revisions[n] ?? 0) + 1
      revisions[n] = next
      await writer.putSet(setOf(`c${n}`, next, { usage: [{ key: 'seats', used: next }] }))
    }
  }
  const ask = async () => {
    while (writing) {
      const n = Math.floor(random() * CUSTOMERS)
      const answer = await sidecar.check(`c${n}`, 'seats').catch(() => undefined)
      if (answer && answer.revision > 0n) {
        asked += 1
        if (Number(answer.revision) < (seen[n] ?? 0)) t.fail(`c${n} went from ${seen[n]} back to ${answer.revision}`)
        if (answer.used !== answer.revision) t.fail('an answer of two sets')
        seen[n] = Math.max(seen[n] ?? 0, Number(answer.revision))
      }
      await sleep(1)
    }
  }
  const busy = [write(), ask()]
  for (let cut = 0; cut < CUTS; cut += 1) {
    await sleep(random() * 60)
    proxy.cut()
    await sleep(random() * 10)
    proxy.restore()
  }
  writing = false
  await Promise.all(busy)
  await eventually(() => sidecar.replica.isLive(), 30_000)
  t.log(
    `RECONNECT_CUTS=${CUTS} RECONNECT_SEED=${SEED}: ${revisions.reduce((a, b) => a + b, 0)} changes, ${asked} answers, ${sidecar.replica.reconnects()} reconnects`,
  )
  for (const [n, revision] of revisions.entries()) {
    // Without being told of a revision: what was pushed to it is all that it has.
    await eventually(async () => Number((await sidecar.check(`c${n}`, 'seats')).revision) === revision, 20_000)
  }
  t.true(sidecar.replica.reconnects() > CUTS / 10)
  t.true(asked > CUTS)
})
