/** An entry of the audit log. */
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
  /** The request's input, with `begun`. */
  input?: unknown
  /** The answer's status, with `done`. */
  status?: number
  /** Why it was refused: the problem's code. */
  code?: string
  /** The differences, as a reader of the document sees them; `[…]` stands for a value that is not kept here. */
  changes?: { field: string; before?: unknown; after?: unknown }[]
}
