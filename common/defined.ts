/** Properties that are absent where they have no value; and never there without one. */
type Flat<T> = { [K in keyof T]: T[K] }
export type Defined<T> = T extends unknown
  ? Flat<{ [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & { [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined> }>
  : never

/** Without the properties that are undefined: what is taken away, or was not given, is absent. What a symbol names stays. */
export const defined = <T extends object>(value: T): Defined<T> => {
  const kept = { ...value } as Record<string, unknown>
  for (const name in kept) if (kept[name] === undefined) delete kept[name]
  return kept as Defined<T>
}
