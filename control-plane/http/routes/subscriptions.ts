import { readSubscription } from '../../engine/advance-subscription.ts'
import { subscriptionStatuses } from '../../schemas/subscription.ts'
import {
  type Command,
  cancelSubscription,
  changeSubscription,
  editSubscription,
  pauseSubscription,
  previewChange,
  reactivateSubscription,
  resumeSubscription,
} from '../../subscriptions/change-subscription.ts'
import { billingCycles, createSubscription } from '../../subscriptions/create-subscription.ts'
import { listSubscriptions } from '../../subscriptions/list-subscriptions.ts'
import { timelineOf } from '../../subscriptions/timeline.ts'
import { dateOrInstant, id, instant, iso, metadata, pageAnswer, pageOf, pageQuery, token, z } from '../fields.ts'
import { mustMatch } from '../precondition.ts'
import { ofList, ofNewDocument, route } from '../route.ts'
import { mustBeWithin } from '../storefront-scope.ts'
import { lineAnswer, toLineAnswer } from './payment-answer.ts'
import { changedAnswer, changedSubscription, nextPaymentAnswer, subscriptionAnswer, toNextPayment, toSubscriptionAnswer } from './subscription-answer.ts'

/** More seats than any customer has. */
const quantity = z.int().min(1).max(100_000)

const postBody = z
  .strictObject({
    customerId: id,
    bundleId: id,
    storefrontId: id,
    billingCycle: z
      .enum(billingCycles as [string, ...string[]])
      .optional()
      .openapi({ description: "Must be the bundle's own interval; lets the caller verify it." }),
    startDate: dateOrInstant.optional().openapi({
      description:
        "A date means its first instant in the storefront's time zone. Default: now. In the future: scheduled. In the past: the period that contains now is billed.",
    }),
    quantity: quantity.optional().openapi({ description: 'The number of seats: multiplies the price and every quota and capacity. Default 1.' }),
    billingDay: z.int().min(1).max(31).optional().openapi({
      description: 'Periods begin on this day of the month (31: the last), or of the week (1: Monday); a partial first period is charged pro rata.',
    }),
    billMissed: z.boolean().optional().openapi({ description: 'With a startDate in the past: also bill the periods that are over, once each.' }),
    paymentMethod: token.optional().openapi({ description: "The id of one of the customer's methods, or a PSP's token. Default: the customer's first." }),
    metadata: metadata.optional(),
  })
  .openapi('NewSubscription')

const params = z.object({ subscription: id })

const changeBody = z
  .strictObject({ bundleId: id.optional(), quantity: quantity.optional(), at: z.enum(['now', 'period_end']).default('now') })
  .refine(({ bundleId, quantity }) => bundleId !== undefined || quantity !== undefined, {
    message: 'send what changes: a bundleId, a quantity, or both',
    path: ['bundleId'],
  })
  .openapi({ anyOf: [{ required: ['bundleId'] }, { required: ['quantity'] }] })

const previewAnswer = z
  .object({
    lines: z.array(lineAnswer).openapi({ description: 'The lines of the change; empty if nothing is billed for it.' }),
    creditApplied: z.int().openapi({ description: 'Paid from the credit balance; negative: added to it.' }),
    amount: z.int().openapi({ description: 'The amount charged for the change.' }),
    currency: z.string(),
    creditBalance: z.int().openapi({ description: 'After the change.' }),
    currentPeriod: z.object({ start: instant, end: instant }).openapi({ description: 'After the change.' }),
    nextPayment: nextPaymentAnswer,
  })
  .openapi('ChangePreview')

const timelineAnswer = z.object({
  data: z.array(
    z.object({
      at: instant,
      type: z.string(),
      why: z.string(),
      amount: z.int().nullable(),
      currency: z.string(),
      paymentId: z.string().nullable(),
      lines: z.array(lineAnswer),
    }),
  ),
  nextCursor: z.string().optional(),
})

interface Asked {
  params: { subscription: string }
  ifMatch: number | undefined
  newId(prefix: string): string
}
const commandOf = ({ params, ifMatch, newId }: Asked): Command => {
  const id = newId('cmd')
  return {
    id,
    subscriptionId: params.subscription,
    // A repeat of a command that was obeyed finds what it has changed itself.
    check: (subscription) => {
      if (!subscription.recentCommands.includes(id)) mustMatch(ifMatch)(subscription)
    },
  }
}

export const subscriptionRoutes = [
  route({
    method: 'post',
    path: '/v1/subscriptions',
    summary: 'Subscribe a customer to a bundle',
    description:
      'The call takes the first payment, unless there is a trial, a future start or nothing to pay. It creates the customer if the storefront does not know the id. If the payment is declined, the answer is 201 with the status incomplete, and payment says why. Send an Idempotency-Key, so that a repeat does not subscribe or charge twice.',
    access: 'subscriptions:write',
    storefront: 'body',
    ifMatch: ofNewDocument,
    body: postBody,
    refusals: ['unknown_reference', 'no_eligible_psp', 'set_too_large'],
    status: 201,
    answer: changedAnswer,
    handle: async ({ of, body, newId }) => changedSubscription(await createSubscription(of, newId('sub'), body)),
  }),
  route({
    method: 'get',
    path: '/v1/subscriptions',
    summary: 'List subscriptions',
    description: 'A filter by customerId or by bundleId needs storefrontId too.',
    access: 'subscriptions:read',
    storefront: 'within',
    ifMatch: ofList,
    query: z.strictObject({
      storefrontId: id.optional(),
      customerId: id.optional(),
      bundleId: id.optional(),
      status: z.enum(subscriptionStatuses).optional(),
      ...pageQuery,
    }),
    status: 200,
    answer: pageOf(subscriptionAnswer),
    handle: async ({ of, within, query: { limit, cursor, ...filter } }) => {
      if (filter.storefrontId !== undefined) mustBeWithin(within, filter.storefrontId)
      return pageAnswer(await listSubscriptions(of, within, filter, { limit, cursor }), toSubscriptionAnswer)
    },
  }),
  route({
    method: 'get',
    path: '/v1/subscriptions/{subscription}',
    summary: 'Read a subscription',
    access: 'subscriptions:read',
    storefront: 'subscription',
    ifMatch: 'answer',
    params,
    status: 200,
    answer: changedAnswer,
    handle: async ({ of, params }) => changedSubscription(await readSubscription(of, params.subscription)),
  }),
  route({
    method: 'get',
    path: '/v1/subscriptions/{subscription}/timeline',
    summary: 'Read the timeline of a subscription',
    description: 'The entries say what happened, when, why, and which money moved.',
    access: 'subscriptions:read',
    storefront: 'subscription',
    ifMatch: ofList,
    params,
    query: z.strictObject({ ...pageQuery, limit: pageQuery.limit.default(500) }),
    status: 200,
    answer: timelineAnswer,
    handle: async ({ of, params, query }) => {
      const { currency, data, nextCursor } = await timelineOf(of, params.subscription, query.limit, query.cursor)
      const entries = data.map(({ at, type, why, amountMinor, paymentId, lines }) => ({
        at: iso(at),
        type,
        why,
        amount: amountMinor ?? null,
        currency,
        paymentId: paymentId ?? null,
        lines: lines.map(toLineAnswer),
      }))
      return { body: { data: entries, ...(nextCursor === undefined ? {} : { nextCursor }) } }
    },
  }),
  route({
    method: 'patch',
    path: '/v1/subscriptions/{subscription}',
    summary: 'Change the payment method or metadata',
    description: 'A new payment method is tried at once for a payment that is overdue.',
    access: 'subscriptions:write',
    storefront: 'subscription',
    ifMatch: { document: 'the subscription' },
    params,
    body: z.strictObject({ paymentMethod: token.optional(), metadata: metadata.optional() }),
    status: 200,
    answer: changedAnswer,
    handle: async (call) => changedSubscription(await editSubscription(call.of, commandOf(call), call.body)),
  }),
  route({
    method: 'post',
    path: '/v1/subscriptions/{subscription}/cancel',
    summary: 'Cancel a subscription',
    description:
      'With at=period_end, access lasts until then, and reactivate takes the cancellation back. With at=now, the subscription ends at once, and credit=prorate turns the rest of the paid period into credit. Money that was paid is not refunded.',
    access: 'subscriptions:write',
    storefront: 'subscription',
    ifMatch: { document: 'the subscription' },
    params,
    body: z
      .strictObject({
        at: z.enum(['now', 'period_end']),
        credit: z
          .enum(['none', 'prorate'])
          .default('none')
          .openapi({ description: 'With `now`: whether the rest of the paid period becomes credit. Default none: no credit.' }),
      })
      .refine(({ at, credit }) => at === 'now' || credit === 'none', {
        message: 'needs at: now; a period that runs to its end leaves nothing to credit',
        path: ['credit'],
      }),
    status: 200,
    answer: changedAnswer,
    handle: async (call) => changedSubscription(await cancelSubscription(call.of, commandOf(call), call.body.at, call.body.credit)),
  }),
  route({
    method: 'post',
    path: '/v1/subscriptions/{subscription}/reactivate',
    summary: 'Undo a cancellation at the period end',
    description: 'The call is refused if the subscription has already ended.',
    access: 'subscriptions:write',
    storefront: 'subscription',
    ifMatch: { document: 'the subscription' },
    params,
    body: z.strictObject({}),
    status: 200,
    answer: changedAnswer,
    handle: async (call) => changedSubscription(await reactivateSubscription(call.of, commandOf(call))),
  }),
  route({
    method: 'post',
    path: '/v1/subscriptions/{subscription}/pause',
    summary: 'Pause a subscription',
    description:
      'A pause of the service turns access off, charges nothing, and keeps the rest of the period. A pause of the collection keeps access on, and periods that begin during it are free. While a payment is in progress, the call is refused.',
    access: 'subscriptions:write',
    storefront: 'subscription',
    ifMatch: { document: 'the subscription' },
    params,
    body: z
      .strictObject({
        what: z.enum(['service', 'collection']).default('service').openapi({ description: 'collection: access stays on, and new periods are not charged.' }),
        resumeAt: dateOrInstant
          .optional()
          .openapi({ description: "When a service pause ends by itself. A date means its first instant in the storefront's time zone." }),
      })
      .refine(({ what, resumeAt }) => what === 'service' || resumeAt === undefined, { message: 'is possible only with a service pause', path: ['resumeAt'] }),
    status: 200,
    answer: changedAnswer,
    handle: async (call) => {
      const { what, resumeAt } = call.body
      return changedSubscription(await pauseSubscription(call.of, commandOf(call), { what, resumeAt }))
    },
  }),
  route({
    method: 'post',
    path: '/v1/subscriptions/{subscription}/resume',
    summary: 'Resume a paused subscription',
    description: 'The rest of the paid period continues. If nothing is left of it, the next period is charged first.',
    access: 'subscriptions:write',
    storefront: 'subscription',
    ifMatch: { document: 'the subscription' },
    params,
    body: z.strictObject({}),
    status: 200,
    answer: changedAnswer,
    handle: async (call) => changedSubscription(await resumeSubscription(call.of, commandOf(call))),
  }),
  route({
    method: 'post',
    path: '/v1/subscriptions/{subscription}/change',
    summary: 'Change the bundle or the quantity',
    description:
      'With at=now, the rest of the period is credited, the new terms are charged, and the change takes effect when that is paid. If the payment fails, the subscription stays as it is, and payment says why. With at=period_end, nothing is charged now. Send the ETag of a preview as If-Match to get exactly the amounts that were previewed.',
    access: 'subscriptions:write',
    storefront: 'subscription',
    ifMatch: { document: 'the subscription' },
    params,
    body: changeBody,
    refusals: ['unknown_reference', 'set_too_large'],
    status: 200,
    answer: changedAnswer,
    handle: async (call) => changedSubscription(await changeSubscription(call.of, commandOf(call), call.body)),
  }),
  route({
    method: 'post',
    path: '/v1/subscriptions/{subscription}/preview-change',
    summary: 'Preview the amounts of a change',
    description: 'Takes the body of a change, and answers what it would cost now. The call changes nothing.',
    access: 'subscriptions:read',
    storefront: 'subscription',
    ifMatch: 'answer',
    params,
    body: changeBody,
    refusals: ['unknown_reference', 'set_too_large'],
    status: 200,
    answer: previewAnswer,
    handle: async ({ of, params, body }) => {
      const { bill, after } = await previewChange(of, params.subscription, body)
      return {
        body: {
          lines: bill?.lines.map(toLineAnswer) ?? [],
          creditApplied: bill?.creditMinor ?? 0,
          amount: bill?.amountMinor ?? 0,
          currency: after.pricing.currency,
          creditBalance: after.creditMinor,
          currentPeriod: { start: iso(after.currentPeriod.start), end: iso(after.currentPeriod.end) },
          nextPayment: toNextPayment(after),
        },
        // Of the subscription as it is stored: a change that names it makes these amounts, or none.
        revision: after.revision,
      }
    },
  }),
]
