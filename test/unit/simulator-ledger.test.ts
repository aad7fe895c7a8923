/** The simulator's ledger is a file that outlives releases: one that exists today still opens, with all that is in it. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test, { type ExecutionContext } from 'ava'
import { createBank } from '../../psp-simulator/bank.ts'
import { createLedger } from '../../psp-simulator/ledger.ts'

const NOW_MS = Date.parse('2024-03-15T00:00:00Z')

/** As files were made before refunds had a status, and charges a token. */
const oldFile = (t: ExecutionContext): string => {
  const folder = mkdtempSync(join(tmpdir(), 'simulator-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'psp-simulator.sqlite')
  const database = new DatabaseSync(path)
  database.exec(`
    CREATE TABLE charges (
      account TEXT, reference TEXT, id TEXT UNIQUE, amount INTEGER, currency TEXT, status TEXT, declineClass TEXT, webhookUrl TEXT,
      PRIMARY KEY (account, reference));
    CREATE TABLE refunds (account TEXT, reference TEXT, chargeReference TEXT, amount INTEGER, PRIMARY KEY (account, reference));
    CREATE TABLE outbox (id TEXT PRIMARY KEY, url TEXT, body TEXT, tenant TEXT, notBeforeMs INTEGER, dueAtMs INTEGER);
    CREATE TABLE clocks (tenant TEXT PRIMARY KEY, nowMs INTEGER);
    INSERT INTO charges VALUES
      ('shop/stripe', 'paid', 'ch_paid', 2900, 'USD', 'succeeded', NULL, 'http://127.0.0.1:1/'),
      ('shop/stripe', 'waits', 'ch_waits', 2900, 'USD', 'pending', NULL, 'http://127.0.0.1:1/'),
      ('shop/stripe', 'told', 'ch_told', 2900, 'USD', 'pending', NULL, 'http://127.0.0.1:1/');
    INSERT INTO refunds VALUES ('shop/stripe', 'paid.ref_1', 'paid', 900);
    INSERT INTO outbox VALUES ('evt_ch_waits', 'http://127.0.0.1:1/', '{"type":"charge.succeeded","data":{"id":"ch_waits","reference":"waits","status":"succeeded"}}', 'shop', NULL, ${NOW_MS + 1_000});
    INSERT INTO clocks VALUES ('shop', ${NOW_MS});
  `)
  database.close()
  return path
}

test('a file from before keeps its charges, its refunds and what is still to happen', (t) => {
  const path = oldFile(t)
  const ledger = createLedger(path)
  const bank = createBank({ ledger, clock: { now: () => new Date(NOW_MS), nowMs: () => NOW_MS } })
  const statuses = () => ledger.charges('shop').map(({ reference, status }) => [reference, status])
  t.deepEqual(statuses(), [
    ['paid', 'succeeded'],
    ['told', 'succeeded'],
    ['waits', 'pending'],
  ])
  t.like(ledger.refunds('shop')[0], { reference: 'paid.ref_1', amount: 900, status: 'succeeded' })
  const paid = ledger.find('shop/stripe', 'paid')
  if (!paid) throw new Error('the charge is gone')
  const moment = bank.momentFor(paid, undefined)
  t.is(bank.refund(paid, 'paid.ref_2', 2_001, moment), undefined)
  t.like(bank.refund(paid, 'paid.ref_2', 2_000, moment), { status: 'succeeded' })

  t.is(ledger.nextDueMs('shop'), NOW_MS + 1_000)
  bank.happenDue('shop')
  t.is(ledger.untold('shop').length, 0)
  ledger.setTenantNow('shop', NOW_MS + 1_000)
  bank.happenDue('shop')
  t.deepEqual(statuses()[2], ['waits', 'succeeded'])
  t.deepEqual(
    ledger.untold('shop').map(({ id }) => id),
    ['evt_ch_waits'],
  )
  ledger.close()

  // Opened once more, it is as it was left.
  const again = createLedger(path)
  t.is(again.untold('shop').length, 1)
  t.is(again.refunds('shop').length, 2)
  again.close()
})
