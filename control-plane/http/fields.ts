/** The fields that several requests share: each with its bounds, its message and its place in the OpenAPI document. */
import { extendZodWithOpenApi } from '@asteasolutions/zod-to-openapi'
import { isTimeZone } from '../../common/calendar.ts'
import { isCurrency, MAX_AMOUNT_MINOR } from '../../common/money.ts'
import { toSecret } from '../../common/secret.ts'
import { z } from '../../common/zod.ts'
import { MAX_PAGE, type Page } from '../storage/storage.ts'

extendZodWithOpenApi(z)

export { z }

/**
 * Letters and digits of any script, with the marks that many scripts write on them, and the signs of e-mail addresses;
 * nothing that a URL, a log or a shell would trip over. A mark alone would sit on whatever is written before it.
 */
export const ID = /^(?!\p{M})(?!\.{1,2}$)[\p{L}\p{M}\p{N}._@+:~!$&'=-]{1,128}$/u

const idRule = "must be 1 to 128 letters (with their marks), digits or . _ @ + : ~ ! $ & ' = -"

/** Ids are compared as they are written, and the same letters can be written in several ways: two spellings would be two customers. */
export const isNormal = (text: string): boolean => text === text.normalize('NFC')
export const normalRule = 'must be in Unicode normal form NFC; this text looks the same but is encoded differently: normalize it first'

export const id = z
  .string()
  .regex(ID, idRule)
  .refine(isNormal, normalRule)
  // As JSON Schema has patterns: without the slashes and flags of a literal.
  .openapi({ example: 'us-store', pattern: ID.source })

export const name = z
  .string()
  .trim()
  .min(1, 'must not be empty')
  .max(200)
  .refine((text) => !/\p{Cc}/u.test(text), 'must not contain control characters')
  // \p{Cc} in other words, which generators of requests understand.
  .openapi({ pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]+$' })

export const currency = z
  .string()
  .refine(isCurrency, 'must be an ISO 4217 currency code in capital letters, such as USD')
  .openapi({ example: 'USD', pattern: '^[A-Z]{3}$' })

export const country = z
  .string()
  .regex(/^[A-Z]{2}$/, 'must be an ISO 3166-1 country code of two capital letters, such as US')
  .openapi({ example: 'US' })

export const timeZone = z.string().refine(isTimeZone, 'must be an IANA time zone, such as Europe/Berlin').openapi({ example: 'Europe/Berlin' })

export const amountMinor = z.int('must be a whole number of minor units, such as 2900 for $29.00').max(MAX_AMOUNT_MINOR)

export const instant = z.iso.datetime({ offset: true }).openapi({ example: '2024-03-15T00:00:00.000Z' })
const date = z.iso.date().openapi({ example: '2024-03-15' })

/** A date, meant as its first instant in a time zone that the field's documentation names, or an instant. */
export const dateOrInstant = z.union([date, instant], 'must be a date such as 2024-03-15 or an instant such as 2024-03-15T09:00:00Z')

export const paymentMethodType = z.string().regex(/^[a-z0-9_]{1,50}$/, 'must be a name such as card or bank_transfer')

/** https://en.wikipedia.org/wiki/Luhn_algorithm: what every card number satisfies, and one other number in ten. */
const isCardNumber = (text: string): boolean => {
  const digits = text.replaceAll(/[ -]/g, '')
  if (!/^\d{13,19}$/.test(digits)) return false
  const sum = [...digits].reverse().reduce((total, digit, n) => {
    const value = n % 2 === 1 ? 2 * Number(digit) : Number(digit)
    return total + (value > 9 ? value - 9 : value)
  }, 0)
  return sum % 10 === 0
}

/** A password, one-time code or credential: from here on nothing that prints the request shows it. */
export const secret = (text: z.ZodString) => text.transform(toSecret<string>)

/** What a PSP knows a payment method by; never the card itself. */
export const token = z
  .string()
  .min(1)
  .max(500)
  .refine((text) => !isCardNumber(text), "looks like a card number, which must never be sent here: send the provider's token instead")

export const role = id.openapi({ description: 'admin, billing, read, sidecar, or the id of a role of the tenant.', example: 'read' })

/** The storefronts that a key or a person is limited to. */
export const storefronts = z
  .array(id)
  .min(1)
  .max(100)
  .refine((list) => new Set(list).size === list.length, 'must not name a storefront twice')
  .openapi({ description: 'Limits it to these storefronts. Default: no limit.' })

/** The pattern of a record's keys, which the generator of the document does not describe by itself. */
export const keysOf = (pattern: RegExp): object => ({ propertyNames: { pattern: pattern.source } })

const METADATA_KEY = /^[A-Za-z0-9_-]{1,40}$/
const MAX_METADATA = 50

export const metadata = z
  .record(z.string().regex(METADATA_KEY, 'must be 1 to 40 letters, digits, _ or -'), z.string().max(500))
  .refine((record) => Object.keys(record).length <= MAX_METADATA, `must not have more than ${MAX_METADATA} entries`)
  .openapi({ ...keysOf(METADATA_KEY), maxProperties: MAX_METADATA })

export const pageQuery = {
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(50),
  cursor: z.string().max(2_000).optional(),
}

export const pageOf = <I extends z.ZodType>(item: I) => z.object({ data: z.array(item), nextCursor: z.string().optional() })

/** A page of storage, as a list answers it. */
export const pageAnswer = <D, B>({ data, nextCursor }: Page<D>, toAnswer: (document: D) => B): { body: { data: B[]; nextCursor?: string } } => ({
  body: { data: data.map(toAnswer), ...(nextCursor === undefined ? {} : { nextCursor }) },
})

/** Dates leave as ISO 8601 instants in UTC. */
export const iso = (date: Date): string => date.toISOString()
export const isoOrNull = (date: Date | null | undefined): string | null => (date ? date.toISOString() : null)
