/** Events on their way to webhook endpoints, and what endpoints can do to them. */
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { systemClock } from '../../common/clock.ts'
import { createInProcessFeed } from '../../common/feed/in-process.ts'
import { createLog } from '../../common/log.ts'
import { Secret } from '../../common/secret.ts'
import { createTenant } from '../../control-plane/catalog/tenants.ts'
import { openEvents } from '../../control-plane/events/events.ts'
import { type EventSender, startEventSender } from '../../control-plane/events/sender.ts'
import { changeEndpoint } from '../../control-plane/events/webhooks/endpoints.ts'
import { replayDelivery, replayFailed, replayRange } from '../../control-plane/events/webhooks/replay.ts'
import { createWebhookSender } from '../../control-plane/events/webhooks/send.ts'
import { eventRenderers } from '../../control-plane/http/event-data.ts'
import { keys } from '../../control-plane/keys.ts'
import { createSidecarRegistry } from '../../control-plane/observe/sidecars.ts'
import type { Services } from '../../control-plane/ports.ts'
import type { WebhookEndpoint } from '../../control-plane/schemas/webhook-endpoint.ts'
import { createSealing } from '../../control-plane/storage/sealing.ts'
import { createSqliteStorage } from '../../control-plane/storage/sqlite.ts'
import { type TenantScope, tenantScope } from '../../control-plane/tenant-scope.ts'
import { storefront } from '../simulation/laboratory.ts'
import { eventually } from '../support/eventually.ts'
import { openWebhookReceiver, type ReceivedWebhook } from '../support/webhook-receiver.ts'

const SECRET = `whsec_${Buffer.alloc(32, 'secret').toString('base64')}`

interface Line extends AsyncDisposable {
  of: TenantScope
  services: Services
  sender: EventSender
  /** A sender as another process has it. */
  another(): EventSender
  /** Makes so many events about each of these subjects, in turns. */
  happen(times: number, ...bundles: string[]): Promise<void>
  endpoint(id: string, url: string, change?: Partial<WebhookEndpoint>): Promise<WebhookEndpoint>
}

const openLine = async (timeoutMs = 2_000): Promise<Line> => {
  const [clock, log] = [systemClock, createLog('silent')]
  const raw = createSqliteStorage({ path: ':memory:', clock })
  const { storage, events } = openEvents({ storage: raw, clock, log, render: eventRenderers })
  const services: Services = {
    storage,
    events,
    feed: createInProcessFeed({ clock }),
    psps: { open: () => ({ unusable: 'none' }), sandbox: undefined } as never,
    sealing: createSealing(undefined),
    webhooksInHand: { count: 0 },
    sidecars: createSidecarRegistry(clock),
    clock,
    log,
  }
  const { tenant } = await createTenant(services, { id: 't', name: 't', mode: 'live', storefronts: [storefront] }, 'key_t')
  const of = tenantScope(services, tenant)
  const another = () => startEventSender({ services, webhooks: createWebhookSender({ clock, allowPrivate: true, timeoutMs }), stream: undefined })
  const sender = another()
  return {
    of,
    services,
    sender,
    another,
    happen: async (times, ...bundles) => {
      for (let n = 0; n < times; n += 1)
        for (const id of bundles) {
          const key = keys.bundle('t', 'shop', id)
          const known = await storage.bundles.find(key)
          const pricing = { amountMinor: 1, currency: 'USD', interval: 'month' as const, intervalCount: 1 }
          const made = {
            _id: key,
            tenantId: 't',
            storefrontId: 'shop',
            id,
            version: 1,
            name: 'b',
            pricing,
            entitlements: [],
            refundEndsAccess: false,
            trialDays: 0,
          }
          if (known) await storage.bundles.replace({ ...known, edition: (known.edition ?? 1) + 1 })
          else await storage.bundles.insert({ ...made, createdAt: clock.now() })
        }
    },
    endpoint: async (id, url, change = {}) => {
      const now = clock.now()
      const _id = keys.webhookEndpoint('t', id)
      const secrets = [{ id: 's', secret: services.sealing.seal(new Secret(SECRET), _id), createdAt: now }]
      const made = { _id, tenantId: 't', id, url, types: ['*'], ordered: false, enabled: true, fromPosition: await events.logs.lastPlace('t') }
      const inserted = await storage.webhookEndpoints.insert({ ...made, secrets, createdAt: now, ...change })
      await events.logs.nudge('t')
      return inserted
    },
    [Symbol.asyncDispose]: async () => {
      await sender.stop()
      await storage.close()
    },
  }
}

/** Waits until so many events are in the log. */
const logged = (line: Line, count: number) => eventually(async () => (await line.services.events.logs.read('t', 0, 500)).events.length === count)

const deliveryOf = (of: TenantScope, endpointId: string, eventId: string) => of.storage.webhookDeliveries.find(of.keys.webhookDelivery(endpointId, eventId))
const deliveriesOf = async (of: TenantScope, endpointId: string) =>
  (await of.storage.webhookDeliveries.page({ where: { tenantId: 't', endpointId }, limit: 500 })).data

const inOrder = (t: ExecutionContext, received: readonly ReceivedWebhook[]): void => {
  const bySubject = Map.groupBy(received, ({ subject }) => subject)
  for (const [subject, ofSubject] of bySubject) {
    const sequences = ofSubject.map(({ sequence }) => sequence)
    t.deepEqual(sequences, sequences.toSorted(), subject)
    t.is(new Set(sequences).size, sequences.length, `${subject}: each once`)
  }
}

test('events reach an endpoint, signed, with a record of each delivery', async (t) => {
  await using line = await openLine()
  await using receiver = await openWebhookReceiver(SECRET, (_, response) => void response.end('thank you'))
  await line.happen(1, 'before')
  await logged(line, 1)
  await line.endpoint('e', receiver.url)
  await line.happen(3, 'a', 'b')
  await eventually(async () => receiver.accepted.length === 6)
  t.true(receiver.accepted.every(({ type }) => type.startsWith('bundle.')))
  t.false(
    receiver.accepted.some(({ subject }) => subject.endsWith('before')),
    'what came before it was created is not sent',
  )
  const [first] = receiver.accepted as [ReceivedWebhook]
  t.is(first.headers['webhook-id'], first.id)
  t.like(first.headers, { 'content-type': 'application/cloudevents+json; charset=utf-8' })
  await eventually(async () => (await deliveriesOf(line.of, 'e')).length === 6)
  const delivery = await deliveryOf(line.of, 'e', first.id)
  t.like(delivery, { status: 'delivered', url: receiver.url, tries: 1, attempts: [{ outcome: 'delivered', status: 200, answer: 'thank you' }] })
  await eventually(async () => (await line.services.storage.eventLogs.get('t')).repairAt === undefined)
  t.is((await line.services.storage.eventLogs.get('t')).sender, undefined, 'the lease is given back')
})

test('an endpoint gets the types and storefronts that it asks for, and nothing while it is disabled', async (t) => {
  await using line = await openLine()
  await using receiver = await openWebhookReceiver(SECRET)
  await line.endpoint('types', `${receiver.url}?types`, { types: ['bundle.updated'] })
  await line.endpoint('shop', `${receiver.url}?shop`, { storefrontIds: ['other'] })
  await line.endpoint('off', `${receiver.url}?off`, { enabled: false })
  await line.endpoint('family', `${receiver.url}?family`, { types: ['payment.*', 'bundle.*'] })
  await line.happen(2, 'a')
  await eventually(async () => receiver.accepted.length === 3)
  await sleep(300)
  t.deepEqual(
    (await deliveriesOf(line.of, 'types')).map(({ type }) => type),
    ['bundle.updated'],
  )
  t.is((await deliveriesOf(line.of, 'shop')).length, 0)
  t.is((await deliveriesOf(line.of, 'off')).length, 0)
  t.is((await deliveriesOf(line.of, 'family')).length, 2)
})

test('what an endpoint refuses is tried again, and holds back no other event', async (t) => {
  await using line = await openLine()
  const refused = new Set<string>()
  await using receiver = await openWebhookReceiver(SECRET, ({ id, subject }, response) => {
    const isFirst = subject.endsWith('/a') && !refused.has(id)
    refused.add(id)
    response.writeHead(isFirst ? 500 : 204).end()
  })
  await line.endpoint('e', receiver.url)
  await line.happen(1, 'a', 'b', 'c')
  await eventually(async () => receiver.accepted.length === 2)
  const a = receiver.seen.find(({ subject }) => subject.endsWith('/a')) as ReceivedWebhook
  await eventually(async () => (await deliveryOf(line.of, 'e', a.id))?.status === 'retrying')
  await eventually(async () => receiver.accepted.length === 3, 20_000)
  await eventually(async () => (await deliveryOf(line.of, 'e', a.id))?.status === 'delivered')
  t.is((await deliveryOf(line.of, 'e', a.id))?.attempts.length, 2)
})

test('in order: a failing event holds back those of its subject, and no others', async (t) => {
  await using line = await openLine()
  let isBroken = true
  await using receiver = await openWebhookReceiver(
    SECRET,
    ({ subject }, response) => void response.writeHead(isBroken && subject.endsWith('/a') ? 500 : 200).end(),
  )
  await line.endpoint('e', receiver.url, { ordered: true })
  await line.happen(20, 'a', 'b')
  await eventually(async () => receiver.accepted.length === 20)
  t.true(receiver.accepted.every(({ subject }) => subject.endsWith('/b')))
  t.is(new Set(receiver.seen.filter(({ subject }) => subject.endsWith('/a')).map(({ id }) => id)).size, 1, 'nothing is tried past it')
  isBroken = false
  await eventually(async () => receiver.accepted.length === 40, 20_000)
  inOrder(t, receiver.accepted)
})

test('in order: a slow receiver gets everything once, in order, however much comes meanwhile', async (t) => {
  await using line = await openLine()
  await using receiver = await openWebhookReceiver(SECRET, async ({ subject }, response) => {
    if (subject.endsWith('/a')) await sleep(20)
    response.end()
  })
  await line.endpoint('e', receiver.url, { ordered: true })
  await line.happen(60, 'a', 'b', 'c')
  await eventually(async () => receiver.accepted.length >= 180, 20_000)
  await sleep(200)
  t.is(receiver.accepted.length, 180)
  inOrder(t, receiver.accepted)
})

test('an endpoint that is down is left alone but for its retries, and then gets everything', async (t) => {
  await using line = await openLine()
  let isDown = true
  await using receiver = await openWebhookReceiver(SECRET, (_, response) => {
    if (isDown) response.destroy()
    else response.end()
  })
  await line.endpoint('e', receiver.url)
  await line.happen(200, 'a')
  await sleep(1_500)
  t.true(receiver.seen.length < 90, `${receiver.seen.length} tries for 200 events`)
  isDown = false
  await eventually(async () => receiver.accepted.length >= 200, 30_000)
  t.is(new Set(receiver.accepted.map(({ id }) => id)).size, 200)
})

test('410 disables an endpoint at once, and says so', async (t) => {
  await using line = await openLine()
  await using receiver = await openWebhookReceiver(SECRET, (_, response) => void response.writeHead(410).end())
  await using other = await openWebhookReceiver(SECRET)
  await line.endpoint('gone', receiver.url)
  await line.endpoint('other', other.url, { types: ['webhook_endpoint.*'] })
  await line.happen(1, 'a')
  await eventually(async () => other.accepted.length === 1)
  t.like(other.accepted[0], {
    type: 'webhook_endpoint.disabled',
    subject: '/webhook-endpoints/gone',
    data: { id: 'gone', enabled: false, disabledReason: 'gone' },
  })
  t.like(await line.of.storage.webhookEndpoints.get(keys.webhookEndpoint('t', 'gone')), { enabled: false, disabledReason: 'gone' })
  await t.throwsAsync(replayFailed(line.of, await line.of.storage.webhookEndpoints.get(keys.webhookEndpoint('t', 'gone'))), { message: /enable it first/ })
})

test('an endpoint that has disabled itself is served again once it is enabled, however busy its tenant is', async (t) => {
  await using line = await openLine()
  let isGone = true
  await using receiver = await openWebhookReceiver(SECRET, (_, response) => void response.writeHead(isGone ? 410 : 200).end())
  await using busy = await openWebhookReceiver(SECRET, async (_, response) => {
    await sleep(50)
    response.end()
  })
  await line.endpoint('gone', receiver.url, { types: ['bundle.*'] })
  await line.endpoint('busy', busy.url, { ordered: true })
  await line.happen(1, 'a')
  const of = () => line.of.storage.webhookEndpoints.get(keys.webhookEndpoint('t', 'gone'))
  await eventually(async () => !(await of()).enabled)
  isGone = false
  const busyness = (async () => {
    for (let n = 0; n < 30; n += 1) {
      await line.happen(3, 'b')
      await sleep(100)
    }
  })()
  const enabled = await changeEndpoint(line.of, 'gone', () => {}, { enabled: true }, true)
  t.like(enabled, { enabled: true, disabledReason: undefined, disabledAt: undefined })
  await line.happen(1, 'c')
  await eventually(async () => receiver.accepted.some(({ subject }) => subject.endsWith('/c')), 2_000)
  await busyness
  inOrder(t, busy.accepted)
})

test('an endpoint keeps its place, and since when it fails, when its tenant comes to rest', async (t) => {
  await using line = await openLine()
  await using receiver = await openWebhookReceiver(SECRET)
  await using broken = await openWebhookReceiver(SECRET, (_, response) => void response.writeHead(500).end())
  await line.endpoint('e', receiver.url)
  await line.endpoint('broken', broken.url)
  await line.happen(3, 'a')
  await eventually(async () => (await line.services.storage.eventLogs.get('t')).sender === undefined && receiver.accepted.length === 3)
  const { cursors } = await line.of.storage.eventCursors.get('t')
  const last = await line.services.events.logs.lastPlace('t')
  t.is(cursors.e?.position, last)
  t.is(cursors.broken?.position, last)
  t.truthy(cursors.broken?.failingSince)
  t.is(cursors.e?.failingSince, undefined)
})

test('what was held back is sent when the order does not count any more', async (t) => {
  await using line = await openLine()
  await using receiver = await openWebhookReceiver(SECRET, ({ sequence }, response) => void response.writeHead(sequence.endsWith('1') ? 500 : 200).end())
  await line.endpoint('e', receiver.url, { ordered: true })
  await line.happen(4, 'a')
  await eventually(async () => (await deliveriesOf(line.of, 'e')).filter(({ status }) => status === 'waiting').length === 3)
  t.is(receiver.accepted.length, 0)
  await changeEndpoint(line.of, 'e', () => {}, { ordered: false }, true)
  await eventually(async () => receiver.accepted.length === 3)
})

test('a replay keeps the order of each subject', async (t) => {
  await using line = await openLine()
  let failures = 0
  await using receiver = await openWebhookReceiver(SECRET, ({ sequence }, response) => {
    const fails = sequence.endsWith('1') && failures < 2
    if (fails) failures += 1
    response.writeHead(fails ? 500 : 200).end()
  })
  await line.happen(5, 'a')
  await logged(line, 5)
  const endpoint = await line.endpoint('e', receiver.url, { ordered: true })
  await replayRange(line.of, endpoint, { from: new Date(0), to: new Date(Date.now() + 1_000) }, 0)
  await eventually(async () => receiver.accepted.length === 5, 50_000)
  inOrder(t, receiver.accepted)
})

test('an event is sent again on request: one, those that failed, or those of a span of time', async (t) => {
  await using line = await openLine()
  await using receiver = await openWebhookReceiver(SECRET)
  await line.happen(2, 'a')
  await logged(line, 2)
  const from = new Date()
  await line.happen(3, 'b')
  await logged(line, 5)
  const endpoint = await line.endpoint('e', receiver.url)
  const { events } = await line.services.events.logs.read('t', 0, 10)
  await replayDelivery(line.of, endpoint, events[0]?.id ?? '')
  await eventually(async () => receiver.accepted.length === 1)
  t.is(receiver.accepted[0]?.id, events[0]?.id)
  t.deepEqual(await replayRange(line.of, endpoint, { from, to: new Date() }, 0), { queued: 3, next: undefined })
  await eventually(async () => receiver.accepted.length === 4)
  await replayDelivery(line.of, endpoint, events[0]?.id ?? '')
  await eventually(async () => receiver.accepted.length === 5)
  await eventually(async () => (await deliveryOf(line.of, 'e', events[0]?.id ?? ''))?.attempts.length === 2)
  const delivery = await deliveryOf(line.of, 'e', events[1]?.id ?? '')
  t.is(delivery, undefined)
  await t.throwsAsync(replayDelivery(line.of, endpoint, 'evt_none'), { message: /no such event/ })
})

test('a process that dies is replaced when its lease is over, and nothing is left out', async (t) => {
  await using line = await openLine()
  await using receiver = await openWebhookReceiver(SECRET)
  await line.endpoint('e', receiver.url)
  await line.happen(5, 'a')
  await eventually(async () => receiver.accepted.length === 5)
  await line.sender.stop()
  await line.happen(5, 'a')
  await logged(line, 10)
  const next = line.another()
  next.wake('t')
  await eventually(async () => receiver.accepted.length >= 10)
  await sleep(300)
  t.is(receiver.accepted.length, 10, 'and nothing twice, since the first one ended well')
  await next.stop()
})
