/** Two control planes append to one audit log; what is done to it afterwards shows. On every real storage. */
import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import { blockHash } from '../../control-plane/audit/chain.ts'
import type { AuditEntry } from '../../control-plane/audit/entry.ts'
import { removeExpiredBlocks } from '../../control-plane/audit/expire.ts'
import { blocksForward, entriesOf, newestFirst, type Place } from '../../control-plane/audit/read.ts'
import { createAuditTrail } from '../../control-plane/audit/trail.ts'
import { verifyChain } from '../../control-plane/audit/verify.ts'
import { keys } from '../../control-plane/keys.ts'
import type { AuditBlock } from '../../control-plane/schemas/audit-block.ts'
import type { Storage } from '../../control-plane/storage/storage.ts'
import { mongodbMissing } from '../support/mongodb.ts'
import { mongodb, type Stores, sqlite } from '../support/two-stores.ts'

const entry = (requestId: string): AuditEntry => ({
  at: new Date().toISOString(),
  requestId,
  event: 'begun',
  actor: { kind: 'api_key', id: 'k', name: null, role: 'admin' },
  from: '127.0.0.1',
  action: 'patch /v1/storefronts/{storefront}',
  resource: { storefront: 's' },
  reason: null,
})

const everything = { matches: () => true }
const DAY_MS = 86_400_000
const TENANT = 'audited'

const written = async (storage: Storage): Promise<AuditBlock[]> => {
  const blocks: AuditBlock[] = []
  for await (const block of blocksForward(storage, TENANT)) blocks.push(block)
  return blocks
}

for (const { name, open, missing } of [
  { name: 'SQLite', open: sqlite, missing: undefined },
  { name: 'MongoDB', open: mongodb, missing: mongodbMissing },
]) {
  if (missing !== undefined) {
    test.skip(`the audit log on ${name} (${missing})`, () => {})
    continue
  }

  const withLog = async (entries: number, run: (stores: Stores, blocks: AuditBlock[]) => Promise<void>) => {
    const stores = await open()
    try {
      const [one, other] = [stores.a, stores.b].map((storage) => createAuditTrail({ storage, clock: systemClock }, 7))
      // In several goes, so that there are several blocks.
      for (let n = 0; n < entries; n += 20)
        await Promise.all(Array.from({ length: 20 }, (_, m) => (m % 2 === 0 ? one : other)?.append(TENANT, entry(`req_${n + m}`))))
      await run(stores, await written(stores.a))
    } finally {
      await stores.close()
    }
  }

  test(`the audit log on ${name}: simultaneous appends lose nothing, double nothing, and keep the chain`, async (t) => {
    await withLog(400, async ({ b }, blocks) => {
      const ids = blocks.flatMap(entriesOf).map(({ requestId }) => requestId)
      t.is(ids.length, 400)
      t.is(new Set(ids).size, 400)
      t.true(blocks.length > 20)
      const { problems, head } = await verifyChain(b, TENANT, new Date())
      t.deepEqual(problems, [])
      t.is(head?.seq, blocks.length)

      // Backwards, in pages, it is the same.
      const backwards: string[] = []
      let next: Place | undefined
      do {
        const page = await newestFirst(b, TENANT, everything, 17, next)
        backwards.push(...page.entries.map(({ requestId }) => requestId))
        next = page.next
      } while (next)
      t.deepEqual(backwards.toReversed(), ids)
      // From the middle of its time on, and up to it.
      const middle = blocks[Math.floor(blocks.length / 2)]?.createdAt as Date
      const after = await newestFirst(b, TENANT, { from: middle, ...everything }, 1_000)
      const before = await newestFirst(b, TENANT, { to: new Date(middle.getTime() - 1), matches: ({ at }) => new Date(at) < middle }, 1_000)
      t.true(after.entries.length >= 180 && before.entries.length >= 150, `${after.entries.length} and ${before.entries.length}`)
    })
  })

  test(`the audit log on ${name}: a block that is changed, removed, moved or cut off shows`, async (t) => {
    const after = async (tamper: (storage: Storage, blocks: AuditBlock[]) => Promise<void>, withExpected = false): Promise<string[]> => {
      let found: string[] = []
      await withLog(120, async ({ a }, blocks) => {
        const head = blocks.at(-1)
        await tamper(a, blocks)
        found = (await verifyChain(a, TENANT, new Date(), withExpected ? head : undefined)).problems
      })
      return found
    }
    const of = (blocks: AuditBlock[], seq: number) => blocks[seq - 1] as AuditBlock
    t.deepEqual(await after(async () => {}), [])
    t.deepEqual(await after((storage, blocks) => storage.auditBlocks.replace({ ...of(blocks, 3), entries: '[]' }).then(() => {})), ['block 3 was changed'])
    // One who computes the hash anew breaks the next.
    t.deepEqual(
      await after(async (storage, blocks) => {
        const changed = { ...of(blocks, 3), entries: '[]' }
        await storage.auditBlocks.replace({ ...changed, hash: blockHash(changed) })
      }),
      ['block 4 does not follow block 3: one of them was replaced'],
    )
    t.deepEqual(await after((storage, blocks) => storage.auditBlocks.remove(of(blocks, 4))), ['block 4 was removed'])
    t.deepEqual(await after((storage, blocks) => storage.auditBlocks.remove(of(blocks, 1))), ['block 1 was removed too early'])
    // Who cuts the end off leaves a chain that is whole: it shows to whoever has kept its head.
    const cut = async (storage: Storage, blocks: AuditBlock[]) => storage.auditBlocks.remove(blocks.at(-1) as AuditBlock)
    t.deepEqual(await after(cut), [])
    t.regex((await after(cut, true))[0] ?? '', /^the expected block \d+ is missing$/)
    // So does who writes all of it anew.
    const anew = async (storage: Storage, blocks: AuditBlock[]) => {
      let before: AuditBlock | undefined
      for (const block of blocks) {
        const changed = { ...block, entries: block.seq === 2 ? '[]' : block.entries, previous: before?.hash ?? '' }
        before = await storage.auditBlocks.replace({ ...changed, hash: blockHash(changed) })
      }
    }
    t.deepEqual(await after(anew), [])
    t.regex((await after(anew, true))[0] ?? '', /does not have the expected hash/)
  })

  test(`the audit log on ${name}: expired blocks go in their order, and the newest stays`, async (t) => {
    await withLog(120, async ({ a, b }, blocks) => {
      const head = blocks.at(-1) as AuditBlock
      const third = blocks[2] as AuditBlock
      const at = (date: Date) => ({ now: () => date, nowMs: () => date.getTime() })
      // Cut off after two: what is left has no gap, and is gone on with.
      let left = 2
      t.is(await removeExpiredBlocks({ storage: a, clock: at(third.expiresAt) }, () => left-- > 0), 2)
      await createAuditTrail({ storage: b, clock: systemClock }, 7).append(TENANT, entry('meanwhile'))
      t.deepEqual((await verifyChain(a, TENANT, third.expiresAt)).problems, [])
      t.truthy(await a.auditBlocks.find(keys.auditBlock(TENANT, head.seq + 1)))
      // A head that was kept and is past its time is nobody's fault.
      t.deepEqual((await verifyChain(a, TENANT, third.expiresAt, { seq: 1, hash: blocks[0]?.hash ?? '' })).problems, [])
      const late = at(new Date(head.expiresAt.getTime() + 30 * DAY_MS))
      const removed = await Promise.all([removeExpiredBlocks({ storage: a, clock: late }), removeExpiredBlocks({ storage: b, clock: late })])
      t.is(
        removed.reduce((sum, one) => sum + one, 0),
        head.seq - 2,
      )
      t.is((await written(a)).length, 1)
      await createAuditTrail({ storage: b, clock: late }, 7).append(TENANT, entry('after all'))
      t.deepEqual(
        (await written(a)).map(({ seq }) => seq),
        [head.seq + 1, head.seq + 2],
      )
      t.deepEqual((await verifyChain(a, TENANT, late.now())).problems, [])
    })
  })

  test(`the audit log on ${name}: expired blocks may go, and the rest is whole`, async (t) => {
    await withLog(120, async ({ a }, blocks) => {
      const then = (blocks[2] as AuditBlock).expiresAt
      for (const block of blocks.slice(0, 3)) await a.auditBlocks.remove(block)
      t.deepEqual((await verifyChain(a, TENANT, then)).problems, [])
      // Before its time it may not.
      t.deepEqual((await verifyChain(a, TENANT, new Date(then.getTime() - 7 * DAY_MS))).problems, ['block 3 was removed too early'])
      // It is gone on with where it ended.
      await createAuditTrail({ storage: a, clock: systemClock }, 7).append(TENANT, entry('last'))
      t.truthy(await a.auditBlocks.find(keys.auditBlock(TENANT, blocks.length + 1)))
      t.is((await newestFirst(a, TENANT, everything, 1)).entries[0]?.requestId, 'last')
    })
  })
}
