/** Real gateways in front of an application, by the configurations of `examples/`. */
import { type ChildProcess, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { spawnOwned } from './child-processes.ts'
import { eventually } from './eventually.ts'
import { findTool } from './find-tool.ts'
import { freePort } from './free-port.ts'
import type { GatedShop } from './gated-shop.ts'

interface Gateway {
  /** The option that makes it tell its version, for `npm run check:tools`. */
  versionOption: string
  path: string | undefined
  /** How it is started in the folder of its configuration. */
  args: string[]
  /** What its configuration needs to run in a folder of its own, without root. */
  prepare?: (text: string) => string
}

/** Debian's package has its folders in /var, and the others a home. */
const inItsFolder = `http {\n    access_log off;\n${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `    ${name}_temp_path ${name};\n`).join('')}`

const gateways = {
  envoy: {
    versionOption: '--version',
    path: findTool('envoy', 'ENVOY', '--version'),
    args: ['-c', 'envoy.yaml', '--disable-hot-restart', '--concurrency', '1', '--log-level', 'error'],
  },
  nginx: {
    versionOption: '-v',
    path: findTool('nginx', 'NGINX', '-v'),
    args: ['-p', '.', '-c', 'nginx.conf', '-e', 'stderr', '-g', 'daemon off; pid nginx.pid;'],
    prepare: (text) => text.replace('http {\n', inItsFolder),
  },
  caddy: {
    versionOption: 'version',
    path: findTool('caddy', 'CADDY', 'version'),
    args: ['run', '--config', 'Caddyfile', '--adapter', 'caddyfile'],
  },
  traefik: {
    versionOption: 'version',
    path: findTool('traefik', 'TRAEFIK', 'version'),
    args: ['--configFile=traefik.yaml'],
  },
} satisfies Record<string, Gateway>

export type GatewayName = keyof typeof gateways

export const gatewayMissing = (name: GatewayName): string | undefined => {
  const { path, versionOption } = gateways[name]
  if (path === undefined) return 'it is neither on the PATH nor named by its variable'
  const { error, status } = spawnSync(path, [versionOption], { stdio: 'ignore', timeout: 60_000 })
  return error?.message ?? (status === 0 ? undefined : `${path} ${versionOption} ends with ${status}`)
}

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: string
}

export interface GatedApplication extends AsyncDisposable {
  /** Sends a path as it is written. */
  send(method: string, path: string, headers?: Record<string, string>, body?: string): Promise<Answer>
  /** The requests that have reached the application since the last look. */
  reached(): { method: string; url: string; headers: IncomingHttpHeaders; body: string }[]
}

const textOf = async (message: IncomingMessage): Promise<string> => Buffer.concat(await message.toArray()).toString()

/** What an example has as a comment, for a sidecar with keys. */
const withKey = (text: string, key: string): string =>
  text.replace(/^( *|\t*)# (.*)<key>/m, (_, indent: string, line: string) => `${indent}${line}${key}`).replace('[people, tollgate]', '[people, key, tollgate]')

/** @param more.files what the configuration expects beside it. @param more.key the gateway's key of the sidecar. */
export const openGateway = async (
  name: GatewayName,
  shop: GatedShop,
  more: { files?: Record<string, string>; key?: string | undefined } = {},
): Promise<GatedApplication> => {
  const { path, args, ...gateway }: Gateway = gateways[name]
  const reached: ReturnType<GatedApplication['reached']> = []
  const application = createServer(async (asked, answer) => {
    reached.push({ method: asked.method ?? '', url: asked.url ?? '', headers: asked.headers, body: await textOf(asked) })
    answer.end('the application')
  })
  application.listen(0, '127.0.0.1')
  await once(application, 'listening')
  const port = await freePort()
  const ports: Record<string, number> = {
    8000: port,
    3000: (application.address() as AddressInfo).port,
    9090: Number(new URL(shop.sidecar.httpUrl ?? '').port),
    50051: Number(shop.sidecar.address.split(':').at(-1)),
  }
  const folder = mkdtempSync(join(tmpdir(), `tollgate-${name}-`))
  for (const file of readdirSync(exampleOf(name))) {
    const written = readFileSync(join(exampleOf(name), file), 'utf8').replaceAll(/\b(8000|3000|9090|50051)\b/g, (one) => String(ports[one]))
    const text = more.key === undefined ? written : withKey(written, more.key)
    writeFileSync(join(folder, file), gateway.prepare?.(text) ?? text)
  }
  for (const [file, text] of Object.entries(more.files ?? {})) writeFileSync(join(folder, file), text)
  const child: ChildProcess = spawnOwned(path ?? name, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, HOME: folder } })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data) => (said += data))
  const send: GatedApplication['send'] = (method, target, headers = {}, body) =>
    new Promise((resolve, reject) => {
      const asked = request({ host: '127.0.0.1', port, method, path: target, headers: { host: 'api.example.com', ...headers }, agent: false }, (answer) => {
        textOf(answer).then((text) => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: text }), reject)
      })
      asked.on('error', reject).end(body)
    })
  await eventually(async () => {
    if (child.exitCode !== null) throw new Error(`${name} ended with ${child.exitCode}: ${said}`)
    // One listens before it knows its routes.
    const { status } = await send('GET', '/').catch(() => ({ status: 404 }))
    return status !== 404
  })
  reached.length = 0
  return {
    send,
    reached: () => reached.splice(0),
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGTERM')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      application.closeAllConnections()
      application.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

const exampleOf = (name: GatewayName): string => {
  const folder = join(import.meta.dirname, '../../examples', name)
  if (!existsSync(folder)) throw new Error(`there is no example ${folder}`)
  return folder
}

/** The rules beside a gateway's configuration. */
export const exampleRules = (name: GatewayName): string => readFileSync(join(exampleOf(name), 'rules.yaml'), 'utf8')
