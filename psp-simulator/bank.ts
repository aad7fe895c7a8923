/**
 * The fate of a charge: its refunds and disputes, and when each of them happens. A fact that is still to come is stored with
 * the write from which it follows, and happens once, in the order of time, whoever looks first; what is told of it is what was
 * so at that instant. Here is no HTTP: `server.ts` asks, `webhook-sender.ts` tells.
 */

import { randomUUID } from 'node:crypto'
import type { Clock } from '../common/clock.ts'
import { DAY_MS } from '../common/durations.ts'
import { z } from '../common/zod.ts'
import { actsLate, type Behaviour, captureFails, disputeBehaviourOf, refundBehaviourOf } from './behaviour.ts'
import type { Ledger, LedgerCharge, LedgerDispute, LedgerEvent, LedgerRefund, When } from './ledger.ts'

/** How long after "pending" the outcome follows, where a test clock is moved. */
const PENDING_FOR_TENANT_MS = 60_000
/** By the system's clock everything follows this soon: somebody is looking on. */
const SOON_MS = 500
/** A bank's decision takes weeks; a week is enough to see a renewal come in between. */
const DECIDED_AFTER_MS = 7 * DAY_MS

/** An instant, by the tenant's own clock if it has one. */
export interface Moment {
  tenantMs: number | null
  systemMs: number
}

export type NewCharge = Omit<LedgerCharge, 'id' | 'status' | 'declineClass'>

const facts = [
  'charge.succeeded',
  'charge.authorized',
  'charge.declined',
  'refund.succeeded',
  'refund.failed',
  'dispute.opened',
  'dispute.won',
  'dispute.lost',
] as const

/** The stored form of a fact that is to come. */
const plannedBody = z.object({
  type: z.enum(facts),
  data: z.object({ id: z.string() }).optional(),
  refund: z.object({ reference: z.string() }).optional(),
})

const chargeView = ({ id, reference, amount, currency, status, declineClass }: LedgerCharge) => ({
  id,
  reference,
  amount,
  currency,
  status,
  ...(declineClass ? { declineClass } : {}),
})

const refundView = ({ id, reference, chargeReference, amount, status, code }: LedgerRefund) => ({
  ...(id ? { id } : {}),
  reference,
  chargeReference,
  amount,
  status,
  ...(code ? { code } : {}),
})

/** Accounts are `<tenant>/<account>`, both URI-encoded. */
export const accountOf = (tenant: string, name: string): string => `${encodeURIComponent(tenant)}/${encodeURIComponent(name)}`
const tenantOf = (account: string): string => decodeURIComponent(account.split('/')[0] ?? '')
const nameOf = (account: string): string => decodeURIComponent(account.split('/')[1] ?? '')

/** So much later by the tenant's clock, or soon by the system's. */
const after = ({ tenantMs, systemMs }: Moment, byTenantMs: number): When =>
  tenantMs === null ? { notBeforeMs: systemMs + SOON_MS, dueAtMs: null } : { notBeforeMs: null, dueAtMs: tenantMs + byTenantMs }

const iso = ({ tenantMs, systemMs }: Moment, laterMs = 0): string => new Date((tenantMs ?? systemMs) + laterMs).toISOString()

const statusAtFirst = ({ kind }: Behaviour, separate: boolean): string => {
  switch (kind) {
    // Of the worst case for the caller, too: the money moved and nobody said so.
    case 'succeed':
    case 'timeout':
      return separate ? 'authorized' : 'succeeded'
    case 'decline':
      return 'declined'
    case 'refused':
      return 'refused'
    case 'pending':
      return 'pending'
    case 'sca':
      return 'requires_action'
    default:
      return kind satisfies never
  }
}

export type Bank = ReturnType<typeof createBank>

export const createBank = ({ ledger, clock }: { ledger: Ledger; clock: Clock }) => {
  /** @param now the tenant's time as the caller says it; else as it is known since the charge was made. */
  const momentFor = (charge: Pick<LedgerCharge, 'account' | 'madeAtMs'>, now: string | undefined): Moment => ({
    tenantMs:
      now !== undefined ? Date.parse(now) : charge.madeAtMs === null ? null : Math.max(charge.madeAtMs, ledger.tenantNowMs(tenantOf(charge.account)) ?? 0),
    systemMs: clock.nowMs(),
  })

  /** A fact that was due by the system's clock happened at a tenant's time before the one at which it was due by that. */
  const momentOf = ({ dueAtMs }: LedgerEvent, charge: LedgerCharge): Moment => {
    const { tenantMs, systemMs } = momentFor(charge, undefined)
    return { tenantMs: dueAtMs === null ? null : Math.min(dueAtMs, tenantMs ?? dueAtMs), systemMs }
  }

  const eventOf = (charge: LedgerCharge, type: (typeof facts)[number], about: object): Omit<LedgerEvent, keyof When | 'happened' | 'id'> => ({
    url: charge.webhookUrl,
    body: JSON.stringify({ type, ...about }),
    tenant: tenantOf(charge.account),
    chargeId: charge.id,
  })

  /** Each fact of a charge, a refund or a dispute happens once, so its event's id is derived. */
  const idOf = (of: string, type: (typeof facts)[number]): string => (type.startsWith('charge') ? `evt_${of}` : `evt_${of}_${type.replace(/^\w+\./, '')}`)

  const plan = (charge: LedgerCharge, of: string, type: (typeof facts)[number], about: object, when: When): void =>
    ledger.addEvent({ id: idOf(of, type), ...eventOf(charge, type, about), ...when, happened: 0 })

  const disputeIdOf = (charge: LedgerCharge): string => `dp_${charge.id}`

  const planDispute = (charge: LedgerCharge, moment: Moment): void => {
    const dispute = disputeBehaviourOf(charge.token ?? '', nameOf(charge.account))
    if (dispute) plan(charge, disputeIdOf(charge), 'dispute.opened', {}, after(moment, dispute.opensAfterMs))
  }

  const planBounce = (charge: LedgerCharge, refund: LedgerRefund, moment: Moment): void => {
    const { bouncesAfterMs } = refundBehaviourOf(charge.token ?? '', nameOf(charge.account))
    if (bouncesAfterMs === undefined) return
    plan(charge, refund.id ?? refund.reference, 'refund.failed', { refund: { reference: refund.reference } }, after(moment, bouncesAfterMs))
  }

  /** Stores what a charge comes to. */
  const conclude = (charge: LedgerCharge, status: string, declineClass: string | null, moment: Moment): LedgerCharge => {
    ledger.setStatus(charge, status, declineClass)
    const concluded = { ...charge, status, declineClass }
    if (status === 'succeeded') planDispute(concluded, moment)
    return concluded
  }

  const disputeBody = (charge: LedgerCharge, { id, status, amount }: LedgerDispute, type: (typeof facts)[number], moment: Moment): string => {
    const { currency, reference } = charge
    const dispute = { id, reference, chargeId: charge.id, status, amount, currency, reason: 'fraudulent', at: iso(moment) }
    return JSON.stringify({ type, dispute: { ...dispute, ...(status === 'open' ? { respondBy: iso(moment, DECIDED_AFTER_MS) } : {}) } })
  }

  const happenToRefund = (charge: LedgerCharge, reference: string, type: 'refund.succeeded' | 'refund.failed', moment: Moment): string | undefined => {
    const refund = ledger.findRefund(charge.account, reference)
    // One is made after it was accepted, and comes back after it was made.
    if (refund?.status !== (type === 'refund.succeeded' ? 'pending' : 'succeeded')) return undefined
    const next: LedgerRefund = type === 'refund.succeeded' ? { ...refund, status: 'succeeded' } : { ...refund, status: 'failed', code: 'bounced' }
    ledger.setRefundStatus(next, next.status, next.code)
    if (next.status === 'succeeded') planBounce(charge, next, moment)
    return JSON.stringify({ type, refund: refundView(next) })
  }

  const openDispute = (charge: LedgerCharge, moment: Moment): string | undefined => {
    // The customer's bank takes back what the customer has not got back already.
    const amount = charge.amount - ledger.refundedMinor(charge)
    if (charge.status !== 'succeeded' || amount <= 0) return undefined
    const dispute: LedgerDispute = { account: charge.account, id: disputeIdOf(charge), chargeReference: charge.reference, amount, status: 'open' }
    ledger.addDispute(dispute)
    const decided = disputeBehaviourOf(charge.token ?? '', nameOf(charge.account))?.decided
    if (decided) plan(charge, dispute.id, `dispute.${decided}`, {}, after(moment, DECIDED_AFTER_MS))
    return disputeBody(charge, dispute, 'dispute.opened', moment)
  }

  const decideDispute = (charge: LedgerCharge, status: 'won' | 'lost', moment: Moment): string | undefined => {
    const dispute = ledger.findDispute(disputeIdOf(charge))
    if (dispute?.status !== 'open') return undefined
    ledger.setDisputeStatus(dispute.id, status)
    return disputeBody(charge, { ...dispute, status }, `dispute.${status}`, moment)
  }

  /** @returns what is told of it; undefined when it does not come to pass. */
  const happen = (event: LedgerEvent): string | undefined => {
    const { type, data, refund } = plannedBody.parse(JSON.parse(event.body))
    const charge = ledger.findById(event.chargeId ?? data?.id ?? '')
    if (!charge) return undefined
    const moment = momentOf(event, charge)
    switch (type) {
      case 'charge.succeeded':
      case 'charge.authorized':
      case 'charge.declined': {
        // Files from before hold events of charges that were concluded at once.
        if (charge.status !== 'pending') return event.body
        const status = type.replace('charge.', '')
        return JSON.stringify({ type, data: chargeView(conclude(charge, status, status === 'declined' ? 'action_required' : null, moment)) })
      }
      case 'refund.succeeded':
      case 'refund.failed':
        return refund && happenToRefund(charge, refund.reference, type, moment)
      case 'dispute.opened':
        return openDispute(charge, moment)
      case 'dispute.won':
        return decideDispute(charge, 'won', moment)
      case 'dispute.lost':
        return decideDispute(charge, 'lost', moment)
      default:
        return type satisfies never
    }
  }

  return {
    momentFor,
    chargeView,
    refundView,

    /** Everything that is due for a tenant happens, in order. What follows from it may be due as well. */
    happenDue: (tenant: string): void => {
      for (;;) {
        const event = ledger.firstDue(tenant, clock.nowMs())
        if (!event) return
        ledger.atomically(() => {
          const body = happen(event)
          if (body === undefined || event.url === null) ledger.removeEvent(event.id)
          else ledger.markHappened(event.id, body)
        })
      }
    },

    /** A charge under a reference that has not been used. */
    charge: (order: NewCharge, behaviour: Behaviour, moment: Moment): LedgerCharge =>
      ledger.atomically(() => {
        const charge = ledger.charge({
          ...order,
          id: `ch_${randomUUID()}`,
          status: statusAtFirst(behaviour, order.separate === 1),
          declineClass: behaviour.kind === 'decline' ? behaviour.declineClass : null,
        })
        if (charge.status === 'succeeded') planDispute(charge, moment)
        if (behaviour.kind !== 'pending') return charge
        const { tenantMs, systemMs } = moment
        const when =
          behaviour.forMs !== undefined && tenantMs !== null
            ? after(moment, behaviour.forMs)
            : { notBeforeMs: systemMs + SOON_MS, dueAtMs: tenantMs === null ? null : tenantMs + PENDING_FOR_TENANT_MS }
        plan(charge, charge.id, charge.separate ? 'charge.authorized' : 'charge.succeeded', { data: chargeView(charge) }, when)
        return charge
      }),

    /** The customer's action where they have to act. It is told at once, and counts once. */
    act: (charge: LedgerCharge, outcome: 'approve' | 'decline'): LedgerCharge => {
      if (charge.status !== 'requires_action') return charge
      return ledger.atomically(() => {
        const status = outcome === 'decline' ? 'declined' : charge.separate ? 'authorized' : 'succeeded'
        const concluded = conclude(charge, status, status === 'declined' ? 'action_required' : null, momentFor(charge, undefined))
        if (!charge.webhookUrl) return concluded
        const told = eventOf(concluded, `charge.${status}`, { data: chargeView(concluded) })
        ledger.addEvent({ id: idOf(charge.id, `charge.${status}`), ...told, notBeforeMs: clock.nowMs(), dueAtMs: null, happened: 1 })
        return concluded
      })
    },

    /** Gives up a charge that waits for its customer. @returns undefined when that cannot be done. */
    cancel: (charge: LedgerCharge): LedgerCharge | undefined => {
      if (charge.status !== 'requires_action') return charge
      if (actsLate(charge.token ?? '', nameOf(charge.account))) return undefined
      return conclude(charge, 'declined', 'action_required', momentFor(charge, undefined))
    },

    /** Takes what is held, or lets it go; of a charge that holds nothing, as it is. */
    capture: (charge: LedgerCharge, moment: Moment): LedgerCharge => {
      if (charge.status !== 'authorized') return charge
      const fails = captureFails(charge.token ?? '', nameOf(charge.account))
      return ledger.atomically(() => (fails ? conclude(charge, 'declined', 'technical', moment) : conclude(charge, 'succeeded', null, moment)))
    },
    release: (charge: LedgerCharge, moment: Moment): LedgerCharge => (charge.status === 'authorized' ? conclude(charge, 'released', null, moment) : charge),

    /** Made once a reference. @returns undefined when the charge has not that much left. */
    refund: (charge: LedgerCharge, reference: string, amount: number, moment: Moment): LedgerRefund | undefined => {
      const { account } = charge
      const known = ledger.findRefund(account, reference)
      if (known) return known
      if (charge.status !== 'succeeded' || amount > ledger.leftMinor(charge)) return undefined
      const { fails, pendingForMs } = refundBehaviourOf(charge.token ?? '', nameOf(account))
      const status = fails ? 'failed' : pendingForMs === undefined ? 'succeeded' : 'pending'
      const refund: LedgerRefund = {
        account,
        reference,
        chargeReference: charge.reference,
        amount,
        id: `re_${randomUUID()}`,
        status,
        code: fails ? 'refused' : null,
      }
      return ledger.atomically(() => {
        ledger.addRefund(refund)
        if (pendingForMs !== undefined) plan(charge, refund.id ?? reference, 'refund.succeeded', { refund: { reference } }, after(moment, pendingForMs))
        if (status === 'succeeded') planBounce(charge, refund, moment)
        return refund
      })
    },
  }
}
