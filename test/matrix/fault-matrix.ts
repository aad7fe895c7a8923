/**
 * Every adapter × everything that can go wrong with one charge: a payment is made, the fault is met, time passes, and
 * at the end the provider's ledger and ours agree, and nobody has been charged twice.
 *
 *   npm run matrix:faults
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Counter, openCounter } from '../support/psp/counter.ts'
import type { Fault, WebhookMode } from '../support/psp/fake-psp.ts'
import { type ProviderName, providerNames, type StandIn, standIns } from '../support/psp/index.ts'

export const columns = [
  'refused connection',
  'timeout before',
  'timeout after',
  '429',
  '500 before',
  '500 after',
  'malformed answer',
  'slow answer',
  'reset after',
  'duplicate webhook',
  'webhook before answer',
  'webhook never',
  'late webhook only',
  'away past its keys',
  '429 when asked again',
] as const
export type Column = (typeof columns)[number]

export interface Cell {
  provider: ProviderName
  column: Column
  /** How the outcome came to be known, and where it was paid. */
  how: string
  /** What is wrong; empty when the books agree. */
  wrong: string[]
}

const MINUTE = 60_000
const HOUR = 60 * MINUTE
/** When inquiries come, and the next days: until after then a provider has forgotten its idempotency keys. */
const WAITS = [6 * MINUTE, 61 * MINUTE, 25 * HOUR, 25 * HOUR]
/** https://docs.stripe.com/api/idempotent_requests and its like: by then keys are forgotten. */
const KEYS_KEPT_MS: Record<ProviderName, number> = {
  stripe: 24 * HOUR,
  adyen: 7 * 24 * HOUR,
  paypal: 6 * HOUR,
  mercadopago: 24 * HOUR,
  local: Number.POSITIVE_INFINITY,
}

interface PaymentAnswer {
  id: string
  status: string
  attempts: { id: string; account: string; status: string }[]
}

const isOpen = ({ status }: PaymentAnswer): boolean => status === 'processing' || status === 'due'

/** Waits for what happens by itself: webhooks under way, and the worker's next look. */
const waitForOutcome = async (counter: Counter, all: StandIn[], id: string): Promise<PaymentAnswer> => {
  let last: PaymentAnswer | undefined
  for (let looks = 0; looks < 40; looks += 1) {
    for (const { fake } of all) await fake.quiet()
    await sleep(30)
    const { body } = await counter.api.get(`/payments/${id}`)
    if (last && JSON.stringify(last) === JSON.stringify(body) && !isOpen(body)) return body
    // An open one may be waiting for its time: it is looked at a little longer.
    if (last && looks > 12 && JSON.stringify(last) === JSON.stringify(body)) return body
    last = body
  }
  throw new Error(`payment ${id} does not come to rest`)
}

const compare = (payment: PaymentAnswer, byAccount: Record<string, StandIn>): string[] => {
  const wrong: string[] = []
  let kept = 0
  let charged = 0
  for (const [account, { fake }] of Object.entries(byAccount)) {
    for (const charge of fake.charges().filter(({ reference }) => reference.startsWith(`${payment.id}-`))) {
      const attempt = payment.attempts.find(({ id, account: at }) => id === charge.reference && at === account)
      if (!attempt) wrong.push(`${account} has a charge that we do not know`)
      const took = charge.status === 'captured'
      if (took !== (attempt?.status === 'succeeded')) wrong.push(`${account} says ${charge.status}, we say ${attempt?.status}`)
      if (!took) continue
      charged += 1
      kept += charge.amount - charge.refunds.reduce((sum, { amount }) => sum + amount, 0)
    }
  }
  const claimed = payment.attempts.filter(({ status }) => status === 'succeeded').length
  if (claimed !== charged) wrong.push(`we know of ${claimed} charges, they of ${charged}`)
  if (payment.status !== 'succeeded') wrong.push(`the payment is ${payment.status}`)
  if (kept !== 2900) wrong.push(`${kept} was kept instead of 2900`)
  return wrong
}

const prepare = async (column: Column, { fake }: StandIn): Promise<void> => {
  const mode: Partial<Record<Column, WebhookMode>> = { 'duplicate webhook': 'twice', 'webhook before answer': 'before the answer', 'slow answer': 'once' }
  fake.webhooks.mode = mode[column] ?? 'never'
  if (column === 'refused connection') await fake.down()
  else if (column === '429 when asked again') {
    fake.failNext('timeout after')
    fake.failNext('429')
  } else if (column === 'late webhook only' || column === 'away past its keys') fake.failNext('timeout after')
  else if (!column.includes('webhook')) fake.failNext(column as Fault)
}

/** Nobody answers for it: somebody looks into the provider's dashboard, and says what it says. */
const resolveByHand = async (counter: Counter, payment: PaymentAnswer, { fake }: StandIn): Promise<void> => {
  const attempt = payment.attempts.at(-1)
  const charge = fake.charge(attempt?.id ?? '')
  const outcome = charge?.status === 'captured' ? { outcome: 'succeeded', pspReference: charge.id } : { outcome: 'not_sent' }
  await counter.api.post(`/payments/${payment.id}/attempts/${attempt?.id}/resolve`, { ...outcome, reason: 'as the dashboard has it' })
}

const runCell = async (counter: Counter, provider: ProviderName, column: Column, primary: StandIn, backup: StandIn): Promise<Cell> => {
  const byAccount = { primary, backup }
  const all = [primary, backup]
  backup.fake.webhooks.mode = 'once'
  await prepare(column, primary)
  const customer = `customer-${provider}-${columns.indexOf(column)}`
  await counter.api.post('/customers', {
    id: customer,
    storefrontId: 'store',
    paymentMethods: [{ id: 'card', tokens: { primary: primary.token('ok'), backup: backup.token('ok') } }],
  })
  const order = { storefrontId: 'store', customerId: customer, amount: 2900, currency: 'USD', paymentMethod: 'card' }
  const { body: answered } = await counter.api.post('/payments', order)
  let how = isOpen(answered) ? '' : 'answer'
  if (column === 'refused connection') await primary.fake.up()
  if (column === 'late webhook only') {
    primary.fake.webhooks.mode = 'once'
    await primary.fake.conclude(answered.attempts[0].id, 'captured')
  }
  if (column === 'away past its keys') {
    // It has charged, says nothing, and is not to be reached until it has forgotten what it was asked for.
    await primary.fake.down()
    for (const wait of [6 * MINUTE, 61 * MINUTE, 8 * 24 * HOUR]) {
      counter.advance(wait)
      await waitForOutcome(counter, all, answered.id)
    }
    primary.fake.forgetKeys()
    await primary.fake.up()
  }
  let payment = await waitForOutcome(counter, all, answered.id)
  if (!isOpen(payment)) how ||= 'webhook'
  let waited = 0
  for (const wait of WAITS) {
    if (!isOpen(payment)) break
    counter.advance(wait)
    waited += wait
    if (waited > KEYS_KEPT_MS[provider]) primary.fake.forgetKeys()
    payment = await waitForOutcome(counter, all, payment.id)
    if (!isOpen(payment)) how ||= 'inquiry'
  }
  if (isOpen(payment)) {
    await resolveByHand(counter, payment, primary)
    payment = await waitForOutcome(counter, all, payment.id)
    how ||= 'operator'
  }
  const paidAt = payment.attempts.find(({ status }) => status === 'succeeded')?.account
  return { provider, column, how: paidAt === 'backup' ? `${how}, elsewhere` : how, wrong: compare(payment, byAccount) }
}

/** @returns the cells of one provider, in the order of the columns. */
export const runProvider = async (provider: ProviderName): Promise<Cell[]> => {
  const primary = await standIns[provider]()
  const backup = await standIns[provider === 'local' ? 'stripe' : 'local']()
  const storefront = { routing: { split: [{ account: 'primary', weight: 1 }], fallback: ['backup'], rules: [] } }
  const counter = await openCounter({ primary, backup } as Record<string, StandIn>, storefront)
  try {
    const cells: Cell[] = []
    for (const column of columns) cells.push(await runCell(counter, provider, column, primary as StandIn, backup as StandIn))
    return cells
  } finally {
    await counter.close()
    await Promise.all([primary.fake.close(), backup.fake.close()])
  }
}

export const printMatrix = (cells: Cell[]): string => {
  const width = Math.max(...columns.map(({ length }) => length))
  const column = Math.max(...cells.map(({ how }) => how.length), ...providerNames.map(({ length }) => length))
  const text = (of: Cell | undefined) => (of ? (of.wrong.length === 0 ? of.how : 'WRONG') : '-')
  const rows = columns.map((name) =>
    [
      name.padEnd(width),
      ...providerNames.map((provider) => text(cells.find((cell) => cell.provider === provider && cell.column === name)).padEnd(column)),
    ].join('  '),
  )
  const wrong = cells.flatMap(({ provider, column: name, wrong: what }) => what.map((one) => `${provider} × ${name}: ${one}`))
  const agree = cells.filter((cell) => cell.wrong.length === 0).length
  return [
    [' '.repeat(width), ...providerNames.map((name) => name.padEnd(column))].join('  '),
    ...rows,
    '',
    'answer: known at once; elsewhere: paid at another account; webhook, inquiry (or the same charge sent again under its key), operator: by whom it became known',
    `${agree} of ${cells.length} cells: the provider's ledger and ours agree, and the customer is charged once`,
    ...wrong,
  ].join('\n')
}
