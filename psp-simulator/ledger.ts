/**
 * The simulator's charges, refunds and disputes, in a SQLite file: the truth that tests compare Tollgate's own books with. It
 * holds also what is yet to happen, and what has happened and is yet to be told. It outlives the process, as a real provider
 * outlives ours.
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
  /** `succeeded`, `authorized`, `released`, `declined`, `pending` or `requires_action`. */
  status: string
  declineClass: string | null
  webhookUrl: string | null
  /** Its words say what follows from the charge. Null: it was made before tokens were kept, and nothing does. */
  token: string | null
  /** The tenant's time at which it was made; null: the tenant has no clock of its own, or its time was not kept. */
  madeAtMs: number | null
  /** 1: the money is held first, and taken by a second call. */
  separate: number
  /** 1: the customer was said to be away. Null: nothing was said. */
  offSession: number | null
}

export interface LedgerRefund {
  account: string
  reference: string
  chargeReference: string
  amount: number
  /** Null: made before refunds had one. */
  id: string | null
  /** `pending`, `succeeded` or `failed`. */
  status: string
  /** Why it failed. */
  code: string | null
}

export interface LedgerDispute {
  account: string
  id: string
  chargeReference: string
  amount: number
  /** `open`, `won` or `lost`. */
  status: string
}

/** The time at which something happens: whichever of the two comes first. */
export interface When {
  /** The system's time; null: by the tenant's clock alone. */
  notBeforeMs: number | null
  /** The tenant's time; null: the tenant has no clock of its own. */
  dueAtMs: number | null
}

export interface LedgerEvent extends When {
  id: string
  /** Null: nobody is told. */
  url: string | null
  /** The body as it is told. Of what has not happened yet, what it will be about. */
  body: string
  tenant: string
  /** The charge that it is about. Null: stored before this was kept. */
  chargeId: string | null
  /** 1: it has happened, and is yet to be told. */
  happened: number
}

export interface Ledger {
  /** All of it is stored, or nothing. */
  atomically<T>(write: () => T): T
  /** Stores the charge, or answers the one that is there under this account and reference. */
  charge(charge: LedgerCharge): LedgerCharge
  find(account: string, reference: string): LedgerCharge | undefined
  findById(id: string): LedgerCharge | undefined
  setStatus(charge: LedgerCharge, status: string, declineClass: string | null): void
  addRefund(refund: LedgerRefund): void
  findRefund(account: string, reference: string): LedgerRefund | undefined
  setRefundStatus(refund: LedgerRefund, status: string, code: string | null): void
  addDispute(dispute: LedgerDispute): void
  findDispute(id: string): LedgerDispute | undefined
  setDisputeStatus(id: string, status: string): void
  /** The part of a charge that has been refunded. */
  refundedMinor(charge: LedgerCharge): number
  /** The part of a charge that is neither refunded, nor being refunded, nor with the bank. */
  leftMinor(charge: LedgerCharge): number
  charges(tenantId: string): LedgerCharge[]
  refunds(tenantId: string): LedgerRefund[]
  disputes(tenantId: string): LedgerDispute[]
  addEvent(event: LedgerEvent): void
  /** The first that is to happen by now, by the system's clock or by the tenant's. */
  firstDue(tenant: string, systemMs: number): LedgerEvent | undefined
  /** The time, by the tenant's clock, at which something happens next. */
  nextDueMs(tenant: string): number | undefined
  markHappened(id: string, body: string): void
  /** The facts that have happened and are yet to be told, in the order in which they happened. */
  untold(tenant: string): LedgerEvent[]
  removeEvent(id: string): void
  /** The tenants for which something is to happen, or to be told, now. */
  tenantsWithWork(systemMs: number): string[]
  /** The time of a tenant that has its own, as far as it is known. */
  tenantNowMs(tenant: string): number | undefined
  /** Only ever forward: of two that move it, none moves it back. */
  setTenantNow(tenant: string, nowMs: number): void
  /** Before its first charge a tenant's clock may be set to any time. */
  startTenantAt(tenant: string, nowMs: number): void
  close(): void
}

/** Columns that were added later; a file from before gets them when it is opened. */
const addedColumns: [table: string, column: string, type: string][] = [
  ['charges', 'token', 'TEXT'],
  ['charges', 'madeAtMs', 'INTEGER'],
  ['charges', 'separate', 'INTEGER NOT NULL DEFAULT 0'],
  ['charges', 'offSession', 'INTEGER'],
  ['refunds', 'id', 'TEXT'],
  ['refunds', 'status', "TEXT NOT NULL DEFAULT 'succeeded'"],
  ['refunds', 'code', 'TEXT'],
  ['outbox', 'chargeId', 'TEXT'],
  ['outbox', 'happened', 'INTEGER NOT NULL DEFAULT 0'],
]

const prepareTables = (database: DatabaseSync): void => {
  database.exec(`
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS charges (
      account TEXT, reference TEXT, id TEXT UNIQUE, amount INTEGER, currency TEXT, status TEXT, declineClass TEXT, webhookUrl TEXT,
      PRIMARY KEY (account, reference));
    CREATE TABLE IF NOT EXISTS refunds (account TEXT, reference TEXT, chargeReference TEXT, amount INTEGER, PRIMARY KEY (account, reference));
    CREATE TABLE IF NOT EXISTS disputes (id TEXT PRIMARY KEY, account TEXT, chargeReference TEXT, amount INTEGER, status TEXT);
    CREATE TABLE IF NOT EXISTS outbox (id TEXT PRIMARY KEY, url TEXT, body TEXT, tenant TEXT, notBeforeMs INTEGER, dueAtMs INTEGER);
    CREATE INDEX IF NOT EXISTS refunds_charge ON refunds (account, chargeReference);
    CREATE INDEX IF NOT EXISTS disputes_charge ON disputes (account, chargeReference);
    CREATE INDEX IF NOT EXISTS outbox_tenant ON outbox (tenant);
    CREATE TABLE IF NOT EXISTS clocks (tenant TEXT PRIMARY KEY, nowMs INTEGER);
  `)
  for (const [table, column, type] of addedColumns) {
    const isThere = database.prepare('SELECT 1 FROM pragma_table_info(?) WHERE name = ?').get(table, column)
    if (!isThere) database.exec(`ALTER TABLE ${table} ADD COLUMN ${column} ${type}`)
  }
  // In a file from before, what was told and never looked at since is still written down as pending.
  database.exec(`UPDATE charges SET status = 'succeeded' WHERE status = 'pending' AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.id = 'evt_' || charges.id)`)
}

/** A tenant with a clock of its own is told by it; one without, by the system's. What is of one instant is told as it was stored. */
const IN_ORDER = 'ORDER BY dueAtMs, CASE WHEN dueAtMs IS NULL THEN notBeforeMs END, rowid'

export const createLedger = (path: string): Ledger => {
  if (path !== ':memory:') mkdirSync(dirname(path), { recursive: true })
  const database = new DatabaseSync(path, { timeout: 5_000 })
  prepareTables(database)
  const insertCharge = database.prepare(
    `INSERT OR IGNORE INTO charges (account, reference, id, amount, currency, status, declineClass, webhookUrl, token, madeAtMs, separate, offSession)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  )
  const selectCharge = database.prepare('SELECT * FROM charges WHERE account = ? AND reference = ?')
  const selectChargeById = database.prepare('SELECT * FROM charges WHERE id = ?')
  const updateCharge = database.prepare('UPDATE charges SET status = ?, declineClass = ? WHERE account = ? AND reference = ?')
  const insertRefund = database.prepare(
    'INSERT OR IGNORE INTO refunds (account, reference, chargeReference, amount, id, status, code) VALUES (?, ?, ?, ?, ?, ?, ?)',
  )
  const selectRefund = database.prepare('SELECT * FROM refunds WHERE account = ? AND reference = ?')
  const updateRefund = database.prepare('UPDATE refunds SET status = ?, code = ? WHERE account = ? AND reference = ?')
  const sumRefunds = database.prepare(`
    SELECT coalesce(sum(amount) FILTER (WHERE status = 'succeeded'), 0) AS made, coalesce(sum(amount) FILTER (WHERE status = 'pending'), 0) AS pending
    FROM refunds WHERE account = ? AND chargeReference = ?`)
  const insertDispute = database.prepare('INSERT OR IGNORE INTO disputes (account, id, chargeReference, amount, status) VALUES (?, ?, ?, ?, ?)')
  const selectDispute = database.prepare('SELECT * FROM disputes WHERE id = ?')
  const updateDispute = database.prepare('UPDATE disputes SET status = ? WHERE id = ?')
  const sumDisputes = database.prepare(
    `SELECT coalesce(sum(amount), 0) AS total FROM disputes WHERE account = ? AND chargeReference = ? AND status IN ('open', 'lost')`,
  )
  const ofTenant = (table: string, order: string) => database.prepare(`SELECT * FROM ${table} WHERE account >= ? AND account < ? ORDER BY account, ${order}`)
  const selectCharges = ofTenant('charges', 'reference')
  const selectRefunds = ofTenant('refunds', 'reference')
  const selectDisputes = ofTenant('disputes', 'chargeReference')
  const insertEvent = database.prepare(
    'INSERT OR IGNORE INTO outbox (id, url, body, tenant, notBeforeMs, dueAtMs, chargeId, happened) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
  )
  const selectDue = database.prepare(`SELECT * FROM outbox WHERE tenant = ? AND happened = 0 AND (notBeforeMs <= ? OR dueAtMs <= ?) ${IN_ORDER} LIMIT 1`)
  const selectNext = database.prepare('SELECT min(dueAtMs) AS next FROM outbox WHERE tenant = ? AND happened = 0')
  const updateEvent = database.prepare('UPDATE outbox SET happened = 1, body = ? WHERE id = ?')
  const selectUntold = database.prepare(`SELECT * FROM outbox WHERE tenant = ? AND happened = 1 ${IN_ORDER}`)
  const deleteEvent = database.prepare('DELETE FROM outbox WHERE id = ?')
  const selectTenants = database.prepare(
    'SELECT DISTINCT tenant FROM outbox LEFT JOIN clocks USING (tenant) WHERE happened = 1 OR notBeforeMs <= ? OR dueAtMs <= nowMs',
  )
  const selectClock = database.prepare('SELECT nowMs FROM clocks WHERE tenant = ?')
  const upsertClock = database.prepare('INSERT INTO clocks VALUES (?, ?) ON CONFLICT (tenant) DO UPDATE SET nowMs = max(nowMs, excluded.nowMs)')
  const replaceClock = database.prepare('INSERT OR REPLACE INTO clocks VALUES (?, ?)')
  const selectAnyCharge = database.prepare('SELECT 1 FROM charges WHERE account >= ? AND account < ? LIMIT 1')

  const find = (account: string, reference: string) => selectCharge.get(account, reference) as LedgerCharge | undefined
  /** All accounts of a tenant: those that begin with its id and a slash (`0` is the character after `/`). */
  const accountsOf = (tenantId: string) => [`${encodeURIComponent(tenantId)}/`, `${encodeURIComponent(tenantId)}0`] as const
  const refundsOf = ({ account, reference }: LedgerCharge) => sumRefunds.get(account, reference) as { made: number; pending: number }
  const tenantNowMs = (tenant: string) => selectClock.get(tenant)?.nowMs as number | undefined
  /** Before any time that a clock can show: nothing is due by a clock that is not known. */
  const NEVER_MS = Number.MIN_SAFE_INTEGER

  return {
    atomically: (write) => {
      database.exec('BEGIN IMMEDIATE')
      try {
        const result = write()
        database.exec('COMMIT')
        return result
      } catch (error) {
        database.exec('ROLLBACK')
        throw error
      }
    },
    charge: (charge) => {
      const { account, reference, id, amount, currency, status, declineClass, webhookUrl, token, madeAtMs, separate, offSession } = charge
      insertCharge.run(account, reference, id, amount, currency, status, declineClass, webhookUrl, token, madeAtMs, separate, offSession)
      return find(account, reference) ?? charge
    },
    find,
    findById: (id) => selectChargeById.get(id) as LedgerCharge | undefined,
    setStatus: (charge, status, declineClass) => {
      updateCharge.run(status, declineClass, charge.account, charge.reference)
    },
    addRefund: ({ account, reference, chargeReference, amount, id, status, code }) => {
      insertRefund.run(account, reference, chargeReference, amount, id, status, code)
    },
    findRefund: (account, reference) => selectRefund.get(account, reference) as LedgerRefund | undefined,
    setRefundStatus: ({ account, reference }, status, code) => {
      updateRefund.run(status, code, account, reference)
    },
    addDispute: ({ account, id, chargeReference, amount, status }) => {
      insertDispute.run(account, id, chargeReference, amount, status)
    },
    findDispute: (id) => selectDispute.get(id) as LedgerDispute | undefined,
    setDisputeStatus: (id, status) => {
      updateDispute.run(status, id)
    },
    refundedMinor: (charge) => refundsOf(charge).made,
    leftMinor: (charge) => {
      const { made, pending } = refundsOf(charge)
      return charge.amount - made - pending - (sumDisputes.get(charge.account, charge.reference)?.total as number)
    },
    charges: (tenantId) => selectCharges.all(...accountsOf(tenantId)) as unknown as LedgerCharge[],
    refunds: (tenantId) => selectRefunds.all(...accountsOf(tenantId)) as unknown as LedgerRefund[],
    disputes: (tenantId) => selectDisputes.all(...accountsOf(tenantId)) as unknown as LedgerDispute[],
    addEvent: ({ id, url, body, tenant, notBeforeMs, dueAtMs, chargeId, happened }) => {
      insertEvent.run(id, url, body, tenant, notBeforeMs, dueAtMs, chargeId, happened)
    },
    firstDue: (tenant, systemMs) => selectDue.get(tenant, systemMs, tenantNowMs(tenant) ?? NEVER_MS) as LedgerEvent | undefined,
    nextDueMs: (tenant) => (selectNext.get(tenant)?.next as number | null | undefined) ?? undefined,
    markHappened: (id, body) => {
      updateEvent.run(body, id)
    },
    untold: (tenant) => selectUntold.all(tenant) as unknown as LedgerEvent[],
    removeEvent: (id) => {
      deleteEvent.run(id)
    },
    tenantsWithWork: (systemMs) => selectTenants.all(systemMs).map(({ tenant }) => tenant as string),
    tenantNowMs,
    setTenantNow: (tenant, nowMs) => {
      upsertClock.run(tenant, nowMs)
    },
    startTenantAt: (tenant, nowMs) => {
      if (!selectAnyCharge.get(...accountsOf(tenant))) replaceClock.run(tenant, nowMs)
    },
    close: () => database.close(),
  }
}
