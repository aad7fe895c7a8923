/** Cursors of what is read along a tenant's log of events: they hold a place in it. */
import { fieldError } from '../../common/errors.ts'

/** @param list a letter for each list, so that a cursor of one is not taken for another's. */
export const encodePlace = (list: string, place: number): string => Buffer.from(`${list}${place}`).toString('base64url')

/** @param otherwise what the caller is told. @throws AppError `invalid_request` on `cursor`. */
export const decodePlace = (list: string, cursor: string, otherwise: string): number => {
  const text = Buffer.from(cursor, 'base64url').toString()
  if (!text.startsWith(list) || !/^\d{1,15}$/.test(text.slice(list.length))) throw fieldError('invalid_request', 'cursor', otherwise)
  return Number(text.slice(list.length))
}
