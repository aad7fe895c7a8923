/**
 * A payment provider in memory, behind the same port as the real ones: it keeps a ledger by idempotency key and does
 * what the card's name says. Its news (webhooks) follows the tenant's clock.
 */

import { createHash } from 'node:crypto'
import type { ChargeOutcome, Psp, PspEvent, SandboxTime } from '../../control-plane/payments/psp/psp.ts'

const MINUTE = 60_000

interface Charge {
  reference: string
  account: string
  amount: number
  status: 'succeeded' | 'declined' | 'pending' | 'requires_action'
  declineClass?: 'funds' | 'hard' | 'credential' | 'issuer_soft' | 'action_required'
  /** When a pending one becomes final, and how. */
  finalAt?: number
  becomes?: 'succeeded' | 'declined'
  /** Whether its webhook was taken; until then it is sent again. */
  told?: boolean
}

export interface Bank {
  open(account: string): Psp
  /** Charges less refunds, by the subscription's or payment's reference prefix. */
  kept(prefix: string): number
  charges(): Charge[]
  refunds(): { reference: string; chargeReference: string; amount: number }[]
  sandbox: SandboxTime
  /** The holder of a card approves every charge that waits for it. @returns the events to deliver. */
  approve(prefix: string): { account: string; event: PspEvent }[]
  /** Set by the laboratory: takes an event to the control plane. */
  deliver: (account: string, event: PspEvent) => Promise<void>
}

/** A number in [0, 1) that a reference keeps. */
const chanceOf = (reference: string): number => createHash('sha256').update(reference).digest().readUInt32BE() / 2 ** 32

/** Cards: what a charge to them does. `pending_<minutes>`, `pendingfail_<minutes>`. */
export const createBank = (nowMs: () => number): Bank => {
  const ledger = new Map<string, Charge>()
  const refunds = new Map<string, { reference: string; chargeReference: string; amount: number }>()
  /** Charges that the provider never saw the first time. */
  const lost = new Set<string>()

  const outcomeOf = (charge: Charge): ChargeOutcome => {
    const pspReference = `ch_${charge.reference}`
    switch (charge.status) {
      case 'succeeded':
      case 'pending':
        return { status: charge.status, pspReference }
      case 'requires_action':
        return { status: 'requires_action', pspReference, actionUrl: 'https://bank.test/act' }
      case 'declined':
        return { status: 'declined', declineClass: charge.declineClass ?? 'funds', pspCode: charge.declineClass ?? 'funds', pspReference }
      default:
        return charge.status satisfies never
    }
  }

  const conclude = (charge: Charge): void => {
    if (charge.status !== 'pending' || charge.finalAt === undefined || nowMs() < charge.finalAt) return
    charge.status = charge.becomes ?? 'succeeded'
    if (charge.status === 'declined') charge.declineClass = 'funds'
  }

  const make = (account: string, reference: string, amount: number, card: string): ChargeOutcome => {
    const known = ledger.get(reference)
    if (known) {
      conclude(known)
      return outcomeOf(known)
    }
    const put = (charge: Omit<Charge, 'reference' | 'account' | 'amount'>): ChargeOutcome => {
      const made: Charge = { reference, account, amount, ...charge }
      ledger.set(reference, made)
      return outcomeOf(made)
    }
    const [kind, minutes] = card.split('_')
    switch (kind) {
      case 'good':
        return put({ status: 'succeeded' })
      case 'flaky':
        // As cards are: now and then there is not enough on it.
        return put(chanceOf(reference) < 0.04 ? { status: 'declined', declineClass: 'funds' } : { status: 'succeeded' })
      case 'funds':
      case 'hard':
      case 'credential':
        return put({ status: 'declined', declineClass: kind })
      case 'soft':
        return put({ status: 'declined', declineClass: 'issuer_soft' })
      case 'away':
        return { status: 'not_sent', pspCode: 'ECONNREFUSED' }
      case 'paidsilent':
        put({ status: 'succeeded' })
        return { status: 'unknown', pspCode: 'timeout' }
      case 'lost':
        if (lost.has(reference)) return put({ status: 'succeeded' })
        lost.add(reference)
        return { status: 'unknown', pspCode: 'timeout' }
      case 'pending':
        return put({ status: 'pending', finalAt: nowMs() + Number(minutes) * MINUTE, becomes: 'succeeded' })
      case 'pendingfail':
        return put({ status: 'pending', finalAt: nowMs() + Number(minutes) * MINUTE, becomes: 'declined' })
      case 'sca':
        return put({ status: 'requires_action' })
      default:
        throw new Error(`the bank knows no card ${card}`)
    }
  }

  const eventOf = (charge: Charge): PspEvent => ({
    id: `evt_${charge.reference}`,
    type: `charge.${charge.status}`,
    charge: { reference: charge.reference, outcome: outcomeOf(charge) },
  })

  const bank: Bank = {
    open: (account) => ({
      charge: async ({ reference, amountMinor, token }) => make(account, reference, amountMinor, token),
      idempotencyMs: Number.POSITIVE_INFINITY,
      inquire: async ({ reference }) => {
        const charge = ledger.get(reference)
        if (!charge) return { status: 'not_found' }
        conclude(charge)
        return outcomeOf(charge)
      },
      complete: async () => ({ status: 'unknown', pspCode: 'not_offered' }),
      capture: async () => ({ status: 'unknown', pspCode: 'not_offered' }),
      release: async () => ({ status: 'unknown', pspCode: 'not_offered' }),
      cancel: async (_, { reference }) => {
        const charge = ledger.get(reference)
        if (!charge) return { status: 'unknown', pspCode: 'not_found' }
        if (charge.status === 'requires_action') Object.assign(charge, { status: 'declined', declineClass: 'action_required' })
        return outcomeOf(charge)
      },
      refund: async ({ reference, charge: { reference: chargeReference }, amountMinor }) => {
        const charge = ledger.get(chargeReference)
        const given = [...refunds.values()].filter((one) => one.chargeReference === chargeReference && one.reference !== reference)
        const left = (charge?.amount ?? 0) - given.reduce((sum, { amount }) => sum + amount, 0)
        if (charge?.status !== 'succeeded' || amountMinor > left) return { status: 'failed', pspCode: 'nothing_left' }
        refunds.set(reference, { reference, chargeReference, amount: amountMinor })
        return { status: 'succeeded' }
      },
      inquireRefund: async () => ({ status: 'cannot_tell' }),
      webhooks: { byHand: 'Nobody sends events over HTTP here' },
      verifyWebhook: async () => {},
      readEvents: ({ rawBody }) => [JSON.parse(rawBody) as PspEvent],
      lookUp: async () => undefined,
    }),
    kept: (prefix) => {
      const paid = [...ledger.values()].filter(({ reference, status }) => reference.startsWith(prefix) && status === 'succeeded')
      const back = [...refunds.values()].filter(({ chargeReference }) => chargeReference.startsWith(prefix))
      return paid.reduce((sum, { amount }) => sum + amount, 0) - back.reduce((sum, { amount }) => sum + amount, 0)
    },
    charges: () => [...ledger.values()],
    refunds: () => [...refunds.values()],
    approve: (prefix) => {
      const waiting = [...ledger.values()].filter(({ reference, status }) => reference.startsWith(prefix) && status === 'requires_action')
      for (const charge of waiting) charge.status = 'succeeded'
      return waiting.map((charge) => ({ account: charge.account, event: eventOf(charge) }))
    },
    sandbox: {
      nextEvent: async () => {
        const times = [...ledger.values()].filter(({ finalAt, told }) => finalAt !== undefined && !told).map(({ finalAt }) => finalAt ?? Infinity)
        return times.length === 0 ? undefined : new Date(Math.min(...times))
      },
      moveTo: async (_, now) => {
        const due = [...ledger.values()].filter(({ told, finalAt }) => !told && (finalAt ?? Infinity) <= now.getTime())
        for (const charge of due) {
          conclude(charge)
          await bank.deliver(charge.account, eventOf(charge))
          charge.told = true
        }
      },
    },
    deliver: async () => {},
  }
  return bank
}
