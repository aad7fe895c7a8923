/** A client that runs the cases, in the words of the files. */
import type { CallName, Said } from './cases.ts'

export interface Call {
  call: CallName
  tenant: string
  storefront: string
  customer: string
  entitlement?: string
  amount?: number
  idempotencyKey?: string
  holder?: string
  ttlMs?: number
  /** A reservation that is made, by its name. */
  as?: string
  /** A reservation that is settled. */
  reservation?: string
}

/** What has happened before a call: a client may hear of it late. */
export interface Known {
  nowMs: number
  revision: number
  /** Whether anything was counted for the customer, or tried to. */
  counted: boolean
}

export interface Driver {
  name: string
  /** @returns what the answer says; `error` is the status of a call that fails. */
  ask(call: Call, known: Known): Promise<Said>
  close(): void | Promise<void>
}
