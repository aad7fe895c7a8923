/** What moves no money is for trying out; what is signed for a time to come was not sent now. */
import { createHmac } from 'node:crypto'
import test from 'ava'
import { createLog } from '../../common/log.ts'
import { Secret } from '../../common/secret.ts'
import { createPspDirectory } from '../../control-plane/payments/psp/directory.ts'
import { stripeProvider } from '../../control-plane/payments/psp/stripe/adapter.ts'
import { createCircuitBreakers } from '../../control-plane/payments/routing/circuit-breakers.ts'
import type { PspAccount } from '../../control-plane/schemas/psp-account.ts'
import { createSealing } from '../../control-plane/storage/sealing.ts'

const clock = { now: () => new Date(), nowMs: () => Date.now() }

test('a live tenant pays by the simulator only where somebody has said that this is meant', (t) => {
  const account = { _id: 't/sim', tenantId: 't', id: 'sim', provider: 'simulator', capabilities: {}, revision: 1 } as unknown as PspAccount
  for (const simulatorInLive of [true, false]) {
    const directory = createPspDirectory({
      providers: {} as never,
      simulator: () => ({}) as never,
      sandbox: {} as never,
      sealing: createSealing(undefined),
      clock,
      circuitOf: createCircuitBreakers({ failures: 5, openMs: 1_000 }, clock, createLog('silent')).of,
      returnUrl: () => 'http://localhost',
      timeoutMs: 1_000,
      simulatorTimeoutMs: 1_000,
      simulatorInLive,
    })
    const live = directory.open({ tenantId: 't', mode: 'live' } as never, 'sim', account)
    t.is('unusable' in live, !simulatorInLive)
    if ('unusable' in live) t.regex(live.unusable, /SIMULATOR_IN_LIVE/)
    t.false('unusable' in directory.open({ tenantId: 't', mode: 'sandbox' } as never, 'sim', account))
  }
})

test('an event of Stripe is taken within five minutes of its signature, before and after', async (t) => {
  const secret = 'whsec_0123456789'
  const made = {
    credentials: { secretKey: new Secret('sk_test_1') },
    webhookSecret: new Secret(secret),
    capture: 'automatic' as const,
    returnUrl: 'https://x.example',
    timeoutMs: 1_000,
  }
  const psp = stripeProvider({ clock, baseUrl: undefined }).create(made)
  const rawBody = JSON.stringify({ id: 'evt_1', object: 'event', type: 'x', data: { object: {} } })
  const verify = (aheadS: number) => {
    const at = Math.floor(Date.now() / 1_000) + aheadS
    const v1 = createHmac('sha256', secret).update(`${at}.${rawBody}`).digest('hex')
    return psp.verifyWebhook({ headers: { 'stripe-signature': `t=${at},v1=${v1}` }, query: {}, rawBody })
  }
  await t.notThrowsAsync(verify(0))
  await t.notThrowsAsync(verify(200))
  for (const off of [-400, 400, 3_600]) await t.throwsAsync(verify(off), { message: /does not verify/ })
})
