/** Zod, with our own words for everything that it refuses. A message completes a sentence that begins with the field's name. */
import { z } from 'zod'
import { table } from './table.ts'

const types = table<string>({
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
})

const formats = table<string>({
  email: 'an address such as ann@example.com',
  date: 'a date such as 2026-11-27',
  datetime: 'a time such as 2026-11-27T00:00:00Z',
  url: 'a URL',
})

/** More are for the documentation to list. */
const MOST_VALUES = 12

const oneOf = (values: readonly unknown[]): string => {
  if (values.length === 1) return `must be ${values[0]}`
  if (values.length <= MOST_VALUES) return `must be one of ${values.join(', ')}`
  return `must be one of the ${values.length} documented values, such as ${values[0]}`
}

/** @param origin the type whose size is bounded: Zod's name of it. @param bound such as "at least 3". */
const sized = (origin: string, bound: string, size: number | bigint): string => {
  if (origin === 'string') return `must be ${bound} ${size === 1 ? 'character' : 'characters'} long`
  if (['array', 'set', 'map', 'object'].includes(origin)) return `must have ${bound} ${size === 1 ? 'entry' : 'entries'}`
  return `must be ${bound}`
}

const formatted = ({ format, pattern, prefix, suffix, includes }: z.core.$ZodRawIssue<z.core.$ZodIssueInvalidStringFormat>): string => {
  if (format === 'regex') return `must match the pattern ${pattern}`
  if (format === 'starts_with') return `must start with ${prefix}`
  if (format === 'ends_with') return `must end with ${suffix}`
  if (format === 'includes') return `must contain ${includes}`
  return `must be ${formats[format] ?? `a valid ${format}`}`
}

/** Says what would be right. Every code that Zod has is here, so that none is answered in Zod's own words. */
const inOurWords = (issue: z.core.$ZodRawIssue): string => {
  switch (issue.code) {
    case 'invalid_type':
      return issue.input === undefined ? 'is required' : `must be ${types[issue.expected] ?? issue.expected}`
    case 'invalid_value':
      return oneOf(issue.values)
    case 'too_small':
      if (issue.exact) return sized(issue.origin, `exactly ${issue.minimum}`, issue.minimum)
      if (issue.minimum === 1 && (issue.origin === 'string' || issue.origin === 'array')) return 'must not be empty'
      return sized(issue.origin, `${issue.inclusive ? 'at least' : 'more than'} ${issue.minimum}`, issue.minimum)
    case 'too_big':
      if (issue.exact) return sized(issue.origin, `exactly ${issue.maximum}`, issue.maximum)
      return sized(issue.origin, `${issue.inclusive ? 'at most' : 'less than'} ${issue.maximum}`, issue.maximum)
    case 'invalid_format':
      return formatted(issue)
    case 'not_multiple_of':
      return `must be a multiple of ${issue.divisor}`
    case 'unrecognized_keys':
      return `must not have ${issue.keys.join(', ')}`
    case 'invalid_key':
      return `has a name that ${issue.issues.map(({ message }) => message).join(' and ')}`
    case 'invalid_element':
      return `has an entry that ${issue.issues.map(({ message }) => message).join(' and ')}`
    case 'invalid_union':
      return Array.isArray(issue.options) ? oneOf(issue.options) : 'must have one of the documented forms'
    case 'custom':
      return 'is not valid'
    default:
      issue satisfies never
      return 'is not valid'
  }
}

z.config({ customError: inOurWords })

export { z }
