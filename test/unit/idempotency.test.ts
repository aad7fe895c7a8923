/** Which answer is kept for an Idempotency-Key when a request and a repeat that took it for dead both come to an end. */
import test from 'ava'
import { createLog } from '../../common/log.ts'
import { Secret } from '../../common/secret.ts'
import { type GivenAnswer, onceAKey } from '../../control-plane/http/idempotency.ts'
import type { Services } from '../../control-plane/ports.ts'
import { createSqliteStorage } from '../../control-plane/storage/sqlite.ts'

const request = { key: 'k', callerId: 'caller', secret: 'Bearer s', tenantId: 't', parts: ['post', '/', { credentials: { secretKey: new Secret('sk_1') } }] }
const answer = (body: string, isUnderWay = false): GivenAnswer => ({ status: 201, body, isUnderWay })

const open = () => {
  let nowMs = Date.UTC(2024, 0, 1)
  const clock = { now: () => new Date(nowMs), nowMs: () => nowMs }
  const services = { storage: createSqliteStorage({ path: ':memory:', clock }), clock, log: createLog('silent') } as unknown as Services
  const seeds: string[] = []
  /** A request whose work goes on until it is told how it ends. */
  const begin = async () => {
    const { promise: work, resolve: end, reject: fail } = Promise.withResolvers<GivenAnswer>()
    const { promise: hasBegun, resolve: begun } = Promise.withResolvers<void>()
    const given = onceAKey(services, request, (seed) => {
      seeds.push(seed)
      begun()
      return work
    })
    given.catch(() => undefined)
    await hasBegun
    return {
      end: async (with_: GivenAnswer) => {
        end(with_)
        return (await given).body
      },
      fail: async () => {
        fail(new Error('it broke'))
        await given.catch(() => undefined)
      },
    }
  }
  const repeat = (change: Partial<typeof request> = {}) =>
    onceAKey(services, { ...request, ...change }, async () => {
      throw new Error('done again')
    })
  return {
    begin,
    repeat,
    seeds,
    /** Sooner than any renewal comes: as if the process had stood still. */
    stall: () => {
      nowMs += 6_000
    },
  }
}

test('a repeat with another secret is another request', async (t) => {
  const { begin, repeat } = open()
  await (await begin()).end(answer('made'))
  const withSecret = (text: string) => ({ parts: ['post', '/', { credentials: { secretKey: new Secret(text) } }] })
  t.like(await repeat(withSecret('sk_1')), { body: 'made', replayed: true })
  await t.throwsAsync(repeat(withSecret('sk_2')), { code: 'idempotency_key_reused' })
})

test('an answer is kept, and what is under way is not', async (t) => {
  const { begin, repeat, seeds } = open()
  t.is(await (await begin()).end(answer('on its way', true)), 'on its way')
  t.is(await (await begin()).end(answer('paid')), 'paid')
  t.like(await repeat(), { body: 'paid', status: 201, replayed: true })
  t.is(new Set(seeds).size, 1, 'both made the same ids')
})

test('a request that was thought dead keeps its result, if the repeat came to nothing final', async (t) => {
  for (const firstEndsFirst of [true, false]) {
    const { begin, repeat, stall, seeds } = open()
    const first = await begin()
    await t.throwsAsync(repeat(), { message: /still running/ })
    stall()
    const second = await begin()
    t.is(new Set(seeds).size, 1)
    const ends = [() => first.end(answer('paid')), () => second.end(answer('on its way', true))]
    for (const end of firstEndsFirst ? ends : ends.toReversed()) await end()
    t.like(await repeat(), { body: 'paid', replayed: true })
  }
})

test('the answer that was kept first stays, if two requests came to an end', async (t) => {
  const { begin, repeat, stall } = open()
  const first = await begin()
  stall()
  const second = await begin()
  await second.end(answer('second'))
  t.is(await first.end(answer('first')), 'first')
  t.like(await repeat(), { body: 'second', replayed: true })
})

test('a request that fails gives its key back, and not that of the repeat which took over', async (t) => {
  const { begin, repeat, stall } = open()
  const first = await begin()
  stall()
  const second = await begin()
  await first.fail()
  await t.throwsAsync(repeat(), { message: /still running/ })
  await second.fail()
  t.is(await (await begin()).end(answer('third')), 'third')
})
