/**
 * The PSP port: what Tollgate asks of a payment service provider. An adapter is two files: `adapter.ts` does the
 * I/O, `mapping.ts` turns the provider's words into these. Every adapter passes `test/contract/psp.ts`;
 * `docs/adding-a-psp.md` says how to write one.
 *
 * An adapter never rejects for anything that happens to a payment: every outcome is a value, and what it cannot
 * interpret is `unknown` or `pending`, never a decline. Amounts are ISO 4217 minor units; a provider's own
 * exponents are the adapter's concern.
 */
import type { Secret } from '../../../common/secret.ts'
import type { CardNetwork, DeclineClass } from '../../schemas/payment.ts'
import type { PspAccount } from '../../schemas/psp-account.ts'
import type { Tenant } from '../../schemas/tenant.ts'

export interface ChargeRequest {
  /** Ours, unique for ever; the provider is given it as idempotency key and as merchant reference. */
  reference: string
  amountMinor: number
  currency: string
  token: string
  description?: string
  /** `separate`: only authorize; `capture` takes the money, `release` lets it go. */
  capture: 'automatic' | 'separate'
  /** The customer is not there to act: a renewal. It is told to be merchant initiated, with a stored credential. */
  offSession: boolean
  /**
   * The issuer has asked for the customer's authentication, and the customer is there: it is to be asked for (3-D Secure).
   * Of no effect with `offSession`.
   */
  authenticate?: boolean
  /** The page that the customer comes back to after having acted; replaces the account's. */
  returnUrl?: string
}

export type ChargeOutcome =
  | { status: 'succeeded'; pspReference: string }
  | { status: 'pending' | 'authorized'; pspReference: string }
  /** The customer has to act (3-D Secure); the outcome follows by webhook or inquiry. */
  | { status: 'requires_action'; pspReference: string; actionUrl: string }
  | {
      status: 'declined'
      declineClass: DeclineClass
      pspCode: string
      pspReference?: string
      network?: CardNetwork
      /** The provider did not look at the charge, since it refuses the account's credentials. */
      credentialsRefused?: true
    }
  /** Provably never reached the provider. */
  | { status: 'not_sent'; pspCode: string }
  /** It may have reached the provider: no answer, or one that says nothing. */
  | { status: 'unknown'; pspCode: string }

/** A charge that has been sent. */
export interface ChargeName {
  reference: string
  /** The provider's own, where it has told it. */
  pspReference?: string | undefined
  amountMinor: number
  currency: string
}

export type InquiryOutcome =
  | ChargeOutcome
  /** The provider says that it has no such charge. */
  | { status: 'not_found' }
  /** The provider cannot be asked by our reference: only the same charge, sent again, brings its outcome. */
  | { status: 'cannot_tell' }

export interface RefundRequest {
  /** Ours, unique for ever: the idempotency key of the refund. */
  reference: string
  charge: ChargeName
  amountMinor: number
}

export type RefundOutcome =
  | { status: 'succeeded'; pspReference?: string }
  /** Accepted, and not final: the outcome follows by webhook or inquiry. */
  | { status: 'pending'; pspReference?: string }
  | { status: 'failed'; pspCode: string }
  | { status: 'unknown'; pspCode: string }

export interface WebhookRequest {
  /** Lower-case names. */
  headers: Record<string, string | undefined>
  query: Record<string, string | undefined>
  /** The bytes as received: signatures are over these. */
  rawBody: string
}

export interface DisputeFacts {
  /** The provider's. */
  id: string
  /** `open`: the customer's bank has taken the money back, or may. */
  status: 'open' | 'won' | 'lost'
  amountMinor: number
  currency: string
  /** The provider's own words. */
  reason: string
  respondBy?: Date
  /** The time when it came to this status, if the provider says it. */
  at?: Date
}

/** An event that a provider reports by itself. All parts absent: a type that Tollgate does not act on. */
export interface PspEvent {
  id: string
  type: string
  /** The charge, by our reference, the provider's, or both. Without an outcome the charge has to be asked about. */
  charge?: { reference?: string; pspReference?: string; outcome?: ChargeOutcome }
  /** The refund, by our reference of it; or by that of its charge, with the provider's own of the refund. */
  refund?: { reference: string; pspReference?: string; outcome: RefundOutcome }
  /** A dispute of the charge named in `charge`. With an outcome of `declined`: that, or of a charge that was made before, money taken back. */
  dispute?: DisputeFacts
}

export interface FoundCharge {
  reference: string
  outcome: ChargeOutcome
  dispute?: DisputeFacts
}

/** Secrets of an account, by its own fields. */
export interface AccountSecrets {
  /** By the names that the provider's library uses. */
  credentials?: Record<string, Secret> | undefined
  webhookSecret?: Secret | undefined
}

export interface RegisteredWebhook {
  /** The provider's. */
  id: string
  /** The types of events that it sends. */
  events: string[]
  /** What its events are verified with from now on. Absent: with what the account holds already. */
  secrets?: AccountSecrets
}

/** The provider's API for webhooks. */
export interface WebhookApi {
  /**
   * Makes the provider send to `url` the events that `readEvents` understands. If a webhook sends there already, a repeat ends
   * with one again. Until the caller has stored the new secrets, whatever sent there before goes on as it was.
   * @param known the webhook that the account holds the secret of.
   * @throws AppError `refused_by_provider` or `unavailable`.
   */
  register(url: string, known: string | undefined): Promise<RegisteredWebhook>
  /**
   * Removes the other webhooks that send to `url`, once the secret of this one is stored. Absent: there are none, since `register`
   * changes the one that there is.
   * @throws AppError `refused_by_provider` or `unavailable`.
   */
  removeOthers?(url: string, id: string): Promise<void>
}

export interface Psp {
  charge(request: ChargeRequest): Promise<ChargeOutcome>

  /**
   * How long the provider answers the same charge, sent again, with the first one's outcome. Within it an attempt
   * may be sent again whatever became of it.
   */
  readonly idempotencyMs: number

  /** Asks for the outcome of a charge. */
  inquire(charge: ChargeName): Promise<InquiryOutcome>

  /**
   * The customer has come back from `actionUrl`. @param details what the provider has given them to bring, by the names
   * of its own; empty where there is nothing. The outcome as it is now.
   */
  complete(charge: ChargeName, details: Readonly<Record<string, string>>): Promise<ChargeOutcome>

  /**
   * Takes the money of a charge that is `authorized`. `declined`: refused, and the provider says that nothing was taken.
   * `authorized`: not done yet, and may be asked for again. @param reference the idempotency key.
   */
  capture(reference: string, charge: ChargeName): Promise<ChargeOutcome>

  /**
   * Lets the money of an `authorized` charge go: `declined` when it is released; `authorized` while it is not, whoever
   * refused it. @param reference the idempotency key.
   */
  release(reference: string, charge: ChargeName): Promise<ChargeOutcome>

  /**
   * Gives up a charge that waits for its customer (`requires_action`). `declined`: it can no longer succeed
   * (`action_required`, unless it was refused for something else meanwhile). `succeeded`, `authorized` or `pending`: the
   * customer was faster. `unknown`: the provider cannot be told, or has only taken it in, and money may still arrive.
   * @param reference the idempotency key.
   */
  cancel(reference: string, charge: ChargeName): Promise<ChargeOutcome>

  refund(request: RefundRequest): Promise<RefundOutcome>

  /** Asks for the outcome of a refund. Needed where the same refund, sent again, might be made a second time. */
  inquireRefund(request: RefundRequest): Promise<RefundOutcome | { status: 'not_found' } | { status: 'cannot_tell' }>

  /** How our own URL is set up at the provider; `byHand`: it has no API for that, and this says, in whole sentences, what to do instead. */
  readonly webhooks: WebhookApi | { byHand: string }

  /** @throws AppError `signature_invalid` unless the request provably comes from the provider and is recent. */
  verifyWebhook(request: WebhookRequest): Promise<void>

  /**
   * The events that a verified request reports; several where a provider sends them together.
   * @throws AppError `invalid_request` when it is not an event of the provider.
   */
  readEvents(request: WebhookRequest): PspEvent[]

  /**
   * A charge that an event names by the provider's reference alone. Undefined: it is none of ours.
   * @throws Error when the provider cannot be asked now: the event is applied later.
   */
  lookUp(pspReference: string): Promise<FoundCharge | undefined>
}

export interface CircuitView {
  state: 'closed' | 'open' | 'half_open'
  /** While open: when one payment is let through. */
  openUntil: Date | undefined
}

export interface Circuit {
  view(): CircuitView
  /** Charges, or answers `not_sent` at once while the circuit is open. */
  run(charge: () => Promise<ChargeOutcome>): Promise<ChargeOutcome>
}

export type PspAccess =
  | {
      psp: Psp
      /** Why its webhooks would be refused. */
      webhookProblem: string | undefined
      capture: 'automatic' | 'separate'
      /** No call to this PSP takes longer. */
      timeoutMs: number
      /** Absent where outages are asked for by name: in a sandbox. */
      circuit: Circuit | undefined
    }
  | { unusable: string }

/** Finds the adapter that serves a tenant's PSP account. */
export interface PspDirectory {
  /**
   * @param account undefined when the tenant has stored none under this id. A sandbox tenant needs none: the
   *   simulator stands in for every provider.
   * @returns the adapter, or why the account cannot be used.
   */
  open(tenant: Tenant, accountId: string, account: PspAccount | undefined): PspAccess
  /** The simulator of sandbox tenants' providers follows their clocks; absent where it has no time of its own. */
  sandbox?: SandboxTime
}

export interface SandboxTime {
  /** The time, by the tenant's clock, at which something happens next; undefined when nothing will. */
  nextEvent(tenantId: string): Promise<Date | undefined>
  /** It is now so late for the tenant. Resolves when everything that is due by then has been told. */
  moveTo(tenantId: string, now: Date): Promise<void>
}
