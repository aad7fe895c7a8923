/** What a schema refuses is said in our own words, which begin in the same way and say what would be right. */
import test from 'ava'
import { z } from '../../common/zod.ts'

const many = Array.from({ length: 20 }, (_, n) => `v${n}`)

const words: Record<z.core.$ZodIssueCode, [schema: z.ZodType, input: unknown, message: string][]> = {
  invalid_type: [
    [z.string(), undefined, 'is required'],
    [z.string(), 1, 'must be text'],
    [z.number(), '1', 'must be a number'],
    [z.number(), Number.POSITIVE_INFINITY, 'must be a number'],
    [z.coerce.number(), 'ten', 'must be a number'],
    [z.int(), 1.5, 'must be a whole number'],
    [z.coerce.number().int(), '1.5', 'must be a whole number'],
    [z.boolean(), 'yes', 'must be true or false'],
    [z.array(z.string()), {}, 'must be a list'],
    [z.object({}), [], 'must be an object'],
    [z.object({}), null, 'must be an object'],
    [z.record(z.string(), z.string()), 'a', 'must be an object'],
    [z.null(), 'a', 'must be null'],
  ],
  invalid_value: [
    [z.literal('a'), 'b', 'must be a'],
    [z.literal(true), false, 'must be true'],
    [z.enum(['a', 'b']), 'c', 'must be one of a, b'],
    [z.enum(['a', 'b', 'c']), undefined, 'must be one of a, b, c'],
    [z.enum(many), 'c', 'must be one of the 20 documented values, such as v0'],
  ],
  too_small: [
    [z.string().min(1), '', 'must not be empty'],
    [z.string().min(2), 'a', 'must be at least 2 characters long'],
    [z.string().length(6), '1', 'must be exactly 6 characters long'],
    [z.array(z.string()).min(1), [], 'must not be empty'],
    [z.array(z.string()).min(2), [], 'must have at least 2 entries'],
    [z.number().min(1), 0, 'must be at least 1'],
    [z.number().gt(0), 0, 'must be more than 0'],
  ],
  too_big: [
    [z.string().max(255), 'a'.repeat(256), 'must be at most 255 characters long'],
    [z.string().max(1), 'ab', 'must be at most 1 character long'],
    [z.string().length(1), 'ab', 'must be exactly 1 character long'],
    [z.array(z.string()).max(1), ['a', 'b'], 'must have at most 1 entry'],
    [z.int().max(100), 101, 'must be at most 100'],
    [z.int(), 2 ** 60, 'must be at most 9007199254740991'],
    [z.number().lt(1), 1, 'must be less than 1'],
  ],
  invalid_format: [
    [z.email(), 'ann', 'must be an address such as ann@example.com'],
    [z.iso.datetime({ offset: true }), 'today', 'must be a time such as 2026-11-27T00:00:00Z'],
    [z.iso.date(), 'today', 'must be a date such as 2026-11-27'],
    [z.url(), 'a', 'must be a URL'],
    [z.ipv4(), 'a', 'must be a valid ipv4'],
    [z.string().regex(/^a$/), 'b', 'must match the pattern /^a$/'],
    [z.string().startsWith('a'), 'b', 'must start with a'],
    [z.string().endsWith('a'), 'b', 'must end with a'],
    [z.string().includes('a'), 'b', 'must contain a'],
  ],
  not_multiple_of: [[z.number().multipleOf(5), 3, 'must be a multiple of 5']],
  unrecognized_keys: [[z.strictObject({}), { a: 1, b: 2 }, 'must not have a, b']],
  invalid_union: [
    [z.union([z.string(), z.number()]), true, 'must have one of the documented forms'],
    [z.discriminatedUnion('kind', [z.object({ kind: z.literal('a') }), z.object({ kind: z.literal('b') })]), { kind: 'c' }, 'must be one of a, b'],
  ],
  invalid_key: [[z.record(z.string().min(2), z.string()), { a: 'b' }, 'has a name that must be at least 2 characters long']],
  invalid_element: [[z.map(z.object({}), z.string()), new Map([[{}, 1]]), 'has an entry that must be text']],
  custom: [
    [z.string().refine(() => false), 'a', 'is not valid'],
    [z.string().refine(() => false, 'must be better'), 'a', 'must be better'],
  ],
}

for (const [code, cases] of Object.entries(words)) {
  test(`${code} is said in our own words`, (t) => {
    for (const [schema, input, message] of cases) t.like(schema.safeParse(input).error?.issues[0], { code, message })
  })
}
