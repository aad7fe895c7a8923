/** Properties that are absent where they have no value; and never there without one. */
type Flat<T> = { [K in keyof T]: T[K] }
export type Defined<T> = T extends unknown
  ? Flat<{ [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & { [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined> }>
  : never

/** Without the properties that are undefined: what is taken away, or was not given, is absent. What a symbol names stays. */
export const defined = <T extends object>(value: T): Defined<T> => {
  const kept: Record<PropertyKey, unknown> = {}
  // Added one by one: an object from which something was deleted is slow from then on.
  for (const name of Reflect.ownKeys(value)) {
    const one = (value as Record<PropertyKey, unknown>)[name]
    if (one !== undefined) kept[name] = one
  }
  return kept as Defined<T>
}
