/**
 * Header blocks of our answers: RFC 7541, section 6. Nothing is added to the peer's table, so that a block can be made
 * once and sent to everybody.
 */
import { staticTable } from './static-table.ts'

const integer = (value: number, prefix: number, flags: number): number[] => {
  const mask = (1 << prefix) - 1
  if (value < mask) return [flags | value]
  const bytes = [flags | mask]
  let rest = value - mask
  while (rest >= 128) {
    bytes.push((rest % 128) | 128)
    rest = Math.floor(rest / 128)
  }
  bytes.push(rest)
  return bytes
}

const string = (text: string): number[] => {
  const bytes = Buffer.from(text, 'latin1')
  return [...integer(bytes.length, 7, 0), ...bytes]
}

/** Names in lower case; values of Latin-1. */
export const encodeHeaders = (headers: readonly (readonly [name: string, value: string])[]): Buffer =>
  Buffer.from(
    headers.flatMap(([name, value]) => {
      const whole = staticTable.findIndex((entry) => entry[0] === name && entry[1] === value)
      if (whole >= 0) return integer(whole + 1, 7, 0x80)
      const named = staticTable.findIndex((entry) => entry[0] === name)
      return [...(named >= 0 ? integer(named + 1, 4, 0) : [0, ...string(name)]), ...string(value)]
    }),
  )
