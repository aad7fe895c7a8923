/**
 * What of a changed OpenAPI document breaks clients that were made from the released one. api-smart-diff finds what is different, with
 * every $ref followed, and judges requests; answers are judged here, since it lets their fields go and minds values that are new.
 */
import { apiCompare, type Diff } from 'api-smart-diff'

const isWithin = (path: Diff['path'], ...names: string[]): boolean => names.some((name) => name === path.at(-1) || name === path.at(-2))

/** Unknown fields are refused, so a request may not lose one either. */
const breaksRequest = ({ type, action, path }: Diff): boolean => type === 'breaking' || (action === 'remove' && path.at(-2) === 'properties')

const breaksAnswer = ({ action, path }: Diff): boolean => {
  const [, , , , status, ...inside] = path
  // A call that is refused with less than before breaks nobody.
  if (inside.length < 4) return action === 'remove' && Number(status) < 400
  if (isWithin(path, 'type', 'const')) return true
  if (action === 'remove') return isWithin(path.slice(0, -1), 'properties', 'required')
  return action === 'add' && isWithin(path.slice(0, -1), 'anyOf', 'oneOf')
}

const breaks = (diff: Diff): boolean => {
  const [root, , , part] = diff.path
  // What components hold is met where it is used.
  if (root !== 'paths') return false
  if (diff.path.length <= 3) return diff.action === 'remove'
  switch (part) {
    case 'operationId':
      return true
    case 'parameters':
    case 'requestBody':
      return breaksRequest(diff)
    case 'responses':
      return breaksAnswer(diff)
    default:
      return false
  }
}

/** @returns in words, with where it is. */
export const breakingChanges = (released: object, present: object): string[] =>
  apiCompare(released, present)
    .diffs.filter(breaks)
    .map(({ action, path, before, after }) => {
      const [, at, method, ...rest] = path
      const values = [before, after].filter((value) => value !== undefined && typeof value !== 'object').join(' → ')
      return `${method ?? ''} ${at}: ${action} ${rest.join('/')}${values && ` (${values})`}`.trim()
    })
