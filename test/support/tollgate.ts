/**
 * Real processes of Tollgate for end-to-end tests, on what each world offers: the embedded default, and control plane
 * and sidecar apart on NATS with SQLite or with what MONGODB_URL names. Tests see HTTP and gRPC, as users do.
 */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { spawnOwned } from './child-processes.ts'
import { freePort } from './free-port.ts'
import { mongodbMissing, mongodbUrl } from './mongodb.ts'
import { natsMissing, startNatsServer } from './nats-server.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
export const PLATFORM_KEY = 'platform-key-of-the-tests-0123456789'
/** Storage on MongoDB takes no start without. */
const CREDENTIALS_KEY = Buffer.alloc(32, 'credentials').toString('base64')
/** A process under load on two cores may take a while; a hang fails all the same. */
const START_WITHIN_MS = 60_000

export interface Process {
  /** What followed `ready`. */
  ready: string
  /** Everything it has printed on standard output. */
  stdout(): string
  stderr(): string
  pid: number
  /** @returns the exit code. */
  stop(signal?: NodeJS.Signals): Promise<number | null>
}

/** What a test's own environment says of servers is for the worlds to hand out, not to be inherited. */
const environment = (env: Record<string, string>): NodeJS.ProcessEnv => {
  const { MONGODB_URL: _, NATS_URL: __, ...inherited } = process.env
  return { ...inherited, LOG_LEVEL: 'error', ...env }
}

/** Runs a command to its end. @returns what it printed on standard output. */
export const runCommand = async (script: string, args: string[], env: Record<string, string>): Promise<string> =>
  (await promisify(execFile)(process.execPath, [script, ...args], { cwd: root, env: environment(env) })).stdout

/** @param from the folder of the version that runs; this one without. */
export const startProcess = async (script: string, env: Record<string, string>, from = root): Promise<Process> => {
  const child = spawnOwned(process.execPath, [script], {
    cwd: from,
    env: environment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [stdout, stderr] = ['', '']
  child.stderr?.on('data', (data) => {
    stderr += data
  })
  const ready = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`${script} was not ready in time: ${stderr}`))
    }, START_WITHIN_MS)
    child.once('exit', (code) => {
      clearTimeout(timer)
      reject(new Error(`${script} ended with ${code}: ${stderr}`))
    })
    child.stdout?.on('data', (data) => {
      stdout += data
      const line = /^ready (.*)$/m.exec(stdout)
      if (line?.[1] === undefined) return
      clearTimeout(timer)
      resolve(line[1])
    })
  })
  return {
    ready,
    stdout: () => stdout,
    stderr: () => stderr,
    pid: child.pid ?? 0,
    stop: async (signal = 'SIGTERM') => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill(signal)
        await once(child, 'exit')
      }
      return child.exitCode
    },
  }
}

export interface Tollgate {
  /** Base URL of the HTTP API. */
  http: string
  /** `host:port` of the sidecar. */
  grpc: string
  simulator: string
  /** The environment of its control plane, for another process on the same data. */
  env: Record<string, string>
  controlPlane: Process
  sidecar: Process
  /** Starts another control plane on the same address and data, after this one was stopped. */
  restartControlPlane(): Promise<void>
  close(): Promise<void>
}

export interface World {
  name: string
  /** Why it cannot be had here. */
  missing?: string
  /** @param from the folder of the version that runs; this one without. */
  start(env?: Record<string, string>, from?: string): Promise<Tollgate>
}

interface Parts {
  env: Record<string, string>
  close(): Promise<void>
}

const startSimulator = async (dataDir: string, from: string | undefined) => {
  const secret = `whsec_${randomBytes(32).toString('base64')}`
  const env = { SIMULATOR_PORT: '0', SIMULATOR_WEBHOOK_SECRET: secret, DATA_DIR: join(dataDir, 'simulator') }
  const simulator = await startProcess('psp-simulator/main.ts', env, from)
  return { simulator, env: { SIMULATOR_URL: simulator.ready, SIMULATOR_WEBHOOK_SECRET: secret } }
}

const start = async (apart: boolean, makeParts: () => Promise<Parts>, extra: Record<string, string>, from?: string): Promise<Tollgate> => {
  // A part that does not start takes those that did with it.
  await using started = new AsyncDisposableStack()
  const dataDir = await mkdtemp(join(tmpdir(), 'tollgate-'))
  started.defer(() => rm(dataDir, { recursive: true, force: true }))
  const parts = await makeParts()
  started.defer(parts.close)
  const { simulator, env: simulatorEnv } = await startSimulator(dataDir, from)
  started.defer(async () => void (await simulator.stop('SIGKILL')))
  const env = {
    DATA_DIR: dataDir,
    HTTP_PORT: String(await freePort()),
    GRPC_PORT: String(await freePort()),
    SIDECAR_HTTP_PORT: String(await freePort()),
    PLATFORM_API_KEY: PLATFORM_KEY,
    WORKER_POLL_MS: '200',
    // Tests of refusals are refused a lot; one of its own has the default.
    WRONG_KEYS_PER_MINUTE: '100000',
    ...simulatorEnv,
    ...parts.env,
    ...extra,
  }
  const script = apart ? 'control-plane/main.ts' : 'all-in-one/main.ts'
  let controlPlane = await startProcess(script, env, from)
  started.defer(async () => void (await controlPlane.stop('SIGKILL')))
  // It is ready when there is a feed, which the control plane has made.
  const sidecar = apart ? await startProcess('sidecar/main.ts', env, from) : undefined
  started.defer(async () => void (await sidecar?.stop('SIGKILL')))
  const all = started.move()
  return {
    http: controlPlane.ready.split(' ')[0] ?? '',
    grpc: `127.0.0.1:${env.GRPC_PORT}`,
    simulator: simulator.ready,
    env,
    get controlPlane() {
      return controlPlane
    },
    sidecar: sidecar ?? controlPlane,
    restartControlPlane: async () => {
      controlPlane = await startProcess(script, env, from)
    },
    close: () => all.disposeAsync(),
  }
}

const withNats = async (env: Record<string, string>): Promise<Parts> => {
  const nats = await startNatsServer()
  return { env: { NATS_URL: nats.url, ...env }, close: nats.stop }
}

export const embedded: World = {
  name: 'SQLite and in-process feed',
  start: (env = {}, from) => start(false, async () => ({ env: {}, close: async () => {} }), env, from),
}

export const sqliteAndNats: World = {
  name: 'SQLite and NATS',
  ...(natsMissing ? { missing: natsMissing } : {}),
  start: (env = {}, from) => start(true, () => withNats({}), env, from),
}

export const mongodbAndNats: World = {
  name: 'MongoDB and NATS',
  ...((natsMissing ?? mongodbMissing) ? { missing: natsMissing ?? mongodbMissing ?? '' } : {}),
  start: (env = {}, from) => start(true, () => withNats({ MONGODB_URL: mongodbUrl(), CREDENTIALS_KEY }), env, from),
}

/** Where the end-to-end suite runs. */
export const worlds: World[] = [embedded, sqliteAndNats, mongodbAndNats]
