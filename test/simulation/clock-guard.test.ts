/** A clock that jumps ahead bills nobody. */

import test from 'ava'
import type { Services } from '../../control-plane/ports.ts'
import { createSubscription } from '../../control-plane/subscriptions/create-subscription.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'
import { confirmClock, startClockGuard } from '../../control-plane/worker/clock-guard.ts'
import { startWorker } from '../../control-plane/worker/worker.ts'
import { createDailyBundle, openLaboratory, storefront } from './laboratory.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const maxJumpMs = 72 * HOUR_MS
const never = 2 ** 30

const openBusiness = async () => {
  const laboratory = openLaboratory()
  const tenant = await laboratory.newTenant('t', undefined, storefront)
  await createDailyBundle(laboratory, tenant)
  for (let n = 0; n < 3; n += 1)
    await createSubscription(tenantScope(laboratory.services, tenant), `s-${n}`, {
      customerId: `c${n}`,
      bundleId: 'daily',
      storefrontId: 'shop',
      paymentMethod: 'good',
    })
  return laboratory
}

/** A control plane that starts, does what is due, and ends. @returns why it did not believe the time. */
const runOnce = async (services: Services): Promise<string | undefined> => {
  const guard = await startClockGuard({ ...services, maxJumpMs })
  const worker = startWorker(services, { pollMs: never, mayBill: () => guard.problem() === undefined })
  await worker.runOnce()
  await worker.stop()
  guard.stop()
  return guard.problem()
}

test('no other clock: a jump beyond the bound bills nobody until an operator says that it is right', async (t) => {
  const laboratory = await openBusiness()
  t.teardown(laboratory.close)
  const { services, bank } = laboratory
  const clockNow = () => runOnce(services)
  t.is(await clockNow(), undefined)
  laboratory.pass(2 * DAY_MS)
  t.is(await clockNow(), undefined, 'a control plane may be down for a while')
  const before = bank.charges().length
  t.is(before, 3 + 2 * 3)
  laboratory.pass(400 * DAY_MS)
  t.regex((await clockNow()) ?? '', /later than when a control plane last ran; if that is right, run "npm run clock:confirm"/)
  t.is(bank.charges().length, before)
  await confirmClock(services)
  t.is(await clockNow(), undefined)
  t.is(bank.charges().length, before + 400 * 3)
})

test("a storage server's clock decides: nothing is billed while it disagrees, and a long downtime needs nobody", async (t) => {
  const laboratory = await openBusiness()
  t.teardown(laboratory.close)
  const { bank } = laboratory
  let serverMs = laboratory.services.clock.nowMs()
  let isAway = false
  const serverTime = async () => {
    if (isAway) throw new Error('away')
    return new Date(serverMs)
  }
  const services = { ...laboratory.services, storage: { ...laboratory.services.storage, serverTime } }
  const run = () => runOnce(services)
  t.is(await run(), undefined)
  const before = bank.charges().length
  laboratory.pass(10 * DAY_MS)
  t.regex((await run()) ?? '', /240 hours apart/)
  t.is(bank.charges().length, before)
  // It was right after all: it is the other that was slow, and has been set.
  serverMs = services.clock.nowMs() + 1_000
  t.is(await run(), undefined)
  t.is(bank.charges().length, before + 10 * 3)
  isAway = true
  t.regex((await run()) ?? '', /not been compared yet/, 'what cannot be compared at a start is not believed')
})
