/** The name of an erased customer in the books that are kept. */
import { randomBytes } from 'node:crypto'

/** @returns one that says nothing of the customer: it is made of no part of it. */
export const newPseudonym = (): string => `erased_${randomBytes(16).toString('hex')}`

export const isPseudonym = (customerId: string): boolean => /^erased_[0-9a-f]{32}$/.test(customerId)
