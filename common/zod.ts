/** Zod, saying what is wrong in the words of the one who has to mend it. */
import { z } from 'zod'
import { table } from './table.ts'

const names = table<string>({
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
})

/** More are for the documentation to list. */
const MOST_VALUES = 12

z.config({
  customError: (issue) => {
    if (issue.code === 'too_small' && issue.origin === 'array') return `must have at least ${issue.minimum}`
    if (issue.code === 'invalid_value' && issue.values.length <= MOST_VALUES) return `must be ${issue.values.join(' or ')}`
    if (issue.code === 'invalid_format' && issue.format === 'email') return 'must be an address such as ann@example.com'
    if (issue.code === 'invalid_format' && issue.format === 'datetime') return 'must be a time such as 2026-11-27T00:00:00Z'
    if (issue.code !== 'invalid_type') return undefined
    if (issue.input === undefined) return 'is needed'
    const expected = names[issue.expected]
    return expected ? `must be ${expected}` : undefined
  },
})

export { z }
