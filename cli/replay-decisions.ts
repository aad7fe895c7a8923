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

/** @param lines JSON, as the decision log has them. What a fallback answered was not decided, and is taken as it is. */
export const replay = (lines: readonly string[]): Replayed => {
  const replayed: Replayed = { same: 0, different: [] }
  for (const text of lines) {
    const line = JSON.parse(text) as DecisionLine
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
  const { same, different } = replay(
    readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== ''),
  )
  for (const { line, now } of different) process.stdout.write(`${JSON.stringify({ ...line, held: undefined, now })}\n`)
  process.stdout.write(`${same} the same, ${different.length} different\n`)
  process.exit(different.length > 0 ? 1 : 0)
}
