/** Rules from a file that is read again when it changes. A file with a mistake is not taken: the last good rules stay. */
import { readFileSync } from 'node:fs'
import { ConfigError } from '../../common/config.ts'
import type { Log } from '../../common/log.ts'
import { type Rules, readRules } from './rules.ts'

const LOOK_EVERY_MS = 10_000

export interface RuleFile {
  current(): Rules
  stop(): void
}

const readText = (path: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new ConfigError(`EXT_AUTHZ_RULES_FILE: the file cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}

/** @throws ConfigError for a file that cannot be read, or has a mistake. */
export const openRuleFile = (path: string, log: Log, lookEveryMs = LOOK_EVERY_MS): RuleFile => {
  let read = readText(path)
  let rules = readRules(read)
  const look = () => {
    try {
      const written = readText(path)
      if (written === read) return
      // A mistake is told once.
      read = written
      rules = readRules(written)
      log.info({ rules: rules.rules.length }, 'gateways: new rules were loaded')
    } catch (error) {
      log.error({ err: error }, 'gateways: the file of rules cannot be used; the previous rules stay in use')
    }
  }
  const timer = setInterval(look, lookEveryMs)
  timer.unref()
  return { current: () => rules, stop: () => clearInterval(timer) }
}
