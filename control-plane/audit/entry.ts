/** What an entry of the audit log says. */
export interface AuditEntry {
  at: string
  requestId: string
  /**
   * `begun` is written before anything is changed, `done` afterwards: a `begun` without its `done` is of a process that died
   * in between.
   */
  event: 'begun' | 'done'
  actor: { kind: string; id: string; name: string | null; role: string }
  /** The IP address that the call came from. */
  from: string
  /** The route: `post /v1/payments/{payment}/refund`. */
  action: string
  /** The ids in the path, and of the storefront and customer that the body names. Customers by `customerReference`. */
  resource: Record<string, string>
  reason: string | null
  /** With `begun`: what was asked. */
  input?: unknown
  /** With `done`. */
  status?: number
  /** Why it was refused: the problem's code. */
  code?: string
  /** What became different, as a reader of the document sees it; `[…]` stands for what is not kept here. */
  changes?: { field: string; before?: unknown; after?: unknown }[]
}
