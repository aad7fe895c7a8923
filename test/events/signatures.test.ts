/** The signatures of webhooks: the known answers of Standard Webhooks, and its own libraries, by the programs of docs/webhooks.md. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { marked } from 'marked'
import { type Clock, systemClock } from '../../common/clock.ts'
import { Secret } from '../../common/secret.ts'
import { createWebhookSender } from '../../control-plane/events/webhooks/send.ts'
import { go } from '../conformance/documented-clients.ts'
import { pythonWithStandardWebhooks } from '../support/webhook-tools.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
/** The version that `go get` of the docs finds at the time of writing. */
const GO_MODULE = 'github.com/standard-webhooks/standard-webhooks/libraries@v0.0.1'

interface Taken {
  headers: Record<string, string>
  body: string
}

/** A message as its receiver gets it. */
const taken = async (t: ExecutionContext, clock: Clock, message: { id: string; body: string; secrets: string[] }): Promise<Taken> => {
  let received: Taken | undefined
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    received = { headers: request.headers as Record<string, string>, body: Buffer.concat(chunks).toString() }
    response.end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const sender = createWebhookSender({ clock, allowPrivate: true })
  const sent = await sender.send({ ...message, url, secrets: message.secrets.map((secret) => new Secret(secret)) })
  t.is(sent.outcome, 'delivered', sent.error)
  if (!received) throw new Error('nothing was received')
  return received
}

const { vectors } = JSON.parse(readFileSync(join(root, 'test/vectors/billing.json'), 'utf8')) as {
  vectors: { id: string; category: string; input: { secret: string; id: string; timestamp: number; body: string }; expected: string }[]
}
const known = vectors.filter(({ category }) => category === 'sig-standard-webhooks')

for (const { id: vector, input, expected } of known)
  test(`${vector}: a message is signed as published`, async (t) => {
    const at = new Date(input.timestamp * 1_000 + 999)
    const { headers } = await taken(t, { now: () => at, nowMs: () => at.getTime() }, { ...input, secrets: [input.secret] })
    t.is(headers['webhook-signature'], expected)
    t.is(headers['webhook-timestamp'], String(input.timestamp))
    t.is(headers['webhook-id'], input.id)
  })

/** The program of the docs that is in this file. */
const documented = (file: string): string => {
  let before = ''
  for (const token of marked.lexer(readFileSync(join(root, 'docs/webhooks.md'), 'utf8'))) {
    if (token.type === 'paragraph') before = token.text
    if (token.type === 'code' && before.includes(`\`${file}\``)) return token.text
  }
  throw new Error(`docs/webhooks.md has no ${file}`)
}

const inFolder = (file: string): string => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'tollgate-webhooks-')))
  writeFileSync(join(folder, file), documented(file))
  return folder
}

const run = (folder: string, program: string, args: string[], more: { input?: string; env?: object } = {}) =>
  spawnSync(program, args, { cwd: folder, input: more.input ?? '', env: { ...process.env, ...more.env }, encoding: 'utf8' })

const languages = [
  {
    name: 'Node',
    missing: undefined,
    prepare: () => {
      const folder = inFolder('verify.mjs')
      symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
      return { folder, program: process.execPath, args: ['verify.mjs'] }
    },
  },
  {
    name: 'Python',
    missing: pythonWithStandardWebhooks ? undefined : 'PYTHON_WITH_STANDARDWEBHOOKS does not name a Python with standardwebhooks',
    prepare: () => ({ folder: inFolder('verify.py'), program: pythonWithStandardWebhooks ?? '', args: ['verify.py'] }),
  },
  {
    name: 'Go',
    missing: go ? undefined : 'go is not here',
    prepare: (t: ExecutionContext) => {
      const folder = inFolder('verify.go')
      const builds = [
        ['mod', 'init', 'example.com/verify'],
        ['get', GO_MODULE],
        ['build', '-o', 'verify', '.'],
      ]
      for (const args of builds) {
        const { status, stderr } = run(folder, go ?? '', args)
        t.is(status, 0, `go ${args.join(' ')}: ${stderr}`)
      }
      return { folder, program: join(folder, 'verify'), args: [] }
    },
  },
]

for (const { name, missing, prepare } of languages) {
  const title = `Standard Webhooks' own library verifies what is sent, in ${name}`
  if (missing) {
    test.skip(`${title} (${missing})`, () => {})
    continue
  }
  test(title, async (t) => {
    const [old, current, other] = ['o', 'c', 'x'].map((letter) => `whsec_${Buffer.alloc(32, letter).toString('base64')}`) as [string, string, string]
    const body = JSON.stringify({ specversion: '1.0', id: 'evt_1', type: 'customer.updated', data: { name: 'Zoë 漢字 \u2028' } })
    const { headers, body: arrived } = await taken(t, systemClock, { id: 'evt_1', body, secrets: [old, current] })
    const { folder, program, args } = prepare(t)
    const verify = (secret: string, input: string) => {
      const { status, stdout, stderr } = run(folder, program, args, { input, env: { WEBHOOK_SECRET: secret, HEADERS: JSON.stringify(headers) } })
      return { isRight: status === 0, said: status === 0 ? stdout.trim() : stderr }
    }
    for (const secret of [old, current]) t.deepEqual(verify(secret, arrived), { isRight: true, said: 'customer.updated evt_1' })
    t.false(verify(other, arrived).isRight)
    t.false(verify(current, arrived.replace('Zoë', 'Zoe')).isRight)
  })
}
