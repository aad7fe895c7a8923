/**
 * A real nats-server for tests: the one on the PATH, or Debian's package, fetched once into a cache without root.
 * Where neither can be had, `natsMissing` says why, and the suites that need it are reported as skipped.
 */
import { type ChildProcess, execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { spawnOwned } from './child-processes.ts'
import { freePort } from './free-port.ts'

const run = promisify(execFile)
const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'tollgate')
const cached = join(cache, 'nats-server')

const isOnPath = (): boolean => spawnSync('nats-server', ['--version']).status === 0

/** Downloads the package with apt's own client and lists, neither of which need root, and unpacks it. */
const fetchFromDebian = async (): Promise<void> => {
  await mkdir(cache, { recursive: true })
  // Several test processes may come here at once: each works in a folder of its own, and the last rename wins.
  const folder = await mkdtemp(join(cache, 'fetch-'))
  try {
    await mkdir(join(folder, 'lists', 'partial'), { recursive: true })
    await mkdir(join(folder, 'archives', 'partial'), { recursive: true })
    const own = ['-o', `Dir::State::Lists=${join(folder, 'lists')}`, '-o', `Dir::Cache=${folder}`, '-o', 'APT::Sandbox::User=']
    const options = { cwd: folder, timeout: 120_000 }
    const download = () => run('apt-get', [...own, 'download', 'nats-server'], options)
    await run('apt-get', ['download', 'nats-server'], options).catch(async () => {
      await run('apt-get', [...own, 'update'], options)
      await download()
    })
    const deb = (await readdir(folder)).find((name) => name.endsWith('.deb'))
    if (!deb) throw new Error('apt-get downloaded nothing')
    await run('dpkg', ['-x', deb, 'unpacked'], options)
    await rename(join(folder, 'unpacked', 'usr', 'sbin', 'nats-server'), cached)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const findBinary = async (): Promise<{ path: string } | { missing: string }> => {
  if (isOnPath()) return { path: 'nats-server' }
  if (!existsSync(cached)) {
    try {
      await fetchFromDebian()
    } catch (error) {
      return { missing: `no nats-server on the PATH, and Debian's package cannot be fetched: ${error instanceof Error ? error.message.split('\n')[0] : error}` }
    }
  }
  return { path: cached }
}

const binary = await findBinary()

export const natsMissing = 'missing' in binary ? binary.missing : undefined

export interface NatsServer {
  url: string
  /** SIGKILL; `start` brings it back on the same port with the same data. */
  kill(): Promise<void>
  /** While it is down: what it had stored is gone. */
  lose(): Promise<void>
  /** From the next start on it takes messages of so many bytes. */
  take(maxPayload: number): Promise<void>
  start(): Promise<void>
  /** It reads its configuration again, as by `nats-server --signal reload`. */
  reload(): void
  stop(): Promise<void>
}

interface ServerOptions {
  /** The binary. */
  path?: string | undefined
  /** Bytes of a message; the server's own default without. */
  maxPayload?: number | undefined
  /** A configuration of its own; where it listens and keeps its data is for this helper to say. */
  configFile?: string | undefined
  /** What the helper's own configuration holds besides. */
  extra?: string | undefined
  /** Of a server of a cluster: its whole configuration, where it keeps its data in `./data`. */
  configFor?: ((node: Cluster) => string) | undefined
}

interface Cluster {
  name: string
  /** For the other servers. */
  port: number
  routes: number[]
}

const configOf = (maxPayload: number, cluster: Cluster | undefined, extra = ''): string =>
  [
    `max_payload: ${maxPayload}`,
    extra,
    ...(cluster
      ? [
          `server_name: ${cluster.name}`,
          `cluster { name: test, listen: "127.0.0.1:${cluster.port}", routes: [${cluster.routes.map((port) => `"nats://127.0.0.1:${port}"`).join(', ')}] }`,
        ]
      : []),
  ].join('\n')

const pathOf = (): string => {
  if ('missing' in binary) throw new Error(binary.missing)
  return binary.path
}

const makeServer = async ({
  path = pathOf(),
  maxPayload,
  cluster,
  extra,
  configFor,
  ...options
}: ServerOptions & { cluster?: Cluster }): Promise<NatsServer> => {
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-nats-'))
  const port = await freePort()
  const ownConfig = join(folder, 'server.conf')
  const configFile = options.configFile ?? ownConfig
  // A server refuses to be told twice where that is: one with a configuration of its own keeps it where that says, from here.
  const isWhole = options.configFile !== undefined || (configFor !== undefined && cluster !== undefined)
  const store = join(folder, isWhole ? 'data' : 'store')
  const take = (bytes: number) => writeFile(ownConfig, configFor && cluster ? configFor(cluster) : configOf(bytes, cluster, extra))
  // As it has it by itself: https://docs.nats.io/running-a-nats-service/configuration#limits.
  await take(maxPayload ?? 1024 * 1024)
  let child: ChildProcess | undefined

  const start = async () => {
    const keeps = isWhole ? [] : ['-js', '-sd', store]
    const started = spawnOwned(path, ['-c', configFile, ...keeps, '-a', '127.0.0.1', '-p', String(port)], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    child = started
    let said = ''
    await new Promise<void>((resolve, reject) => {
      started.once('exit', () => reject(new Error(`nats-server ended: ${said}`)))
      started.stderr?.on('data', (data) => {
        said += data
        if (said.includes('Server is ready')) resolve()
      })
    })
    started.stderr?.removeAllListeners('data').resume()
  }
  const end = async (signal: NodeJS.Signals) => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    child.kill(signal)
    await once(child, 'exit')
  }

  return {
    url: `nats://127.0.0.1:${port}`,
    kill: () => end('SIGKILL'),
    lose: () => rm(store, { recursive: true, force: true }),
    take,
    start,
    reload: () => void child?.kill('SIGHUP'),
    stop: async () => {
      await end('SIGKILL')
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** A server of its own with JetStream, on a free port, with its data in a new folder. */
export const startNatsServer = async (options: ServerOptions = {}): Promise<NatsServer> => {
  const server = await makeServer(options)
  await server.start()
  return server
}

export interface NatsCluster {
  servers: NatsServer[]
  /** Of all, separated by commas. */
  url: string
  stop(): Promise<void>
}

/** Three servers that hold JetStream together. */
export const startNatsCluster = async (options: Pick<ServerOptions, 'path' | 'extra' | 'configFor'> = {}): Promise<NatsCluster> => {
  const ports = await Promise.all([freePort(), freePort(), freePort()])
  const servers = await Promise.all(
    ports.map((port, n) => makeServer({ ...options, cluster: { name: `n${n + 1}`, port, routes: ports.filter((other) => other !== port) } })),
  )
  await Promise.all(servers.map((server) => server.start()))
  return {
    servers,
    url: servers.map(({ url }) => url).join(','),
    stop: async () => void (await Promise.all(servers.map((server) => server.stop()))),
  }
}

/** A newer server than Debian's, where somebody has one: its consumers take several subjects. */
export const newerNats = process.env.NATS_SERVER_NEW
export const newerNatsMissing = newerNats ? undefined : 'NATS_SERVER_NEW is not set'
