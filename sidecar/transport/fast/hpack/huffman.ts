/**
 * The Huffman code of header strings: RFC 7541, section 5.2 and appendix B. The code is canonical, so that its table
 * follows from the length of each symbol's code.
 */
import { HpackError } from './hpack-error.ts'

/** The code lengths by symbol, in bits; the last is the end of the string. */
// biome-ignore format: a table.
const LENGTHS = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  30,
]
const END = 256

/** A step takes four bits: from a state (a place in the tree) to the next, with the symbol that was completed on the way. */
const STEP_BITS = 4

interface Node {
  zero: Node | undefined
  one: Node | undefined
  symbol: number
}

const leaf = (): Node => ({ zero: undefined, one: undefined, symbol: -1 })

const buildTree = (): Node => {
  const root = leaf()
  const order = LENGTHS.map((length, symbol) => ({ length, symbol })).sort((a, b) => a.length - b.length || a.symbol - b.symbol)
  let code = 0
  let previous = order[0]?.length ?? 0
  for (const { length, symbol } of order) {
    code *= 2 ** (length - previous)
    previous = length
    let node = root
    for (let bit = length - 1; bit >= 0; bit -= 1) {
      const side = Math.floor(code / 2 ** bit) % 2 === 1 ? 'one' : 'zero'
      node[side] ??= leaf()
      node = node[side] as Node
    }
    node.symbol = symbol
    code += 1
  }
  return root
}

/**
 * By state × four bits: the next state, the symbol that was completed (or 256: none; the end of string itself is an
 * error), and whether a string may end there: with at most seven bits, all of them ones.
 */
const buildTables = (): { next: Int16Array; symbol: Int16Array; mayEnd: Uint8Array } => {
  const root = buildTree()
  const states: Node[] = [root]
  const index = new Map<Node, number>([[root, 0]])
  const padding = new Set<Node>([root])
  for (let node: Node | undefined = root.one, bits = 1; node && bits < 8; node = node.one, bits += 1) padding.add(node)
  const next: number[] = []
  const symbols: number[] = []
  for (let state = 0; state < states.length; state += 1) {
    for (let bits = 0; bits < 1 << STEP_BITS; bits += 1) {
      let node: Node | undefined = states[state]
      let symbol = END
      for (let bit = STEP_BITS - 1; bit >= 0 && node; bit -= 1) {
        node = (bits >> bit) & 1 ? node.one : node.zero
        if (node && node.symbol >= 0) {
          if (node.symbol === END) node = undefined
          else {
            symbol = node.symbol
            node = root
          }
        }
      }
      if (node && !index.has(node)) {
        index.set(node, states.length)
        states.push(node)
      }
      next.push(node ? (index.get(node) ?? -1) : -1)
      symbols.push(symbol)
    }
  }
  return { next: Int16Array.from(next), symbol: Int16Array.from(symbols), mayEnd: Uint8Array.from(states, (node) => (padding.has(node) ? 1 : 0)) }
}

const tables = buildTables()

/** @throws HpackError when it is no string of this code, or would be longer than `maxLength`. */
export const decodeHuffman = (bytes: Uint8Array, start: number, end: number, maxLength: number): string => {
  const { next, symbol } = tables
  let state = 0
  let text = ''
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at] as number
    // Two steps of four bits, written out: this is the innermost loop of reading a request.
    let step = (state << STEP_BITS) | (byte >> STEP_BITS)
    state = next[step] as number
    if (state < 0) throw new HpackError('a header string is not of the Huffman code')
    if (symbol[step] !== END) text += String.fromCharCode(symbol[step] as number)
    step = (state << STEP_BITS) | (byte & 15)
    state = next[step] as number
    if (state < 0) throw new HpackError('a header string is not of the Huffman code')
    if (symbol[step] !== END) text += String.fromCharCode(symbol[step] as number)
    if (text.length > maxLength) throw new HpackError('a header string is too long')
  }
  if (tables.mayEnd[state] !== 1) throw new HpackError('a header string is padded wrongly')
  return text
}
