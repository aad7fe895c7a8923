/** What the worker has listed may be minutes old when its turn comes: another process has changed it, or holds its lease. */

import test from 'ava'
import { AppError } from '../../common/errors.ts'
import { resumePayment } from '../../control-plane/engine/advance-payment.ts'
import { refundPayment } from '../../control-plane/engine/refund-payment.ts'
import { keys } from '../../control-plane/keys.ts'
import { abandon } from '../../control-plane/payments/machine/attempts.ts'
import { payOnce } from '../../control-plane/payments/one-time-payment.ts'
import type { Psp } from '../../control-plane/payments/psp/psp.ts'
import type { Services } from '../../control-plane/ports.ts'
import type { Payment } from '../../control-plane/schemas/payment.ts'
import { update } from '../../control-plane/storage/update.ts'
import { createSubscription } from '../../control-plane/subscriptions/create-subscription.ts'
import { tenantScope } from '../../control-plane/tenant-scope.ts'
import { doWorkOfAny } from '../../control-plane/work/do-work.ts'
import { createDailyBundle, type Laboratory, openLaboratory, storefront } from './laboratory.ts'

const order = { storefrontId: 'shop', customerId: 'c', amountMinor: 700, currency: 'USD', paymentMethod: 'good' }
const HOUR_MS = 3_600_000

/** The laboratory's services, with a provider that answers so. */
const answering = ({ services }: Laboratory, answers: Partial<Psp>): Services => ({
  ...services,
  psps: {
    ...services.psps,
    open: (tenant, account, stored) => {
      const opened = services.psps.open(tenant, account, stored)
      if ('unusable' in opened) return opened
      const { psp } = opened
      const { charge, inquire, capture, release, refund, idempotencyMs } = psp
      return { ...opened, psp: { ...psp, charge, inquire, capture, release, refund, idempotencyMs, ...answers } }
    },
  },
})

const dueIn = ({ storage, services }: Laboratory) =>
  storage.payments.due({ by: 'dueAt', where: { clock: 'system' }, until: services.clock.now(), limit: 10 }) as Promise<[Payment]>

test('money of a payment that was given up after it was listed is released, not captured', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const tenant = await laboratory.newTenant('t', undefined, storefront)
  const calls: string[] = []
  const services = answering(laboratory, {
    charge: async () => ({ status: 'unknown', pspCode: 'timeout' }),
    inquire: async () => ({ status: 'authorized', pspReference: 'ch_1' }),
    capture: async () => {
      calls.push('capture')
      return { status: 'succeeded', pspReference: 'ch_1' }
    },
    release: async () => {
      calls.push('release')
      return { status: 'declined', declineClass: 'technical', pspCode: 'released', pspReference: 'ch_1' }
    },
  })
  await payOnce(tenantScope(services, tenant), 'pay_1', order)
  laboratory.pass(HOUR_MS)
  const [listed] = await dueIn(laboratory)
  await update(laboratory.storage.payments, listed._id, (latest) => abandon(latest, services.clock.now(), services.clock.now()))
  await doWorkOfAny(services, 'payments', listed)
  t.deepEqual(calls, ['release'])
})

test('a payment that three workers have listed is asked about once', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const tenant = await laboratory.newTenant('t', undefined, storefront)
  let inquiries = 0
  const services = answering(laboratory, {
    charge: async () => ({ status: 'pending', pspReference: 'ch_1' }),
    inquire: async () => {
      inquiries += 1
      return { status: 'pending', pspReference: 'ch_1' }
    },
  })
  await payOnce(tenantScope(services, tenant), 'pay_1', order)
  laboratory.pass(HOUR_MS)
  for (const [listed] of [await dueIn(laboratory), await dueIn(laboratory), await dueIn(laboratory)]) await doWorkOfAny(services, 'payments', listed)
  t.is(inquiries, 1)
})

test('a lease that was renewed since is heeded: the same charge is not sent twice at once', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const tenant = await laboratory.newTenant('t', undefined, storefront)
  const gate = Promise.withResolvers<void>()
  const sent = Promise.withResolvers<void>()
  let [charges, inFlight, most] = [0, 0, 0]
  const services = answering(laboratory, {
    charge: async () => {
      charges += 1
      if (charges === 1) throw new Error('the process dies')
      inFlight += 1
      most = Math.max(most, inFlight)
      sent.resolve()
      await gate.promise
      inFlight -= 1
      return { status: 'succeeded', pspReference: 'ch_1' }
    },
    inquire: async () => ({ status: 'not_found' }),
  })
  await t.throwsAsync(payOnce(tenantScope(services, tenant), 'pay_1', order))
  laboratory.pass(60_000)
  const list = () => laboratory.storage.payments.due({ by: 'repairAt', until: services.clock.now(), limit: 10 }) as Promise<[Payment]>
  const [[one], [other]] = [await list(), await list()]
  const first = doWorkOfAny(services, 'payments', one)
  await sent.promise
  await doWorkOfAny(services, 'payments', other)
  gate.resolve()
  await first
  t.is(most, 1)
})

test('the answer after a lost race is the payment as it is stored', async (t) => {
  const laboratory = openLaboratory()
  t.teardown(laboratory.close)
  const { services, storage } = laboratory
  const tenant = await laboratory.newTenant('t', undefined, storefront)
  await createDailyBundle(laboratory, tenant)
  const { payment } = await createSubscription(tenantScope(services, tenant), 's', {
    customerId: 'c',
    storefrontId: 'shop',
    bundleId: 'daily',
    paymentMethod: 'good',
  })
  const id = payment?.id ?? ''
  // The process dies once the money is back, before the subscription knows.
  const get: typeof storage.subscriptions.get = () => Promise.reject(new Error('died'))
  const dying: Services = { ...services, storage: { ...services.storage, subscriptions: { ...storage.subscriptions, get } } }
  await t.throwsAsync(refundPayment(tenantScope(dying, tenant), id, 'ref', 10), { message: 'died' })
  t.true((await storage.payments.get(keys.payment('t', id))).effectsDue)
  let writes = 0
  const replace: typeof storage.subscriptions.replace = async (document) => {
    writes += 1
    if (writes === 2) throw new AppError('revision_conflict', 'somebody else was first')
    return storage.subscriptions.replace(document)
  }
  const raced: Services = { ...services, storage: { ...services.storage, subscriptions: { ...storage.subscriptions, replace } } }
  const { revision } = await resumePayment(tenantScope(raced, tenant), id)
  t.true(writes > 2)
  t.is(revision, (await storage.payments.get(keys.payment('t', id))).revision)
})
