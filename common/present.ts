/** The fields that have a value: what is left out or cleared is absent, so that it replaces nothing and is not answered as null. */
export const present = <T extends object>(fields: T) =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null)) as { [F in keyof T]?: NonNullable<T[F]> }
