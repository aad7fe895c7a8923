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

z.config({
  customError: (issue) => {
    if (issue.code !== 'invalid_type') return undefined
    if (issue.input === undefined) return 'is needed'
    const expected = names[issue.expected]
    return expected ? `must be ${expected}` : undefined
  },
})

export { z }
