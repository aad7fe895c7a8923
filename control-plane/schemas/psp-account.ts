import { type DocumentOf, defineFields, defineSchema, eventFields, part } from './schema.ts'

export const pspProviders = ['stripe', 'adyen', 'paypal', 'mercadopago', 'local', 'simulator'] as const

export const captureModes = ['automatic', 'separate'] as const

export const accountTroubles = ['circuit_open', 'credentials_failed'] as const

const fields = defineFields({
  id: { type: String, required: true },
  provider: { type: String, enum: pspProviders, required: true },
  /** The credentials that the provider's library needs, by its own names, as sealed JSON. Never answered, never logged. */
  credentials: { type: String },
  /** Sealed. */
  webhookSecret: { type: String },
  /** The webhook that Tollgate has set up at the provider, whose secret is above. Absent: none, or the secret was changed since. */
  webhook: {
    type: part({
      /** The provider's. */
      id: { type: String, required: true },
      url: { type: String, required: true },
      events: { type: [String], required: true },
      registeredAt: { type: Date, required: true },
    }),
  },
  /** The secrets that this webhook's replaced, as sealed JSON: the provider may still send events that were signed with them. */
  formerSecrets: { type: part({ sealed: { type: String, required: true }, until: { type: Date, required: true } }) },
  /** The call that sets the webhook up at the provider now: no other does before its time is over. */
  registration: { type: part({ by: { type: String, required: true }, until: { type: Date, required: true } }) },
  /** `separate`: charges are authorized first and captured by a second call. Absent: automatic. */
  capture: { type: String, enum: captureModes },
  /** The page that customers come back to after 3-D Secure. */
  returnUrl: { type: String },
  capabilities: {
    type: part({
      /** Absent: all. */
      currencies: { type: [String], default: undefined },
      countries: { type: [String], default: undefined },
      paymentMethodTypes: { type: [String], default: undefined },
    }),
    required: true,
  },
  /** Troubles of the account that were told of, one of each kind: the latest. In system time. */
  troubles: {
    type: [
      part({
        kind: { type: String, enum: accountTroubles, required: true },
        why: { type: String, required: true },
        at: { type: Date, required: true },
        /** Until when payments are routed around it. */
        until: { type: Date },
      }),
    ],
    default: undefined,
  },
  ...eventFields,
})

export type PspAccount = DocumentOf<typeof fields>
export const pspAccountSchema = defineSchema(fields)
pspAccountSchema.index({ tenantId: 1, createdAt: 1, _id: 1 })
pspAccountSchema.index({ outboxAt: 1, _id: 1 })
