/** The parts that every process of Tollgate shares: one `ready` line, a clean end on SIGTERM and SIGINT, a clear last message. */
import { ConfigError, misspelt } from './config.ts'
import { stopTracing } from './tracing.ts'

/** After this a drain that hangs is ended; orchestrators send SIGKILL after 10 s. */
const DRAIN_LIMIT_MS = 9_000

export interface RunningProcess {
  /** The addresses served, which follow `ready` on standard output. */
  ready: string
  /** Stops taking work, finishes what runs, lets go of everything. */
  close(): Promise<void>
}

/** Warns of variables whose names look misspelled: otherwise nobody would notice that they have no effect. */
export const warnOfMisspelt = (): void => {
  for (const { name, meant } of misspelt()) process.stderr.write(`WARNING: Tollgate does not read the variable ${name}; did you mean ${meant}?\n`)
}

/** A command that does one thing and ends: what goes wrong is one line on standard error, and the exit code. */
export const runCommand = async (run: () => Promise<void>): Promise<void> => {
  try {
    await run()
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 1
  }
}

export const runProcess = async (start: () => Promise<RunningProcess>): Promise<void> => {
  // Only the owner may read the files that it stores.
  process.umask(0o077)
  warnOfMisspelt()
  let running: RunningProcess | undefined
  let stopping = false
  const stop = () => {
    if (stopping) return
    stopping = true
    // What is only starting, or waits for others to start, serves nobody yet.
    if (!running) process.exit(0)
    setTimeout(() => process.exit(1), DRAIN_LIMIT_MS).unref()
    running
      .close()
      .then(stopTracing)
      .then(
        () => process.exit(0),
        (error: unknown) => {
          process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`)
          process.exit(1)
        },
      )
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  try {
    running = await start()
  } catch (error) {
    process.stderr.write(`${error instanceof ConfigError ? error.message : error instanceof Error ? error.stack : String(error)}\n`)
    process.exit(1)
  }
  process.stdout.write(`ready ${running.ready}\n`)
}
