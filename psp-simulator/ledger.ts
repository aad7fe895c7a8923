/**
 * What the simulator has charged, by account and idempotency key, in a SQLite file: the truth that tests compare
 * Tollgate's own books with. Outlives the process, as a real provider outlives ours.
 */
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

export interface LedgerCharge {
  /** `<tenant>/<account>`, both URI-encoded. */
  account: string
  reference: string
  id: string
  amount: number
  currency: string
  /** `succeeded`, `declined`, `pending` or `requires_action`. */
  status: string
  declineClass: string | null
  webhookUrl: string | null
}

export interface LedgerRefund {
  account: string
  reference: string
  chargeReference: string
  amount: number
}

export interface OutgoingEvent {
  id: string
  url: string
  body: string
  /** Epoch milliseconds. */
  notBeforeMs: number
}

export interface Ledger {
  /** Stores the charge, or answers the one that is there under this account and reference. */
  charge(charge: LedgerCharge): LedgerCharge
  find(account: string, reference: string): LedgerCharge | undefined
  findById(id: string): LedgerCharge | undefined
  setStatus(charge: LedgerCharge, status: string, declineClass: string | null): void
  /** Stores the refund once; false when the charge has not that much left. */
  refund(refund: LedgerRefund): boolean
  charges(tenantId: string): LedgerCharge[]
  refunds(tenantId: string): LedgerRefund[]
  queueEvent(event: OutgoingEvent): void
  queuedEvents(): OutgoingEvent[]
  removeEvent(id: string): void
  close(): void
}

export const createLedger = (path: string): Ledger => {
  if (path !== ':memory:') mkdirSync(dirname(path), { recursive: true })
  const database = new DatabaseSync(path, { timeout: 5_000 })
  database.exec(`
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS charges (
      account TEXT, reference TEXT, id TEXT UNIQUE, amount INTEGER, currency TEXT, status TEXT, declineClass TEXT, webhookUrl TEXT,
      PRIMARY KEY (account, reference));
    CREATE TABLE IF NOT EXISTS refunds (account TEXT, reference TEXT, chargeReference TEXT, amount INTEGER, PRIMARY KEY (account, reference));
    CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, url TEXT, body TEXT, notBeforeMs INTEGER);
  `)
  const insertCharge = database.prepare('INSERT OR IGNORE INTO charges VALUES (?, ?, ?, ?, ?, ?, ?, ?)')
  const selectCharge = database.prepare('SELECT * FROM charges WHERE account = ? AND reference = ?')
  const selectChargeById = database.prepare('SELECT * FROM charges WHERE id = ?')
  const updateCharge = database.prepare('UPDATE charges SET status = ?, declineClass = ? WHERE account = ? AND reference = ?')
  const insertRefund = database.prepare('INSERT OR IGNORE INTO refunds VALUES (?, ?, ?, ?)')
  const sumRefunds = database.prepare('SELECT coalesce(sum(amount), 0) AS total FROM refunds WHERE account = ? AND chargeReference = ? AND reference <> ?')
  const selectCharges = database.prepare('SELECT * FROM charges WHERE account >= ? AND account < ? ORDER BY account, reference')
  const selectRefunds = database.prepare('SELECT * FROM refunds WHERE account >= ? AND account < ? ORDER BY account, reference')
  const insertEvent = database.prepare('INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?)')
  const selectEvents = database.prepare('SELECT * FROM events ORDER BY notBeforeMs')
  const deleteEvent = database.prepare('DELETE FROM events WHERE id = ?')

  const find = (account: string, reference: string) => selectCharge.get(account, reference) as LedgerCharge | undefined
  /** All accounts of a tenant: those that begin with its id and a slash (`0` is the character after `/`). */
  const accountsOf = (tenantId: string) => [`${encodeURIComponent(tenantId)}/`, `${encodeURIComponent(tenantId)}0`] as const

  return {
    charge: (charge) => {
      insertCharge.run(charge.account, charge.reference, charge.id, charge.amount, charge.currency, charge.status, charge.declineClass, charge.webhookUrl)
      return find(charge.account, charge.reference) ?? charge
    },
    find,
    findById: (id) => selectChargeById.get(id) as LedgerCharge | undefined,
    setStatus: (charge, status, declineClass) => {
      updateCharge.run(status, declineClass, charge.account, charge.reference)
    },
    refund: (refund) => {
      const charge = find(refund.account, refund.chargeReference)
      const given = sumRefunds.get(refund.account, refund.chargeReference, refund.reference)?.total as number
      if (charge?.status !== 'succeeded' || given + refund.amount > charge.amount) return false
      insertRefund.run(refund.account, refund.reference, refund.chargeReference, refund.amount)
      return true
    },
    charges: (tenantId) => selectCharges.all(...accountsOf(tenantId)) as unknown as LedgerCharge[],
    refunds: (tenantId) => selectRefunds.all(...accountsOf(tenantId)) as unknown as LedgerRefund[],
    queueEvent: (event) => {
      insertEvent.run(event.id, event.url, event.body, event.notBeforeMs)
    },
    queuedEvents: () => selectEvents.all() as unknown as OutgoingEvent[],
    removeEvent: (id) => {
      deleteEvent.run(id)
    },
    close: () => database.close(),
  }
}
