/** `npm run replay -- <file>`: makes the decisions of a log again, from what each was made from, and compares. */
import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { type Decision, decide } from '../common/entitlements/decide.ts'
import type { DecisionLine } from '../common/entitlements/decision-line.ts'

export interface Replayed {
  same: number
  /** Lines whose answer would be another now, with that answer. */
  different: { line: DecisionLine; now: Decision }[]
}

const plain = (decision: Decision): unknown => JSON.parse(JSON.stringify(decision))

const readLine = (text: string, number: number): DecisionLine => {
  try {
    const line = JSON.parse(text) as DecisionLine
    if (line.decision && typeof line.at === 'number') return line
  } catch {
    // Said below.
  }
  throw new Error(`line ${number} is not from a decision log`)
}

/** @param lines JSON, as the decision log has them. What a fallback answered was not decided, and is taken as it is. @throws Error that names a line which is none. */
export const replay = (lines: readonly string[]): Replayed => {
  const replayed: Replayed = { same: 0, different: [] }
  for (const [n, text] of lines.entries()) {
    if (text === '') continue
    const line = readLine(text, n + 1)
    const { decision, held, entitlement, amount, at } = line
    const now =
      decision.reason === 'fallback'
        ? decision
        : held
          ? decide(held, entitlement, amount, at)
          : { allowed: false, reason: 'customer_unknown' as const, unlimited: false }
    if (isDeepStrictEqual(plain(now), plain(decision))) replayed.same += 1
    else replayed.different.push({ line, now })
  }
  return replayed
}

if (import.meta.main) {
  const [path] = process.argv.slice(2)
  if (path === undefined) {
    process.stderr.write('usage: npm run replay -- <file of decisions>\n')
    process.exit(2)
  }
  const fail = (why: string): never => {
    process.stderr.write(`${path}: ${why}\n`)
    process.exit(2)
  }
  const read = (): string[] => {
    try {
      return readFileSync(path, 'utf8').split('\n')
    } catch (error) {
      return fail(`cannot be read (${(error as NodeJS.ErrnoException).code})`)
    }
  }
  const made = (): Replayed => {
    try {
      return replay(read())
    } catch (error) {
      return fail((error as Error).message)
    }
  }
  const { same, different } = made()
  for (const { line, now } of different) process.stdout.write(`${JSON.stringify({ ...line, held: undefined, now })}\n`)
  process.stdout.write(`${same} the same, ${different.length} different\n`)
  process.exit(different.length > 0 ? 1 : 0)
}
