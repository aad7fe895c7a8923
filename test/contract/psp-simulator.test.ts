/** The simulator's own adapter over HTTP: what it promises of charges, refunds and disputes, and what it tells by itself. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { systemClock } from '../../common/clock.ts'
import { createLog } from '../../common/log.ts'
import { Secret } from '../../common/secret.ts'
import type { ChargeRequest, PspEvent } from '../../control-plane/payments/psp/psp.ts'
import { createSandboxTime, createSimulatorPsp } from '../../control-plane/payments/psp/simulator/adapter.ts'
import { startPspSimulator } from '../../psp-simulator/server.ts'
import { eventually } from '../support/eventually.ts'

const SECRET = new Secret(`whsec_${Buffer.alloc(32, 7).toString('base64')}`)
const DAY_MS = 24 * 3_600_000
const START_MS = Date.parse('2024-03-15T00:00:00Z')
const log = createLog('silent')

/** A simulator, somebody who takes its webhooks, and adapters at any time of a sandbox tenant, or of a live one's. */
const open = async (t: ExecutionContext) => {
  const events: PspEvent[] = []
  /** How many of the next webhooks are refused. */
  const receiver = { refuse: 0 }
  const at = (testNow: Date | undefined, webhookUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`) =>
    createSimulatorPsp({ url: simulator.url, tenantId: 'a shop', accountId: 'stripe', webhookUrl, webhookSecret: SECRET, timeoutMs: 2_000, testNow })
  const server = createServer(async (request, answer) => {
    const rawBody = Buffer.concat(await request.toArray()).toString()
    const headers = request.headers as Record<string, string>
    const psp = at(undefined)
    await psp.verifyWebhook({ headers, query: {}, rawBody })
    const refused = receiver.refuse > 0
    if (refused) receiver.refuse -= 1
    else events.push(...psp.readEvents({ headers, query: {}, rawBody }))
    answer.writeHead(refused ? 503 : 200).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const simulator = await startPspSimulator({ host: '127.0.0.1', port: 0, ledgerPath: ':memory:', webhookSecret: SECRET, clock: systemClock, log })
  t.teardown(async () => {
    await simulator.close()
    server.close()
  })
  const time = createSandboxTime({ url: () => simulator.url, timeoutMs: 5_000, log })
  return {
    at,
    events,
    receiver,
    time: { next: () => time.nextEvent('a shop'), moveTo: (ms: number) => time.moveTo('a shop', new Date(ms)) },
    told: () => events.map(({ type }) => type),
    ledger: async () => (await fetch(`${simulator.url}/v1/ledger/a%20shop`)).json() as Promise<Record<'charges' | 'refunds' | 'disputes', object[]>>,
    act: async (url: string, outcome: 'approve' | 'decline') =>
      (await fetch(url, { method: 'POST', body: JSON.stringify({ outcome }), headers: { 'content-type': 'application/json' } })).json() as Promise<object>,
  }
}

const order = (token: string, change: Partial<ChargeRequest> = {}): ChargeRequest => ({
  reference: 'pay_1-1',
  amountMinor: 2900,
  currency: 'USD',
  token,
  capture: 'automatic',
  offSession: false,
  ...change,
})
const name = { reference: 'pay_1-1', amountMinor: 2900, currency: 'USD' }
const refund = (change: object = {}) => ({ reference: 'pay_1-1.ref_1', charge: name, amountMinor: 900, ...change })

test('a charge is known by its reference, and one that was never made is unknown', async (t) => {
  const { at } = await open(t)
  const psp = at(undefined)
  t.deepEqual(await psp.inquire(name), { status: 'not_found' })
  t.deepEqual(await psp.inquireRefund(refund()), { status: 'not_found' })
  t.like(await psp.cancel('k', name), { status: 'unknown', pspCode: 'http_404' })
  t.like(await psp.charge(order('pm_card')), { status: 'succeeded' })
  t.deepEqual(await psp.inquire(name), await psp.charge(order('pm_card')))
})

test('a challenge that was given up refuses its customer, who is told so', async (t) => {
  const { at, act, told } = await open(t)
  const psp = at(undefined)
  const asked = await psp.charge(order('pm_sca'))
  if (asked.status !== 'requires_action') throw new Error(asked.status)
  for (let n = 0; n < 2; n += 1) t.like(await psp.cancel('k', name), { status: 'declined', declineClass: 'action_required' })
  t.like(await act(asked.actionUrl, 'approve'), { status: 'declined', declineClass: 'action_required' })
  t.like(await psp.inquire(name), { status: 'declined' })
  t.deepEqual(told(), [])
})

test('a challenge that was already paid is reported as paid, and one that cannot be given up may still be', async (t) => {
  const { at, act, told } = await open(t)
  const psp = at(undefined)
  const late = { ...name, reference: 'pay_2-1' }
  const asked = await psp.charge(order('pm_sca'))
  const lasting = await psp.charge(order('pm_sca_late', { reference: late.reference }))
  if (asked.status !== 'requires_action' || lasting.status !== 'requires_action') throw new Error('nobody has to act')
  await act(asked.actionUrl, 'approve')
  t.like(await psp.cancel('k', name), { status: 'succeeded' })
  t.like(await psp.cancel('k', late), { status: 'unknown', pspCode: 'http_409' })
  t.like(await psp.inquire(late), { status: 'requires_action' })
  await act(lasting.actionUrl, 'approve')
  t.like(await psp.cancel('k', late), { status: 'succeeded' })
  await eventually(async () => told().length === 2)
})

test('an authorized charge is captured or released, once; and its capture may be refused', async (t) => {
  const { at, ledger } = await open(t)
  const psp = at(undefined)
  const held = (token: string, reference: string) => psp.charge(order(token, { reference, capture: 'separate' }))
  for (const [reference, token, what, outcome] of [
    ['pay_1-1', 'pm_card', 'capture', { status: 'succeeded' }],
    ['pay_2-1', 'pm_card', 'release', { status: 'declined', declineClass: 'technical', pspCode: 'released' }],
    ['pay_3-1', 'pm_capture_fails', 'capture', { status: 'declined', declineClass: 'technical' }],
    ['pay_4-1', 'pm_capture_fails', 'release', { status: 'declined', pspCode: 'released' }],
  ] as const) {
    t.like(await held(token, reference), { status: 'authorized' }, reference)
    t.like(await psp.refund(refund({ charge: { ...name, reference } })), { status: 'failed' }, 'what is only held cannot be given back')
    for (let n = 0; n < 2; n += 1) t.like(await psp[what]('k', { ...name, reference }), outcome, reference)
    t.like(await psp[what === 'capture' ? 'release' : 'capture']('k', { ...name, reference }), outcome, 'the other way is closed')
  }
  t.like(await held('pm_decline_funds', 'pay_5-1'), { status: 'declined', declineClass: 'funds' })
  t.like(await psp.charge(order('pm_capture_fails', { reference: 'pay_6-1' })), { status: 'succeeded' })
  t.is((await ledger()).charges.filter((charge) => (charge as { status: string }).status === 'succeeded').length, 2)
})

test('a charge whose customer acts, or that waits, is authorized first if the account asks for it', async (t) => {
  const { at, act, told } = await open(t)
  const psp = at(undefined)
  const asked = await psp.charge(order('pm_sca', { capture: 'separate' }))
  if (asked.status !== 'requires_action') throw new Error(asked.status)
  t.like(await act(asked.actionUrl, 'approve'), { status: 'authorized' })
  t.like(await psp.charge(order('pm_pending', { reference: 'pay_2-1', capture: 'separate' })), { status: 'pending' })
  await eventually(async () => told().length === 2)
  t.deepEqual(told(), ['charge.authorized', 'charge.authorized'])
  for (const reference of ['pay_1-1', 'pay_2-1']) t.like(await psp.capture('k', { ...name, reference }), { status: 'succeeded' })
})

test('events by the system clock follow half a second later, in order', async (t) => {
  const { at, events, told } = await open(t)
  const psp = at(undefined)
  await psp.charge(order('pm_refund_pending_3d_refund_bounces_dispute_lost'))
  t.like(await psp.refund(refund()), { status: 'pending' })
  t.like(await psp.inquireRefund(refund()), { status: 'pending' })
  await eventually(async () => told().length === 4)
  t.deepEqual(told(), ['dispute.opened', 'refund.succeeded', 'dispute.lost', 'refund.failed'])
  t.like(await psp.inquireRefund(refund()), { status: 'failed', pspCode: 'bounced' })
  t.like(events[0]?.dispute, { status: 'open', amountMinor: 2900, currency: 'USD' })
  t.is(events[0]?.dispute?.id, events[2]?.dispute?.id)
})

test("events in a sandbox follow by the tenant's clock, and carry its time", async (t) => {
  const { at, events, told, time } = await open(t)
  const psp = at(new Date(START_MS))
  await psp.charge(order('pm_dispute_won'))
  const stops: number[] = []
  for (let next = await time.next(); next; next = await time.next()) {
    stops.push(next.getTime() - START_MS)
    await time.moveTo(next.getTime())
  }
  t.deepEqual(stops, [DAY_MS, 8 * DAY_MS])
  t.deepEqual(told(), ['dispute.opened', 'dispute.won'])
  t.deepEqual(events[0]?.dispute?.at, new Date(START_MS + DAY_MS))
  t.deepEqual(events[0]?.dispute?.respondBy, new Date(START_MS + 8 * DAY_MS))
  t.deepEqual(events[1]?.dispute?.at, new Date(START_MS + 8 * DAY_MS))
})

test('a dispute takes what is left, which cannot be refunded as well; a charge with nothing left gets no dispute', async (t) => {
  const { at, events, told, time } = await open(t)
  const psp = at(new Date(START_MS))
  await psp.charge(order('pm_dispute_lost'))
  t.like(await psp.refund(refund()), { status: 'succeeded' })
  const whole = { ...name, reference: 'pay_2-1' }
  await psp.charge(order('pm_dispute', { reference: whole.reference }))
  t.like(await psp.refund(refund({ reference: 'pay_2-1.ref_1', charge: whole, amountMinor: 2900 })), { status: 'succeeded' })
  await psp.charge(order('pm_decline_hard_dispute', { reference: 'pay_3-1' }))
  await time.moveTo(START_MS + DAY_MS)
  t.deepEqual(told(), ['dispute.opened'])
  t.is(events[0]?.dispute?.amountMinor, 2000)
  const rest = refund({ reference: 'pay_1-1.ref_2', amountMinor: 1 })
  t.like(await at(new Date(START_MS + DAY_MS)).refund(rest), { status: 'failed' })
  await time.moveTo(START_MS + 30 * DAY_MS)
  t.deepEqual(told(), ['dispute.opened', 'dispute.lost'])
  t.like(await at(new Date(START_MS + 30 * DAY_MS)).refund(rest), { status: 'failed' })
})

test('a refund is made once per reference, waits, fails and comes back; a failed one returns no money', async (t) => {
  const { at, ledger, told, time } = await open(t)
  const psp = at(new Date(START_MS))
  await psp.charge(order('pm_refund_pending_2d_refund_bounces_12h'))
  for (let n = 0; n < 2; n += 1) t.like(await psp.refund(refund({ amountMinor: 2900 })), { status: 'pending' })
  t.like(await psp.refund(refund({ amountMinor: 1 })), { status: 'failed' }, 'the reference was used for another amount')
  t.like(await psp.refund(refund({ reference: 'pay_1-1.ref_2', amountMinor: 1 })), { status: 'failed' }, 'nothing is left')
  await time.moveTo(START_MS + 2 * DAY_MS)
  t.like(await psp.inquireRefund(refund()), { status: 'succeeded' })
  await time.moveTo(START_MS + 2.5 * DAY_MS)
  t.like(await psp.inquireRefund(refund()), { status: 'failed', pspCode: 'bounced' })
  t.like(await psp.refund(refund({ amountMinor: 2900 })), { status: 'failed', pspCode: 'bounced' }, 'the old reference brings the old answer')
  const later = at(new Date(START_MS + 2.5 * DAY_MS))
  t.like(await later.refund(refund({ reference: 'pay_1-1.ref_3', amountMinor: 2900 })), { status: 'pending' }, 'it can be given again')
  t.deepEqual(told(), ['refund.succeeded', 'refund.failed'])

  await psp.charge(order('pm_refund_fails', { reference: 'pay_2-1' }))
  const refused = refund({ reference: 'pay_2-1.ref_1', charge: { ...name, reference: 'pay_2-1' } })
  t.like(await psp.refund(refused), { status: 'failed', pspCode: 'refused' })
  t.like(await psp.inquireRefund(refused), { status: 'failed', pspCode: 'refused' })
  t.deepEqual(
    (await ledger()).refunds.map((one) => (one as { status: string }).status),
    ['failed', 'pending', 'failed'],
  )
})

test('a refused event is sent again, and the next one of the same charge waits for it', async (t) => {
  const { at, receiver, told, time } = await open(t)
  await at(new Date(START_MS)).charge(order('pm_dispute_won'))
  receiver.refuse = 1
  await time.moveTo(START_MS + DAY_MS)
  t.deepEqual(told(), [])
  receiver.refuse = 1
  await time.moveTo(START_MS + 30 * DAY_MS)
  t.deepEqual(told(), [], 'the decision does not overtake the opening')
  await eventually(async () => told().length === 2)
  t.deepEqual(told(), ['dispute.opened', 'dispute.won'])
})

test('a clock that was set back before the first charge is followed from there', async (t) => {
  const { at, told, time } = await open(t)
  await time.moveTo(START_MS + 365 * DAY_MS)
  await at(new Date(START_MS)).charge(order('pm_dispute'))
  t.deepEqual(await time.next(), new Date(START_MS + DAY_MS))
  t.deepEqual(told(), [])
  await time.moveTo(START_MS + DAY_MS)
  t.deepEqual(told(), ['dispute.opened'])
})

test('later events are counted from when the money was taken: the approval, the capture, or the end of a wait', async (t) => {
  const { at, act, told, time } = await open(t)
  const psp = at(new Date(START_MS))
  const asked = await psp.charge(order('pm_sca_dispute'))
  await psp.charge(order('pm_dispute', { reference: 'pay_2-1', capture: 'separate' }))
  if (asked.status !== 'requires_action') throw new Error(asked.status)
  await time.moveTo(START_MS + 2 * DAY_MS)
  t.is(await time.next(), undefined, 'nothing was taken yet')
  await act(asked.actionUrl, 'approve')
  t.deepEqual(await time.next(), new Date(START_MS + 3 * DAY_MS))
  await time.moveTo(START_MS + 3 * DAY_MS)
  t.is(await time.next(), undefined)
  await at(new Date(START_MS + 5 * DAY_MS)).capture('k', { ...name, reference: 'pay_2-1' })
  t.deepEqual(await time.next(), new Date(START_MS + 6 * DAY_MS))
  await time.moveTo(START_MS + 6 * DAY_MS)
  await at(new Date(START_MS + 6 * DAY_MS)).charge(order('pm_pending_dispute', { reference: 'pay_3-1' }))
  await eventually(async () => told().length === 4)
  t.deepEqual(told(), ['charge.succeeded', 'dispute.opened', 'dispute.opened', 'charge.succeeded'])
  t.deepEqual(await time.next(), new Date(START_MS + 7 * DAY_MS), 'half a second of somebody else is no time for the tenant')
})
