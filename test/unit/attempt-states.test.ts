/** What belongs to a state of an attempt, and where a state may go. */
import { readFileSync } from 'node:fs'
import test from 'ava'
import { isOpen } from '../../control-plane/payments/machine/state.ts'
import { attemptTransitions } from '../../control-plane/payments/machine/transitions.ts'
import { attemptStatuses, type Payment } from '../../control-plane/schemas/payment.ts'
import { codecFor } from '../../control-plane/storage/documents.ts'

const waysOf = (status: (typeof attemptStatuses)[number]): string[] => Object.keys(attemptTransitions[status]).filter((to) => to !== status)

test('the documentation says where each state may go', (t) => {
  const order = Object.keys(attemptTransitions) as (typeof attemptStatuses)[number][]
  const rows = order.flatMap((from) => (waysOf(from).length > 0 ? `| ${from} | ${waysOf(from).join(', ')} |` : []))
  t.true(readFileSync('docs/payments.md', 'utf8').includes(`| from | to |\n| --- | --- |\n${rows.join('\n')}\n\n`))
})

test('an open attempt may be declined, and any attempt but a success may yet succeed', (t) => {
  for (const status of attemptStatuses) {
    t.is(waysOf(status).includes('declined'), isOpen({ status }), status)
    t.is(waysOf(status).includes('succeeded'), status !== 'succeeded', status)
  }
})

test('an older document loses the fields that its state lacks, and a decline without a class becomes a technical one', (t) => {
  const common = { id: 'pay-1', pspReference: 'x' }
  const read = (stored: object): unknown => (codecFor('payments').fromStored({ attempts: [{ ...common, ...stored }] }) as Payment).attempts[0]
  const givenUp = { at: new Date(0), sure: true }
  t.deepEqual(read({ status: 'declined', actionUrl: 'u', givenUp }), { ...common, status: 'declined', declineClass: 'technical', givenUp })
  t.deepEqual(read({ status: 'declined', declineClass: 'hard' }), { ...common, status: 'declined', declineClass: 'hard' })
  t.deepEqual(read({ status: 'requires_action', actionUrl: 'u', declineClass: 'funds' }), { ...common, status: 'requires_action', actionUrl: 'u' })
  t.deepEqual(read({ status: 'succeeded', actionUrl: 'u', declineClass: 'funds', givenUp }), { ...common, status: 'succeeded' })
})
