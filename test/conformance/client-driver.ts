/** The TypeScript client: checks are answered from its memory, as long as nothing was counted. */
import { createTollgate, type Decided, type Reserved, type Tollgate, TollgateError } from '../../client/index.ts'
import { eventually } from '../support/eventually.ts'
import type { Said } from './cases.ts'
import type { Call, Driver, Known } from './driver.ts'

const statuses: Record<string, string> = { invalid_request: 'INVALID_ARGUMENT', not_found: 'NOT_FOUND' }

export const clientDriver = (address: string, tenant: string, storefront: string): Driver => {
  const tollgate: Tollgate = createTollgate({ address, tenant, storefront, timeoutMs: 10_000 })
  const reservations = new Map<string, Reserved>()

  const check = async (question: { customer: string; entitlement: string; amount?: number }, { nowMs, revision, counted }: Known): Promise<Decided> => {
    let answer = (await tollgate.check(question)) as Decided
    if (counted) return answer
    const isKnown = () => answer.from === 'memory' && answer.asOf.getTime() >= nowMs && answer.revision >= (answer.reason === 'customer_unknown' ? 0 : revision)
    await eventually(async () => {
      answer = (await tollgate.check(question)) as Decided
      return isKnown()
    })
    return answer
  }

  const answer = async ({ call, customer, entitlement = '', amount, idempotencyKey, holder, ttlMs, as, reservation }: Call, known: Known): Promise<Said> => {
    const use = { customer, entitlement, idempotencyKey, holder, ttlMs, ...(amount === undefined ? {} : { amount }) }
    const settled = () => {
      const reserved = reservations.get(reservation ?? '')
      if (!reserved?.allowed) throw new Error(`${reservation} was not given`)
      return reserved
    }
    switch (call) {
      case 'check':
        return { ...(await check({ customer, entitlement, ...(amount === undefined ? {} : { amount }) }, known)) }
      case 'consume':
        return { ...(await tollgate.consume(use)) }
      case 'reserve': {
        const reserved = await tollgate.reserve(use)
        if (as !== undefined) reservations.set(as, reserved)
        return { ...reserved }
      }
      case 'commit':
        return { ...(await settled().commit(amount)) }
      case 'release':
        await settled().release()
        return {}
      case 'giveBack':
        return tollgate.release(use)
      default:
        return call satisfies never
    }
  }
  return {
    name: '@tollgate/client',
    ask: async (call, known) => {
      try {
        const said = await answer(call, known)
        for (const [field, value] of Object.entries(said)) if (value instanceof Date) said[field] = value.toISOString()
        return said
      } catch (error) {
        if (error instanceof TollgateError) return { error: statuses[error.code] ?? error.code, details: error.message }
        throw error
      }
    },
    close: () => tollgate.close(),
  }
}
