/** How many requests of gateways each rule has judged, and how, until somebody takes the counts. */

/** Bounded: rules are in a file, and outcomes are words of ours. */
export type JudgedCount = [rule: string, outcome: string, dryRun: boolean, count: number]

export interface JudgedCounts {
  count(rule: string, outcome: string, dryRun: boolean, times?: number): void
  /** What was counted since the last time. */
  take(): JudgedCount[]
}

export const createJudgedCounts = (): JudgedCounts => {
  let counts = new Map<string, JudgedCount>()
  return {
    count: (rule, outcome, dryRun, times = 1) => {
      const key = `${rule} ${outcome} ${dryRun}`
      const counted = counts.get(key)
      if (counted) counted[3] += times
      else counts.set(key, [rule, outcome, dryRun, times])
    },
    take: () => {
      const taken = [...counts.values()]
      counts = new Map()
      return taken
    },
  }
}
