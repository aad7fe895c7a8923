/**
 * A table that is looked into with other people's words: what nobody entered is not there. An object literal would answer
 * `constructor` and `__proto__` too.
 */
export const table = <T>(entries: Readonly<Record<string, T>>): Readonly<Record<string, T>> =>
  Object.freeze(Object.assign(Object.create(null) as Record<string, T>, entries))
