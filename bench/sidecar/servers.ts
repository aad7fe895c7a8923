/** Starts a server of the comparison on one core, says what it uses, and ends it. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../../test/support/free-port.ts'

const here = import.meta.dirname
const canPin = spawnSync('taskset', ['-c', '0', 'true']).status === 0
const isHere = (program: string) => spawnSync(program, ['--version'], { stdio: 'ignore' }).error === undefined
export const hasH2load = isHere('h2load')
const CERBOS = '0.51.0'

/** On a core of its own, where the machine lets us. */
export const pinned = (core: number, command: string, args: readonly string[]): [string, string[]] =>
  canPin ? ['taskset', ['-c', String(core), command, ...args]] : [command, [...args]]

export interface Running {
  port: number
  /** Microseconds of processor time so far. */
  cpuUs(): number
  memoryBytes(): number
  stop(): Promise<void>
}

const cpuUsOf = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  // utime and stime, in ticks of 10 ms.
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

/** The process and those it has started: some binaries come wrapped in a script. */
const treeOf = (pid: number): number[] => {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
  return [pid, ...(children === '' ? [] : children.split(' ').flatMap((one) => treeOf(Number(one))))]
}

const runningOf = (child: ChildProcess, port: number): Running => ({
  port,
  cpuUs: () => treeOf(child.pid ?? 0).reduce((sum, pid) => sum + cpuUsOf(pid), 0),
  memoryBytes: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]) * 1024,
  stop: async () => {
    for (const pid of treeOf(child.pid ?? 0)) process.kill(pid, 'SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  },
})

const listens = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    }).once('error', () => resolve(false))
  })

const untilListening = async (child: ChildProcess, port: number): Promise<Running> => {
  for (let looks = 0; looks < 300; looks += 1) {
    if (child.exitCode !== null) throw new Error('the server ended before it listened')
    if (await listens(port)) return runningOf(child, port)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error('the server does not listen')
}

/** With which `npm run sidecar` starts it; and one to look at its memory without what filling it has left behind. */
const SIDECAR_FLAGS = ['--max-semi-space-size=8', '--expose-gc']

/** Ours, and what Node can do at least. */
export const startNode = async (what: string, customers: number, env: Record<string, string> = {}): Promise<Running> => {
  const flags = what === 'fast' || what === 'grpc-js' ? SIDECAR_FLAGS : []
  const [command, args] = pinned(0, process.execPath, [...flags, join(here, 'serve.ts'), what, String(customers)])
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...env } })
  const port = await new Promise<number>((resolve, reject) => {
    let said = ''
    child.stdout.on('data', (data) => {
      said += data
      const ready = /ready (\d+)/.exec(said)
      if (ready) resolve(Number(ready[1]))
    })
    child.once('exit', () => reject(new Error(`${what} ended before it was ready`)))
  })
  return runningOf(child, port)
}

/** The company's own binary, from npm; undefined where it cannot be had. */
export const startCerbos = async (): Promise<Running | undefined> => {
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'tollgate', `cerbos-${CERBOS}`)
  const binary = join(cache, 'node_modules/.bin/cerbos')
  if (!existsSync(binary)) {
    mkdirSync(cache, { recursive: true })
    try {
      execFileSync('npm', ['install', '--no-save', '--prefix', cache, `cerbos@${CERBOS}`], { stdio: 'ignore', timeout: 180_000 })
    } catch {
      return undefined
    }
  }
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-cerbos-'))
  mkdirSync(join(folder, 'policies'))
  const rule = { actions: ['use'], effect: 'EFFECT_ALLOW', roles: ['customer'] }
  writeFileSync(
    join(folder, 'policies/feature.json'),
    JSON.stringify({ apiVersion: 'api.cerbos.dev/v1', resourcePolicy: { resource: 'feature', version: 'default', rules: [rule] } }),
  )
  const port = await freePort()
  const settings = [
    `server.grpcListenAddr=127.0.0.1:${port}`,
    `server.httpListenAddr=127.0.0.1:${await freePort()}`,
    'storage.driver=disk',
    `storage.disk.directory=${join(folder, 'policies')}`,
    'telemetry.disabled=true',
  ]
  const [command, args] = pinned(0, binary, ['server', '--log-level=error', ...settings.map((one) => `--set=${one}`)])
  // One core for every server of the comparison.
  const child = spawn(command, args, { stdio: 'ignore', env: { ...process.env, GOMAXPROCS: '1' } })
  return untilListening(child, port)
}

/** nghttp2's own server in C, one static answer; undefined where it is not installed. */
export const startNghttpd = async (): Promise<Running | undefined> => {
  if (!isHere('nghttpd')) return undefined
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-nghttpd-'))
  writeFileSync(join(folder, 'answer'), Buffer.alloc(80))
  const port = await freePort()
  const [command, args] = pinned(0, 'nghttpd', ['--no-tls', '-d', folder, '-n', '1', '-m', '60000', String(port)])
  return untilListening(spawn(command, args, { stdio: 'ignore' }), port)
}
