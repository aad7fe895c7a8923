/** Every type of event, with what it says. The names are part of the API: they are only ever added to. */

/** The object that an event's `data` shows, as the HTTP API answers it. */
export type EventObject =
  | 'Customer'
  | 'Subscription'
  | 'Payment'
  | 'EntitlementChange'
  | 'UsageWarning'
  | 'Bundle'
  | 'PspAccountTrouble'
  | 'SettlementReport'
  | 'WebhookEndpointState'

interface Family {
  data: EventObject
  /** The subject of its events, as a template. */
  subject: string
  types: Record<string, string>
}

const families = {
  customer: {
    data: 'Customer',
    subject: '/storefronts/{storefront}/customers/{customer}',
    types: {
      created: 'A customer was created, by itself or with its first subscription.',
      updated: "A customer's name, email, country, metadata or payment methods were changed.",
      erased: 'A customer was erased, with everything personal; delete what you keep of it.',
    },
  },
  subscription: {
    data: 'Subscription',
    subject: '/subscriptions/{subscription}',
    types: {
      created: 'A subscription was made. It may still wait for its first payment, or for its start.',
      trial_started: 'A trial began.',
      trial_ending: 'A trial ends soon: in three days where the storefront does not say otherwise, or sooner where the trial is shorter.',
      activated: 'The first period began, or a period after a pause: it was paid, or nothing was due.',
      renewal_upcoming: 'The next period is charged soon: in seven days where the storefront does not say otherwise. Only for periods of a month or longer.',
      renewed: 'The next period began: it was paid, or nothing was due. It is told when the money has decided.',
      recovered: 'An overdue subscription was paid. `subscription.renewed` follows.',
      change_scheduled: 'Other terms were agreed for the next period.',
      change_taken_back: 'The terms that were agreed for the next period are off.',
      change_declined: 'A change that had to be paid was not paid; the terms stay.',
      changed: 'Bundle, version or quantity are other ones from now on.',
      past_due: 'A renewal was not paid. Access stays until `graceUntil`.',
      suspended: 'Grace is over: access is off until the payment is made.',
      paused: 'The subscription is paused: access is off.',
      resumed: 'A pause is over.',
      resume_declined: 'The payment for the time after a pause was not made; the pause goes on.',
      collection_paused: 'Service goes on, and nothing is charged.',
      collection_resumed: 'Periods are charged again.',
      cancel_scheduled: 'The subscription ends with its period.',
      cancel_taken_back: 'The subscription does not end with its period after all.',
      canceled: 'The subscription has ended; `endReason` says why.',
      expired: 'The first payment was not made in time: the subscription never began.',
    },
  },
  payment: {
    data: 'Payment',
    subject: '/payments/{payment}',
    types: {
      succeeded: 'The money was taken.',
      failed: 'A round of attempts has failed. The last attempt says why.',
      action_required: 'The bank wants the customer to act: send them to `nextAction.url` of the last attempt.',
      unknown: 'A provider has not answered. The payment is not tried elsewhere until the outcome is known.',
      canceled: 'Nobody owes it any more. Money that still arrives is refunded.',
      refunded: 'A refund was made, of all or of a part.',
      refund_failed: 'A provider has refused a refund.',
      disputed: "The customer's bank takes the money back, or may.",
      dispute_won: 'A dispute was decided for you.',
      dispute_lost: 'A dispute was decided against you.',
    },
  },
  invoice: {
    data: 'Payment',
    subject: '/payments/{payment}',
    types: {
      created: 'Something is owed: `lines` say what, `amount` how much after credit.',
      paid: 'The invoice is paid, by a charge or by credit.',
      voided: 'Nobody owes it any more.',
    },
  },
  entitlement: {
    data: 'EntitlementChange',
    subject: '/storefronts/{storefront}/customers/{customer}/entitlements',
    types: {
      granted: 'A customer has entitlements that it did not have. Checks that are given `revision` see them.',
      changed: 'Limits, values or switches of entitlements are other ones.',
      revoked: 'A customer no longer has entitlements that it had.',
    },
  },
  usage: {
    data: 'UsageWarning',
    subject: '/storefronts/{storefront}/customers/{customer}/usage',
    types: {
      threshold: 'A share of a limit that the bundle or grant names in `warnAt` was reached. Once per window.',
      over_limit: 'More is used than the limit. Once per window.',
    },
  },
  bundle: {
    data: 'Bundle',
    subject: '/storefronts/{storefront}/bundles/{bundle}',
    types: {
      created: 'A bundle was created.',
      updated: 'A bundle was changed, with a new version or without.',
    },
  },
  psp_account: {
    data: 'PspAccountTrouble',
    subject: '/psp-accounts/{account}',
    types: {
      circuit_open: 'Calls to a provider kept failing, and payments are routed around it for a while.',
      credentials_failed: 'A provider has refused the credentials of an account.',
    },
  },
  settlement: {
    data: 'SettlementReport',
    subject: '/settlement-reports/{report}',
    types: {
      imported: 'A settlement report was read to its end; `differences` counts what does not agree.',
      failed: 'A settlement report could not be read; `why` says the reason.',
    },
  },
  webhook_endpoint: {
    data: 'WebhookEndpointState',
    subject: '/webhook-endpoints/{endpoint}',
    types: {
      test: 'Sent when somebody tests an endpoint. It is not kept with the other events.',
      disabled: 'An endpoint has failed for too long, or answered 410 Gone, and gets nothing more until it is enabled.',
    },
  },
} as const satisfies Record<string, Family>

type Families = typeof families
export type EventType = { [F in keyof Families & string]: `${F}.${keyof Families[F]['types'] & string}` }[keyof Families & string]

export interface EventTypeInfo {
  type: EventType
  about: string
  data: EventObject
  subject: string
}

export const eventTypeInfos: readonly EventTypeInfo[] = Object.entries(families).flatMap(([family, { data, subject, types }]) =>
  Object.entries(types).map(([name, about]) => ({ type: `${family}.${name}` as EventType, about, data, subject })),
)

export const eventTypes: readonly EventType[] = eventTypeInfos.map(({ type }) => type)

/** `subscription.*` stands for its family. */
export const matches = (types: readonly string[], type: string): boolean =>
  types.some((one) => one === '*' || one === type || (one.endsWith('.*') && type.startsWith(one.slice(0, -1))))
