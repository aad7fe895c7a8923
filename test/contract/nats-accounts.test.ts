/**
 * What `npm run nats:config` writes, on real servers: who has a sidecar's key reads its own tenants, and neither reads nor
 * writes anything else by any door; who has the control planes' key does all that they do.
 */
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { jetstreamManager } from '@nats-io/jetstream'
import { createInbox, headers, type NatsConnection, nkeys, PermissionViolationError } from '@nats-io/transport-node'
import test, { type ExecutionContext } from 'ava'
import { systemClock } from '../../common/clock.ts'
import { ConfigError } from '../../common/config.ts'
import type { TestClock } from '../../common/entitlements/model.ts'
import { keyPart, setKey } from '../../common/feed/keys.ts'
import { natsAccessOf } from '../../common/feed/nats/credentials.ts'
import { IMPORTED_API } from '../../common/feed/nats/permissions.ts'
import type { Log } from '../../common/log.ts'
import { Secret } from '../../common/secret.ts'
import { makeCertificates } from '../support/certificates.ts'
import { spawnOwned } from '../support/child-processes.ts'
import { eventually } from '../support/eventually.ts'
import { makeNatsAccounts } from '../support/nats-accounts.ts'
import { openKept, openReader } from '../support/nats-feeds.ts'
import { natsMissing, newerNats, newerNatsMissing, startNatsCluster, startNatsServer } from '../support/nats-server.ts'
import { createProxy } from '../support/tcp-proxy.ts'
import { bytesOf, textOf } from '../support/text.ts'

const servers = [
  { name: 'nats-server 2.9', missing: natsMissing, path: undefined },
  { name: 'a newer nats-server', missing: newerNatsMissing, path: newerNats },
]
const customer = (tenantId: string, n = 1) => ({ tenantId, storefrontId: 's', customerId: `c${n}` })
const setOf = (tenantId: string, revision: number, n = 1) => ({ ...customer(tenantId, n), revision, sandbox: false, grants: [], usage: [] })
const recorder = () => {
  const sets: string[] = []
  const clocks: TestClock[] = []
  const listener = {
    onSet: (set: { tenantId: string; customerId: string; revision: number }) => void sets.push(`${set.tenantId} ${set.customerId} ${set.revision}`),
    onMissing: () => {},
    onClock: (clock: TestClock) => void clocks.push(clock),
    onReset: () => void sets.push('reset'),
  }
  return { sets, clocks, listener }
}
/** Keeps what is warned of and worse. */
const listeningLog = () => {
  const told: string[] = []
  const note = (fields: object, message: string) => void told.push(`${message} ${JSON.stringify(fields)}`)
  return { told, log: { warn: note, error: note, info: () => {}, debug: () => {} } as unknown as Log }
}

/** A sidecar's log, up to the line that says this; nothing that it waits for ever comes. */
const whatSidecarSays = async (t: ExecutionContext, env: Record<string, string>, line: RegExp): Promise<string> => {
  const child = spawnOwned(process.execPath, ['sidecar/main.ts'], {
    env: { ...process.env, GRPC_PORT: '0', LOG_LEVEL: 'warn', ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  child.stderr?.on('data', (data) => {
    said += data
  })
  await eventually(() => line.test(said), 30_000)
  return said
}

for (const { name, missing, path } of servers) {
  const run = missing ? test.skip : test.serial
  const titled = (title: string) => `${name}: ${title}${missing ? ` (${missing})` : ''}`
  const openAll = async (t: ExecutionContext, ...args: string[]) => {
    t.timeout(120_000)
    const accounts = await makeNatsAccounts(...args)
    const server = await startNatsServer({ path, configFile: accounts.configFile })
    t.teardown(server.stop)
    const plane = await openKept({ url: server.url, ...accounts.optionsOf('control-plane') })
    t.teardown(plane.close)
    return { accounts, server, plane }
  }

  run(titled('a sidecar of two tenants reads them from a fresh bucket, hears of changes, and goes on after it was cut off'), async (t) => {
    const { accounts, server, plane } = await openAll(t, '--sidecar', 'shop=acme,globex', '--sidecar', 'other=other')
    await plane.putSet(setOf('acme', 1))
    await plane.putSet(setOf('other', 1))
    await plane.putClock({ tenantId: 'globex', revision: 1, nowMs: 1_000 })
    const proxy = await createProxy(server.url)
    t.teardown(proxy.close)
    const { told, log } = listeningLog()
    const sidecar = await openReader({ url: proxy.url, ...accounts.optionsOf('sidecar-shop'), log })
    t.teardown(sidecar.close)
    const { sets, clocks, listener } = recorder()
    const watch = await sidecar.watch(listener)
    t.true(watch.isLive())
    t.deepEqual(await sidecar.getSet(customer('acme')), setOf('acme', 1))
    t.is(await sidecar.getSet(customer('globex')), undefined, 'there is none, and it may say so')
    t.deepEqual(await sidecar.getClock('globex'), { tenantId: 'globex', revision: 1, nowMs: 1_000 })

    const startedMs = watch.currentAsOfMs()
    await plane.putSet(setOf('globex', 2))
    await plane.putSet(setOf('other', 2))
    await plane.putSet(setOf('acme', 2))
    await plane.putClock({ tenantId: 'acme', revision: 1, nowMs: 2_000 })
    await eventually(() => sets.includes('acme c1 2') && sets.includes('globex c1 2') && clocks.length === 1)
    await eventually(() => watch.currentAsOfMs() > startedMs, 10_000)
    t.true(watch.isLive())
    await sidecar.ping()

    proxy.cut()
    await eventually(() => !watch.isLive())
    for (let n = 1; n <= 30; n += 1) await plane.putSet(setOf(n % 2 === 0 ? 'acme' : 'globex', 3, n))
    const cutMs = watch.currentAsOfMs()
    proxy.restore()
    await eventually(() => watch.isLive(), 20_000)
    for (let n = 1; n <= 30; n += 1) t.true(sets.includes(`${n % 2 === 0 ? 'acme' : 'globex'} c${n} 3`), `customer ${n}`)
    await eventually(() => watch.currentAsOfMs() > cutMs, 10_000)

    // Without a control plane it asks the feed itself how current it is, and begins again.
    await plane.close()
    const aloneMs = systemClock.nowMs()
    await eventually(() => watch.currentAsOfMs() > aloneMs, 20_000)
    proxy.cut()
    await eventually(() => !watch.isLive())
    proxy.restore()
    await eventually(() => watch.isLive(), 20_000)
    t.is((await sidecar.getSet(customer('acme')))?.revision, 2)
    t.false(sets.some((one) => one.startsWith('other') || one === 'reset'))
    t.false(
      told.some((one) => /does not allow/.test(one)),
      told.join('\n'),
    )
    await t.throwsAsync(sidecar.getSet(customer('other')), undefined, 'what is not its own it cannot read')
    t.true(told.some((one) => /does not allow this user/.test(one)))
  })

  run(titled('a sidecar hears that the bucket was lost, and reads it when it has been filled anew'), async (t) => {
    const { accounts, server, plane } = await openAll(t, '--sidecar', 'shop=acme')
    await plane.putSet(setOf('acme', 7))
    const sidecar = await openReader({ url: server.url, ...accounts.optionsOf('sidecar-shop') })
    t.teardown(sidecar.close)
    const { sets, listener } = recorder()
    const watch = await sidecar.watch(listener)
    await server.kill()
    await server.lose()
    await server.start()
    await eventually(() => sets.includes('reset') && watch.isLive(), 30_000)
    await plane.putSet(setOf('acme', 1))
    await eventually(() => sets.includes('acme c1 1'))
    t.is((await sidecar.getSet(customer('acme')))?.revision, 1)
  })

  run(titled('who has the key of a sidecar neither reads nor writes what is not its own, by any door'), async (t) => {
    const { accounts, server, plane } = await openAll(t, '--sidecar', 'shop=acme', '--sidecar', 'other=other', '--sidecar', 'all=*')
    const bucket = 'tollgate'
    const stream = `KV_${bucket}`
    await plane.putSet(setOf('acme', 1))
    await plane.putSet(setOf('other', 5))
    const subjectOf = (tenantId: string) => `$KV.${bucket}.${setKey(customer(tenantId))}`
    const ownFilter = `$KV.${bucket}.set.${keyPart('acme')}.>`
    const otherFilter = `$KV.${bucket}.set.${keyPart('other')}.>`
    const asked: string[] = []
    await plane.answer(async (question, tenantId) => {
      asked.push(`${tenantId}: ${textOf(question)}`)
      return bytesOf(`answer to ${tenantId}`)
    })
    const owner = await accounts.connectAs('control-plane', server.url)
    const manager = await jetstreamManager(owner, { checkAPI: false })
    const created = (await manager.streams.info(stream)).created
    /** Nothing has been taken, written over or made anew. */
    const isUntouched = async (what: string) => {
      t.is((await manager.streams.info(stream)).created, created, what)
      t.is((await plane.getSet(customer('other')))?.revision, 5, what)
      t.is((await plane.getSet(customer('acme')))?.revision, 1, what)
    }

    const tryEverything = async (user: 'sidecar-shop' | 'sidecar-all') => {
      const thief = await accounts.connectAs(user, server.url)
      t.teardown(() => thief.close())
      const refusedSubjects: string[] = []
      const hear = async () => {
        for await (const status of thief.status())
          if (status.type === 'error' && status.error instanceof PermissionViolationError) refusedSubjects.push(status.error.subject)
      }
      void hear()
      const isRefused = async (subject: string, body: object | string = '') => {
        const text = typeof body === 'string' ? body : JSON.stringify(body)
        await t.throwsAsync(thief.request(subject, text, { timeout: 20_000 }), { message: /Permissions Violation/ }, `${user}: ${subject}`)
      }
      const isDeaf = async (subject: string) => {
        const subscription = thief.subscribe(subject, { callback: (error) => void (error || t.fail(`${user} heard ${subject}`)) })
        await thief.flush()
        await eventually(() => refusedSubjects.includes(subject))
        t.true(subscription.isClosed(), `${user}: ${subject}`)
      }

      // JetStream's own place, whatever is asked there, and its requests that change anything.
      for (const api of ['$JS.API', IMPORTED_API]) {
        for (const request of [`STREAM.DELETE.${stream}`, `STREAM.PURGE.${stream}`, `STREAM.UPDATE.${stream}`, `STREAM.CREATE.${stream}`]) {
          await isRefused(`${api}.${request}`)
        }
        await isRefused(`${api}.STREAM.MSG.DELETE.${stream}`, { seq: 1 })
        await isRefused(`${api}.STREAM.SNAPSHOT.${stream}`, { deliver_subject: createInbox() })
        await isRefused(`${api}.STREAM.NAMES`)
        await isRefused(`${api}.STREAM.LIST`)
        await isRefused(`${api}.CONSUMER.LIST.${stream}`)
        await isRefused(`${api}.CONSUMER.CREATE.${stream}`, { stream_name: stream, config: { deliver_policy: 'all', ack_policy: 'none' } })
        await isRefused(`${api}.CONSUMER.DURABLE.CREATE.${stream}.d`, { stream_name: stream, config: { durable_name: 'd', ack_policy: 'none' } })
        await isRefused(`${api}.CONSUMER.CREATE.${stream}.n`, { stream_name: stream, config: { name: 'n', ack_policy: 'none' } })
        await isRefused(`${api}.CONSUMER.MSG.NEXT.${stream}.n`)
        await isRefused(`${api}.DIRECT.GET.${stream}`, { last_by_subj: subjectOf('other') })
        await isRefused(`${api}.DIRECT.GET.${stream}`, { seq: 1 })
      }
      // Keys.
      await isRefused(subjectOf('other'), 'forged')
      await isRefused(subjectOf('acme'), 'forged')
      await isRefused(`$KV.${bucket}.state`, '{}')
      await isRefused(`${IMPORTED_API}.${subjectOf('acme')}`, 'forged')
      // What others are told.
      for (const subject of [
        `$KV.${bucket}.>`,
        '>',
        '_INBOX.>',
        '$JS.EVENT.>',
        '$SYS.>',
        `tollgate.ask.${bucket}.*`,
        `tollgate.ask.${bucket}.${keyPart('acme')}`,
      ])
        await isDeaf(subject)
      const ofPlane = accounts.text().match(/nkey: (U[A-Z2-7]{55})/)?.[1]
      await isDeaf(`_INBOX.${ofPlane}.>`)
      await isRefused(`tollgate.ask.${bucket}`, 'in the old way')

      // Whoever asks says where the answer goes: to a key, or to a request that it may not make itself.
      const own = { stream_name: stream, config: { ack_policy: 'none', filter_subject: ownFilter } }
      const requests = [
        [`${IMPORTED_API}.DIRECT.GET.${stream}.${subjectOf('acme')}`, ''],
        [`${IMPORTED_API}.DIRECT.GET.${stream}.${subjectOf('acme')}none`, ''],
        [`${IMPORTED_API}.CONSUMER.CREATE.${stream}.r.${ownFilter}`, JSON.stringify(own)],
        [`tollgate.ask.${bucket}.${keyPart('acme')}`, 'where to?'],
      ] as const
      const targets = [
        subjectOf('other'),
        subjectOf('acme'),
        ...['$JS.API', IMPORTED_API].flatMap((api) => [`${api}.STREAM.PURGE.${stream}`, `${api}.STREAM.DELETE.${stream}`]),
      ]
      for (const [subject, body] of requests) for (const reply of targets) thief.publish(subject, body, { reply })
      // Whoever makes a consumer says where it delivers.
      for (const [n, deliver_subject] of [...targets, `tollgate.ask.${bucket}`, `tollgate.ask.${bucket}.${keyPart('other')}`].entries())
        thief.publish(
          `${IMPORTED_API}.CONSUMER.CREATE.${stream}.to${n}.${ownFilter}`,
          JSON.stringify({
            stream_name: stream,
            config: { name: `to${n}`, ack_policy: 'none', headers_only: true, deliver_subject, filter_subject: ownFilter },
          }),
          { reply: createInbox(thief.info ? `_INBOX.${user}` : undefined) },
        )
      await thief.flush()
      // All of it has been looked at once this comes back.
      t.is((await plane.getSet(customer('acme')))?.revision, 1)
      const answered = await thief.request(`tollgate.ask.${bucket}.${keyPart('acme')}`, 'last', { timeout: 20_000 })
      t.is(answered.string(), 'answer to acme')
      await isUntouched(user)
      return { thief, isRefused }
    }

    const { thief, isRefused } = await tryEverything('sidecar-shop')
    await isRefused(`${IMPORTED_API}.STREAM.INFO.${stream}`, { subjects_filter: '>' })
    await isRefused(`${IMPORTED_API}.STREAM.MSG.GET.${stream}`, { last_by_subj: subjectOf('other') })
    await isRefused(`${IMPORTED_API}.CONSUMER.INFO.${stream}.x`)
    await isRefused(`${IMPORTED_API}.CONSUMER.DELETE.${stream}.x`)
    await isRefused(`${IMPORTED_API}.DIRECT.GET.${stream}.${subjectOf('other')}`)
    await isRefused(`${IMPORTED_API}.DIRECT.GET.${stream}.$KV.${bucket}.clock.${keyPart('other')}`)
    await isRefused(`tollgate.ask.${bucket}.${keyPart('other')}`, 'of another')
    for (const filter of [otherFilter, `$KV.${bucket}.>`, '>', `$KV.${bucket}.*`, `$KV.${bucket}.set.>`, `$KV.${bucket}.set.*.s.c1`])
      await isRefused(`${IMPORTED_API}.CONSUMER.CREATE.${stream}.n.${filter}`, {
        stream_name: stream,
        config: { name: 'n', ack_policy: 'none', filter_subject: filter },
      })
    // A filter in the body that is not the one in the subject: refused, or not looked at.
    for (const [n, filters] of [
      { filter_subject: otherFilter },
      { filter_subject: '' },
      { filter_subjects: [otherFilter] },
      { filter_subjects: [ownFilter, otherFilter] },
      { filter_subject: ownFilter, filter_subjects: [otherFilter] },
    ].entries()) {
      const answer = (
        await thief.request(
          `${IMPORTED_API}.CONSUMER.CREATE.${stream}.f${n}.${ownFilter}`,
          JSON.stringify({ stream_name: stream, config: { name: `f${n}`, ack_policy: 'none', ...filters } }),
          { timeout: 20_000 },
        )
      ).json<{ error?: object; num_pending?: number; config?: { filter_subject?: string; filter_subjects?: string[] } }>()
      if (!answer.error) t.deepEqual([answer.config?.filter_subject, answer.config?.filter_subjects, answer.num_pending], [ownFilter, undefined, 1])
    }
    await tryEverything('sidecar-all')
    t.false(
      asked.some((one) => !/^(acme): (where to\?|last)$/.test(one)),
      asked.join('\n'),
    )
    await isUntouched('in the end')
    await owner.close()
  })

  run(titled('a control plane answers inboxes alone, of whoever asks for its own account too'), async (t) => {
    const { accounts, server, plane } = await openAll(t)
    const stop = await plane.answer(async () => bytesOf('forged'))
    const owner: NatsConnection = await accounts.connectAs('control-plane', server.url)
    await plane.putSet(setOf('acme', 1))
    owner.publish('tollgate.ask.tollgate.x', 'to a key', { reply: `$KV.tollgate.${setKey(customer('acme'))}` })
    t.is((await owner.request('tollgate.ask.tollgate.x', 'to me', { timeout: 20_000 })).string(), 'forged')
    t.is((await plane.getSet(customer('acme')))?.revision, 1)
    stop()
    await owner.close()
  })

  run(titled('a sidecar of all tenants reads them all, and asks about each'), async (t) => {
    const { accounts, server, plane } = await openAll(t, '--sidecar', 'all=*')
    const { told, log } = listeningLog()
    const sidecar = await openReader({ url: server.url, ...accounts.optionsOf('sidecar-all'), log })
    const narrowed = await openReader({ url: server.url, ...accounts.optionsOf('sidecar-all'), tenants: ['acme'], log })
    t.teardown(() => Promise.all([sidecar.close(), narrowed.close()]))
    const [whole, part] = [recorder(), recorder()]
    const watches = [await sidecar.watch(whole.listener), await narrowed.watch(part.listener)]
    await plane.answer(async (question, tenantId) => bytesOf(`${tenantId} ${textOf(question)}`))
    await plane.putSet(setOf('acme', 1))
    await plane.putSet(setOf('other', 1))
    await eventually(() => whole.sets.length === 2 && part.sets.length === 1)
    t.is((await sidecar.getSet(customer('other')))?.revision, 1)
    t.is(textOf(await sidecar.ask('other', bytesOf('why?'), 2_000)), 'other why?')
    const sinceMs = systemClock.nowMs()
    await eventually(() => watches.every((watch) => watch.currentAsOfMs() > sinceMs), 10_000)
    t.deepEqual(told, [])
  })

  run(titled('a sidecar of one tenant speaks as that tenant alone, whatever it says, and one of all tenants to all control planes'), async (t) => {
    const { accounts, server, plane } = await openAll(t, '--sidecar', 'shop=acme,globex', '--sidecar', 'all=*')
    const second = await openKept({ url: server.url, ...accounts.optionsOf('control-plane') })
    t.teardown(second.close)
    const heard: string[][] = [[], []]
    for (const [n, one] of [plane, second].entries())
      await one.answer(
        async () => bytesOf('an answer'),
        (message, tenantId) => void heard[n]?.push(`${tenantId ?? 'all'}: ${textOf(message)}`),
      )
    const shop = await openReader({ url: server.url, ...accounts.optionsOf('sidecar-shop'), tenants: ['acme', 'globex'] })
    const all = await openReader({ url: server.url, ...accounts.optionsOf('sidecar-all') })
    t.teardown(() => Promise.all([shop.close(), all.close()]))
    await shop.tell('globex', bytesOf('of two'))
    await all.tell(undefined, bytesOf('of all'))
    const thief = await accounts.connectAs('sidecar-shop', server.url)
    const violations: string[] = []
    const listen = async () => {
      for await (const { error } of thief.status() as AsyncIterable<{ error?: unknown }>)
        if (error instanceof PermissionViolationError) violations.push(error.subject)
    }
    listen().catch(() => undefined)
    const forged = headers()
    forged.set('came-at', `tollgate.ask.tollgate.${keyPart('other')}`)
    thief.publish(`tollgate.ask.tollgate.${keyPart('acme')}`, 'forged', { headers: forged })
    for (const tenantId of ['*', 'other']) thief.publish(`tollgate.ask.tollgate.${keyPart(tenantId)}`, 'refused', { headers: forged })
    thief.publish(`tollgate.ask.tollgate.${keyPart('acme')}`, 'last')
    await eventually(() => heard.every((one) => one.includes('acme: last')) && violations.length === 2)
    for (const one of heard) t.deepEqual(one.toSorted(), ['acme: forged', 'acme: last', 'all: of all', 'globex: of two'])
    await thief.close()
  })

  run(titled('another sidecar is added to a server that runs, one is taken away, and no key is made anew'), async (t) => {
    const { accounts, server } = await openAll(t, '--sidecar', 'shop=acme')
    const seedOf = (user: string) => readFileSync(join(accounts.folder, `${user}.nk`), 'utf8')
    const before = [seedOf('control-plane'), seedOf('sidecar-shop')]
    writeFileSync(accounts.configFile, `${readFileSync(accounts.configFile, 'utf8')}# mine\n`)
    await accounts.run('--sidecar', 'second=globex')
    t.deepEqual([seedOf('control-plane'), seedOf('sidecar-shop')], before)
    t.true(readFileSync(accounts.configFile, 'utf8').endsWith('# mine\n'))
    for (const file of ['control-plane.nk', 'sidecar-second.nk', 'sidecar-second.env', 'nats-users.conf', 'nats.conf', 'users.json'])
      t.is(statSync(join(accounts.folder, file)).mode & 0o777, 0o600, file)
    t.is(statSync(accounts.folder).mode & 0o777, 0o700)
    // The first makes the account, and the second gives it what it imports: so it is with every version there is.
    server.reload()
    await (await accounts.connectAs('sidecar-second', server.url, { maxReconnectAttempts: 100, waitOnFirstConnect: true })).close()
    server.reload()
    await eventually(async () => {
      const second = await openReader({ url: server.url, ...accounts.optionsOf('sidecar-second') }).catch(() => undefined)
      const isThere = second !== undefined && (await second.getSet(customer('globex'))) === undefined
      await second?.close()
      return isThere
    })

    const options = accounts.optionsOf('sidecar-shop')
    const shop = await openReader({ url: server.url, ...options })
    t.is(await shop.getSet(customer('acme')), undefined)
    const said = await accounts.run('--remove', 'shop')
    t.regex(said, /for control planes, sidecar second\n/)
    t.throws(() => seedOf('sidecar-shop'), { code: 'ENOENT' })
    server.reload()
    await eventually(() =>
      shop.getSet(customer('acme')).then(
        () => false,
        () => true,
      ),
    )
    await shop.close()
  })

  run(titled('who is not known, or not any more, is refused, which the log says without what it was shown'), async (t) => {
    const { accounts, server } = await openAll(t, '--sidecar', 'shop=acme')
    const file = join(accounts.folder, 'stranger.nk')
    const seed = Buffer.from(nkeys.createUser().getSeed()).toString()
    writeFileSync(file, `${seed}\n`)
    for (const credentials of [{ NATS_CREDS: file }, {}] as Record<string, string>[]) {
      const said = await whatSidecarSays(t, { NATS_URL: server.url, SIDECAR_TENANTS: 'acme', ...credentials }, /refuses who this is; check NATS_CREDS/)
      t.false(said.includes(seed))
      t.is(said.match(/refuses who this is/g)?.length, 1, 'once, and not at every try')
    }
    const known = accounts.optionsOf('sidecar-shop')
    const { told, log } = listeningLog()
    const shop = await openReader({ url: server.url, ...known, log })
    await accounts.run('--remove', 'shop')
    server.reload()
    await eventually(() => told.some((one) => /refuses who this is/.test(one)))
    await shop.close()
  })

  run(titled('with a certificate authority of its own; a server of another is not talked to'), async (t) => {
    const [certificates, others] = [makeCertificates(), makeCertificates()]
    const { certFile, keyFile, caFile } = certificates
    const { accounts, server, plane } = await openAll(t, '--sidecar', 'shop=acme', '--tls', certFile, keyFile, caFile)
    await plane.putSet(setOf('acme', 1))
    const sidecar = await openReader({ url: server.url, ...accounts.optionsOf('sidecar-shop') })
    t.is((await sidecar.getSet(customer('acme')))?.revision, 1)
    await sidecar.close()
    const env = accounts.variablesOf('sidecar-shop')
    for (const NATS_CA_FILE of [others.caFile, ''])
      t.regex(await whatSidecarSays(t, { NATS_URL: server.url.replace('nats:', 'tls:'), ...env, NATS_CA_FILE }, /no NATS server can be reached/), /certificate/)
  })

  run(titled('a cluster of three: a sidecar of a tenant reads it, and no read goes back behind what its watch has shown'), async (t) => {
    t.timeout(120_000)
    const accounts = await makeNatsAccounts('--sidecar', 'shop=acme')
    const cluster = await startNatsCluster({ path, extra: accounts.text() })
    t.teardown(cluster.stop)
    let plane: Awaited<ReturnType<typeof openKept>> | undefined
    await eventually(async () => {
      plane = await openKept({ url: cluster.servers[0]?.url ?? '', ...accounts.optionsOf('control-plane'), keeps: { replicas: 3 } }).catch(() => undefined)
      return plane !== undefined
    }, 30_000)
    const publisher = plane as NonNullable<typeof plane>
    for (let n = 1; n <= 20; n += 1) await publisher.putSet(setOf('acme', 1, n))
    const sidecar = await openReader({ url: cluster.servers[1]?.url ?? '', ...accounts.optionsOf('sidecar-shop') })
    t.is((await sidecar.getSet(customer('acme', 20)))?.revision, 1)
    const { sets, listener } = recorder()
    let [reads, behind] = [0, 0]
    const pending: Promise<void>[] = []
    let isCounted = true
    const watch = await sidecar.watch({
      ...listener,
      onSet: (set) => {
        listener.onSet(set)
        // What is delivered again after a server was away is not what this is about.
        if (isCounted)
          pending.push(
            sidecar.getSet(set).then((read) => {
              reads += 1
              if ((read?.revision ?? 0) < set.revision) behind += 1
            }),
          )
      },
    })
    t.true(watch.isLive())
    t.deepEqual(sets, [], 'what was there before is not delivered')
    for (let revision = 2; revision <= 20; revision += 1)
      await Promise.all(Array.from({ length: 20 }, (_, n) => publisher.putSet(setOf('acme', revision, n + 1))))
    await eventually(() => Array.from({ length: 20 }, (_, n) => `acme c${n + 1} 20`).every((one) => sets.includes(one)))
    isCounted = false
    await Promise.all(pending)
    t.true(reads > 0)
    t.is(behind, 0, `${behind} of ${reads} reads went back`)
    const sinceMs = systemClock.nowMs()
    await eventually(() => watch.currentAsOfMs() > sinceMs, 10_000)
    await cluster.servers[1]?.kill()
    await eventually(() => !watch.isLive())
    await cluster.servers[1]?.start()
    await eventually(() => watch.isLive(), 30_000)
    await Promise.all([publisher.close(), sidecar.close()])
  })
}

test.serial('a start names the variable that cannot be used, without the secret', async (t) => {
  const accounts = await makeNatsAccounts('--sidecar', 'shop=acme')
  const refuse = (variables: object, message: RegExp) => {
    const error = t.throws(() => natsAccessOf(variables as Parameters<typeof natsAccessOf>[0]), { instanceOf: ConfigError, message })
    t.false(/SU[A-Z2-7]{20}/.test(error?.message ?? ''))
  }
  const file = (text: string) => {
    const path = join(accounts.folder, 'a-file')
    writeFileSync(path, text)
    return path
  }
  const seed = Buffer.from(nkeys.createUser().getSeed()).toString()
  refuse({ NATS_CREDS: join(accounts.folder, 'nothing') }, /^NATS_CREDS: .*nothing cannot be read \(ENOENT\)/)
  refuse({ NATS_CREDS: file('rubbish') }, /^NATS_CREDS: .* contains no NKey seed/)
  // One character of the middle: the last one has bits that no decoder reads.
  refuse({ NATS_CREDS: file(`${seed.slice(0, 30)}${seed[30] === 'A' ? 'B' : 'A'}${seed.slice(31)}`) }, /^NATS_CREDS: .* contains no NKey seed/)
  refuse({ NATS_CREDS: file(Buffer.from(nkeys.createAccount().getSeed()).toString()) }, /^NATS_CREDS: .* contains no NKey seed of a user/)
  const jwt = ['{}', JSON.stringify({ sub: nkeys.createUser().getPublicKey() }), ''].map((part) => Buffer.from(part).toString('base64url')).join('.')
  refuse({ NATS_CREDS: file(credentialsOf(jwt, seed)) }, /^NATS_CREDS: .* the JWT and the seed belong to different users/)
  const named = new Secret('nats://user:secret@host')
  refuse({ NATS_CREDS: join(accounts.folder, 'sidecar-shop.nk'), NATS_URL: named }, /^NATS_CREDS is set, and NATS_URL names a user too/)
  refuse({ NATS_CERT_FILE: file('x') }, /NATS_CERT_FILE and NATS_KEY_FILE/)
  refuse({ NATS_CA_FILE: file('x') }, /^NATS_CA_FILE: .* is not PEM/)
  for (const [args, message] of [
    [['--sidecar', 'shop'], /NAME=TENANT/],
    [['--sidecar', 'control-plane=*'], /control planes' own/],
    [['--sidecar', 'a=*,b'], /name no others/],
    [['--bucket', 'another'], /use another folder/],
    [['--remove', 'nobody'], /there is no sidecar nobody/],
    [['--tls', 'cert'], /usage/],
  ] as const)
    t.regex(String((await t.throwsAsync(accounts.run(...args)))?.message), message)
})

const credentialsOf = (jwt: string, seed: string) =>
  `-----BEGIN NATS USER JWT-----\n${jwt}\n------END NATS USER JWT------\n\n************************* IMPORTANT *************************\n\n-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`

const onJwt = natsMissing ? test.skip : test.serial
onJwt(`credentials with a JWT, as nsc writes them, are taken, and answered in an inbox of their own${natsMissing ? ` (${natsMissing})` : ''}`, async (t) => {
  t.timeout(60_000)
  const [operator, system, account, user] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createAccount(), nkeys.createUser()]
  const signed = (by: typeof operator, subject: typeof operator, nats: object) => {
    const claims = {
      jti: subject.getPublicKey(),
      iat: 1_700_000_000,
      iss: by.getPublicKey(),
      name: 'test',
      sub: subject.getPublicKey(),
      nats: { version: 2, ...nats },
    }
    const body = [{ typ: 'JWT', alg: 'ed25519-nkey' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
    return `${body}.${Buffer.from(by.sign(Buffer.from(body))).toString('base64url')}`
  }
  const all = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 }
  const store = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 }
  const server = await startNatsServer({
    extra: [
      `operator: ${signed(operator, operator, { type: 'operator', system_account: system.getPublicKey() })}`,
      `system_account: ${system.getPublicKey()}`,
      'resolver: MEMORY',
      'resolver_preload {',
      `  ${system.getPublicKey()}: ${signed(operator, system, { type: 'account', limits: all })}`,
      `  ${account.getPublicKey()}: ${signed(operator, account, { type: 'account', limits: { ...all, ...store } })}`,
      '}',
    ].join('\n'),
  })
  t.teardown(server.stop)
  const inbox = `_INBOX.${user.getPublicKey()}.>`
  const jwt = signed(account, user, { type: 'user', subs: -1, data: -1, payload: -1, pub: {}, sub: { allow: [inbox, 'tollgate.ask.>'] } })
  const { folder } = await makeNatsAccounts()
  const file = join(folder, 'user.creds')
  writeFileSync(file, credentialsOf(jwt, Buffer.from(user.getSeed()).toString()))
  const access = natsAccessOf({ NATS_CREDS: file } as Parameters<typeof natsAccessOf>[0])
  const plane = await openKept({ url: server.url, access })
  const narrow = await openReader({ url: server.url, access, tenants: ['acme'] })
  const { sets, listener } = recorder()
  await narrow.watch(listener)
  await plane.answer(async () => bytesOf('yes'))
  await plane.putSet(setOf('acme', 1))
  await eventually(() => sets.includes('acme c1 1'))
  t.is((await narrow.getSet(customer('acme')))?.revision, 1)
  t.is(textOf(await narrow.ask('acme', bytesOf('there?'), 2_000)), 'yes')
  await Promise.all([plane.close(), narrow.close()])
})
