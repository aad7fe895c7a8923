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
  tenant: string
  /** System time from which it is sent; null: by the tenant's clock alone. */
  notBeforeMs: number | null
  /** The tenant's time at which it is sent at the latest; null: the tenant has no clock of its own. */
  dueAtMs: number | null
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
  /** Oldest first. */
  queuedEvents(tenant?: string): OutgoingEvent[]
  /** The time of a tenant that has its own, as far as it is known. */
  tenantNowMs(tenant: string): number | undefined
  setTenantNow(tenant: string, nowMs: number): void
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
    CREATE TABLE IF NOT EXISTS outbox (id TEXT PRIMARY KEY, url TEXT, body TEXT, tenant TEXT, notBeforeMs INTEGER, dueAtMs INTEGER);
    CREATE INDEX IF NOT EXISTS outbox_tenant ON outbox (tenant);
    CREATE TABLE IF NOT EXISTS clocks (tenant TEXT PRIMARY KEY, nowMs INTEGER);
  `)
  const insertCharge = database.prepare('INSERT OR IGNORE INTO charges VALUES (?, ?, ?, ?, ?, ?, ?, ?)')
  const selectCharge = database.prepare('SELECT * FROM charges WHERE account = ? AND reference = ?')
  const selectChargeById = database.prepare('SELECT * FROM charges WHERE id = ?')
  const updateCharge = database.prepare('UPDATE charges SET status = ?, declineClass = ? WHERE account = ? AND reference = ?')
  const insertRefund = database.prepare('INSERT OR IGNORE INTO refunds VALUES (?, ?, ?, ?)')
  const sumRefunds = database.prepare('SELECT coalesce(sum(amount), 0) AS total FROM refunds WHERE account = ? AND chargeReference = ? AND reference <> ?')
  const selectCharges = database.prepare('SELECT * FROM charges WHERE account >= ? AND account < ? ORDER BY account, reference')
  const selectRefunds = database.prepare('SELECT * FROM refunds WHERE account >= ? AND account < ? ORDER BY account, reference')
  const insertEvent = database.prepare('INSERT OR IGNORE INTO outbox VALUES (?, ?, ?, ?, ?, ?)')
  const selectEvents = database.prepare('SELECT * FROM outbox ORDER BY rowid')
  const selectEventsOf = database.prepare('SELECT * FROM outbox WHERE tenant = ? ORDER BY dueAtMs, rowid')
  const deleteEvent = database.prepare('DELETE FROM outbox WHERE id = ?')
  const selectClock = database.prepare('SELECT nowMs FROM clocks WHERE tenant = ?')
  const upsertClock = database.prepare('INSERT INTO clocks VALUES (?, ?) ON CONFLICT (tenant) DO UPDATE SET nowMs = max(nowMs, excluded.nowMs)')

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
      insertEvent.run(event.id, event.url, event.body, event.tenant, event.notBeforeMs, event.dueAtMs)
    },
    queuedEvents: (tenant) => (tenant === undefined ? selectEvents.all() : selectEventsOf.all(tenant)) as unknown as OutgoingEvent[],
    tenantNowMs: (tenant) => selectClock.get(tenant)?.nowMs as number | undefined,
    setTenantNow: (tenant, nowMs) => {
      upsertClock.run(tenant, nowMs)
    },
    removeEvent: (id) => {
      deleteEvent.run(id)
    },
    close: () => database.close(),
  }
}
