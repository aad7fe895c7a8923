import { type DocumentOf, defineFields, defineSchema, part } from './schema.ts'

/** `invited`: has not signed in yet. `disabled`: may not. */
export const userStatuses = ['invited', 'active', 'disabled'] as const

/** Somebody who may sign in. Its id is derived from the address, or from who the identity provider says it is: there are no two. */
const fields = defineFields({
  id: { type: String, required: true },
  email: { type: String, required: true },
  name: { type: String },
  role: { type: String, required: true },
  /** The storefronts that they are limited to. Absent: they are not limited. */
  storefronts: { type: [String], default: undefined },
  status: { type: String, enum: userStatuses, required: true },
  /** An invitation that has not been accepted: the hash of its token. */
  invitation: { type: part({ tokenHash: { type: String, required: true }, expiresAt: { type: Date, required: true } }) },
  /** argon2id, as a PHC string. Absent: they sign in at the identity provider alone. */
  password: { type: String },
  /** Sealed, base32; and the step of the last code that was taken, so that none is taken twice. */
  totp: { type: part({ secret: { type: String, required: true }, lastStep: { type: Number } }) },
  /** Wrong passwords and codes in a row, and until when no more are looked at. */
  failures: { type: part({ count: { type: Number, required: true }, until: { type: Date } }) },
  /** The person at the identity provider. */
  identity: { type: part({ issuer: { type: String, required: true }, subject: { type: String, required: true } }) },
  /** Sessions that began before are over. */
  sessionsFrom: { type: Date },
  lastSignInAt: { type: Date },
})

export type User = DocumentOf<typeof fields>
export const userSchema = defineSchema(fields)
userSchema.index({ tenantId: 1, createdAt: 1, _id: 1 })

/** Somebody has signed in. Its id is the hash of what their browser has. */
const sessionFields = defineFields({
  userId: { type: String, required: true },
  /** The last request, to a few minutes. */
  lastSeenAt: { type: Date, required: true },
  expiresAt: { type: Date, required: true },
})

export type Session = DocumentOf<typeof sessionFields>
export const sessionSchema = defineSchema(sessionFields)
sessionSchema.index({ tenantId: 1, createdAt: 1, _id: 1 })
sessionSchema.index({ expiresAt: 1, _id: 1 })

/** The identity provider at which a tenant's people sign in, and what they may do by the groups that they are in there. */
const providerFields = defineFields({
  issuer: { type: String, required: true },
  clientId: { type: String, required: true },
  /** Sealed. Absent: a public client. */
  clientSecret: { type: String },
  scopes: { type: [String], required: true },
  groupsClaim: { type: String, required: true },
  /** The first that fits counts. */
  groups: {
    type: [part({ group: { type: String, required: true }, role: { type: String, required: true }, storefronts: { type: [String], default: undefined } })],
    required: true,
  },
})

export type IdentityProvider = DocumentOf<typeof providerFields>
export const identityProviderSchema = defineSchema(providerFields)
