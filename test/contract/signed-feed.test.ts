/** Whoever may write to NATS gives nobody access: what control planes have not signed for its place is not believed, and is written over. */
import { generateKeyPairSync } from 'node:crypto'
import { Kvm } from '@nats-io/kv'
import { connect } from '@nats-io/transport-node'
import test from 'ava'
import type { EntitlementSet } from '../../common/entitlements/model.ts'
import { encodeSet } from '../../common/entitlements/wire.ts'
import { setKey } from '../../common/feed/keys.ts'
import { decodeMessage, encodeClockMessage } from '../../common/feed/message.ts'
import { createSigning } from '../../common/feed/signing.ts'
import { Secret } from '../../common/secret.ts'
import { eventually } from '../support/eventually.ts'
import { openKept, openReader } from '../support/nats-feeds.ts'
import { natsMissing, startNatsServer } from '../support/nats-server.ts'

const pair = () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  return {
    private: privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64'),
    public: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
  }
}
const [ours, next, foreign] = [pair(), pair(), pair()]
const signing = createSigning('test', { signing: new Secret(ours.private) })
const verify = createSigning('test', { verify: ours.public })
const customer = { tenantId: 't', storefrontId: 's', customerId: 'c' }
const setOf = (revision: number, limit: number | null = 1): EntitlementSet => ({
  ...customer,
  revision,
  sandbox: false,
  grants: [{ key: 'seats', subscriptionId: 'sub', bundleId: 'b', fromMs: 0, inactive: false, terms: { kind: 'capacity', limit } }],
  usage: [],
})
const key = setKey(customer)

test('a signature is of one key, one place and one bucket, and readers without keys see the message alone', (t) => {
  const bytes = signing.sign(key, encodeSet(setOf(7)))
  t.deepEqual(decodeMessage(key, bytes), { set: setOf(7) })
  t.notThrows(() => verify.check(key, bytes))
  t.throws(() => verify.check(setKey({ ...customer, customerId: 'd' }), bytes), { message: /does not match/ })
  t.throws(() => createSigning('other', { verify: ours.public }).check(key, bytes), { message: /does not match/ })
  t.throws(() => verify.check(key, createSigning('test', { signing: new Secret(foreign.private) }).sign(key, encodeSet(setOf(7)))), {
    message: /not one of FEED_VERIFY_KEYS/,
  })
  t.throws(() => verify.check(key, encodeSet(setOf(7))), { message: /not signed/ })
  t.throws(() => verify.check(key, new Uint8Array()), { message: /not signed/ })
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = Buffer.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ 1
    t.false(verify.isOurs(key, changed), `byte ${at}`)
  }
  // One key is changed for another: the new one is believed before anything is signed with it.
  const both = createSigning('test', { verify: `${ours.public},${next.public}` })
  for (const signer of [ours, next]) t.true(both.isOurs(key, createSigning('test', { signing: new Secret(signer.private) }).sign(key, encodeSet(setOf(1)))))
  for (const wrong of ['rubbish', ours.private])
    t.throws(() => createSigning('test', { verify: wrong }), { message: /^FEED_VERIFY_KEYS: must be Ed25519 keys/ })
})

const run = natsMissing ? test.skip : test
run(
  `a forged set, one of another place and one that is not signed are refused, told of, and written over${natsMissing ? ` (${natsMissing})` : ''}`,
  async (t) => {
    t.timeout(60_000)
    const server = await startNatsServer()
    t.teardown(server.stop)
    const plane = await openKept({ url: server.url, signing })
    const reader = await openReader({ url: server.url, signing: verify })
    const [heard, missing, clocks] = [[] as number[], [] as (number | undefined)[], [] as number[]]
    await reader.watch({
      onSet: ({ revision }) => heard.push(revision),
      onMissing: ({ revision }) => missing.push(revision),
      onClock: ({ nowMs }) => clocks.push(nowMs),
      onReset: () => {},
    })
    await plane.putSet(setOf(1))
    await plane.putClock({ tenantId: 't', revision: 1, nowMs: 1_000 })
    await eventually(() => heard.includes(1) && clocks.includes(1_000))
    t.like(await reader.getSet(customer), { revision: 1 })

    // Somebody who may write to the server, and has no key.
    const connection = await connect({ servers: new URL(server.url).host })
    const kv = await new Kvm(connection).open('test')
    const other = { ...customer, customerId: 'other' }
    await plane.putSet({ ...setOf(9_000), ...other })
    const ofOther = (await kv.get(setKey(other)))?.value ?? new Uint8Array()
    for (const forged of [
      encodeSet(setOf(Number.MAX_SAFE_INTEGER - 1, null)),
      createSigning('test', { signing: new Secret(foreign.private) }).sign(key, encodeSet(setOf(Number.MAX_SAFE_INTEGER - 1, null))),
      ofOther,
    ]) {
      const before = missing.length
      await kv.put(key, forged)
      await eventually(() => missing.length === before + 1)
      t.is(missing.at(-1), undefined, 'what is held is old, and nothing of it is believed')
      await t.throwsAsync(reader.getSet(customer))
    }
    await kv.put('clock.t', encodeClockMessage({ tenantId: 't', revision: 99, nowMs: 9_999_999 })).catch(() => undefined)
    t.false(heard.some((revision) => revision > 9_000 || (revision !== 1 && revision !== 9_000)))

    // The next publication, or `npm run republish`, puts the right one in its place, though its revision is lower.
    await plane.putSet(setOf(2))
    await eventually(() => heard.includes(2))
    t.like(await reader.getSet(customer), { revision: 2 })
    await plane.putClock({ tenantId: 't', revision: 2, nowMs: 2_000 })
    await eventually(() => clocks.includes(2_000))
    t.false(clocks.includes(9_999_999))

    // An installation that begins to sign: what was there is signed when it is put again, at the revision that it has.
    await kv.put(key, encodeSet(setOf(3)))
    await plane.putSet(setOf(3))
    t.like(await reader.getSet(customer), { revision: 3 })
    // Another key takes over: what was signed with the old one is signed anew at the revision that it has.
    const turned = createSigning('test', { signing: new Secret(`${next.private},${ours.private}`) })
    const renewed = await openKept({ url: server.url, signing: turned })
    await renewed.putSet(setOf(3))
    const onlyNew = await openReader({ url: server.url, signing: createSigning('test', { verify: next.public }) })
    t.like(await onlyNew.getSet(customer), { revision: 3 })
    // A state that nobody has signed is none: nothing is believed to be complete, and nothing is forgotten for it.
    await kv.put('state', JSON.stringify({ epoch: 'forged', isComplete: true }))
    await t.throwsAsync(reader.getSet({ ...customer, customerId: 'nobody' }))
    await eventually(async () => (await reader.getSet({ ...customer, customerId: 'nobody' }).catch(() => null)) === undefined)
    t.true(turned.signs && renewed.mayReorder(), 'who signs looks at storage again after it has put')
    await Promise.all([onlyNew, renewed].map((feed) => feed.close()))
    // Who has no keys goes on reading.
    const old = await openReader({ url: server.url })
    t.like(await old.getSet(customer), { revision: 3 })
    await connection.close()
    await Promise.all([plane, reader, old].map((feed) => feed.close()))
  },
)
