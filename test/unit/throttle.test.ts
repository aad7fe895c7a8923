import test from 'ava'
import { AppError } from '../../common/errors.ts'
import { createLog } from '../../common/log.ts'
import type { Caller } from '../../control-plane/access/caller.ts'
import { createThrottle, RateLimitedError } from '../../control-plane/http/throttle.ts'

const told: string[] = []
const log = { ...createLog('silent'), warn: (_: unknown, message: string) => void told.push(message) } as unknown as ReturnType<typeof createLog>
const caller: Caller = { kind: 'api_key', id: 'k', role: 'admin', permissions: new Set(), tenantId: 't' }
const open = () => createThrottle({ requestsPerSecond: 10, atOnce: 3, bytesPerSecond: 1_000, openRequestsPerSecond: 4, wrongKeysPerMinute: 5, log })

test('a guesser is not even looked up after a while; a caller behind the same address with a key goes on', async (t) => {
  const throttle = open()
  let lookedUp = 0
  const guess = () =>
    throttle.authenticated('1.2.3.4', `guess-${lookedUp}`, async () => {
      lookedUp += 1
      throw new AppError('unauthenticated', 'no')
    })
  await throttle.authenticated('1.2.3.4', 'right', async () => caller)
  for (let n = 0; n < 5; n += 1) await t.throwsAsync(guess(), { message: 'no' })
  for (let n = 0; n < 100; n += 1) {
    const error = await t.throwsAsync(guess(), { instanceOf: RateLimitedError })
    t.true((error?.retryAfterS ?? 0) > 0)
  }
  // Few of them, for others may be behind the same address.
  t.true(lookedUp <= 5 + 2 * 10, `${lookedUp} were looked up`)
  t.is(throttle.failures(), lookedUp)
  t.is(await throttle.authenticated('1.2.3.4', 'right', async () => caller), caller)
  t.is(await throttle.authenticated('5.6.7.8', 'other', async () => caller), caller)
  // A key that was right and is not any more is a wrong one.
  await t.throwsAsync(
    throttle.authenticated('1.2.3.4', 'right', async () => {
      throw new AppError('unauthenticated', 'revoked')
    }),
    { message: 'revoked' },
  )
  // One that is right is found behind the same address, too: at once, or in the next second.
  await new Promise((resolve) => setTimeout(resolve, 1_100))
  t.is(await throttle.authenticated('1.2.3.4', 'unseen', async () => caller), caller)
  t.is(told.length, 2)
})

test('one key has a number of requests running, and per second; others have their own', async (t) => {
  const throttle = open()
  const running = await Promise.all([1, 2, 3].map(() => throttle.begin(caller)))
  await t.throwsAsync(throttle.begin(caller), { instanceOf: RateLimitedError, message: /KEY_CONCURRENCY/ })
  t.is((await throttle.begin({ ...caller, tenantId: 'u' })).headers['ratelimit-policy'], '"key";q=10;w=1')
  for (const { end } of running) end()
  for (let n = 0; n < 7; n += 1) (await throttle.begin(caller)).end()
  await t.throwsAsync(throttle.begin(caller), { instanceOf: RateLimitedError, message: /KEY_REQUESTS_PER_SECOND/ })
  // What was refused does not count as running.
  await new Promise((resolve) => setTimeout(resolve, 1_100))
  for (let n = 0; n < 3; n += 1) t.truthy((await throttle.begin(caller)).headers.ratelimit)
})

test("nothing bounds the operator's own key", async (t) => {
  const throttle = open()
  for (let n = 0; n < 50; n += 1)
    t.deepEqual((await throttle.begin({ kind: 'platform', id: 'platform', role: 'platform', permissions: new Set() })).headers, {})
})

test('one key has a number of bytes per second, and one address a number of requests without a key', async (t) => {
  const throttle = open()
  const platform: Caller = { kind: 'platform', id: 'platform', role: 'platform', permissions: new Set() }
  await throttle.took(caller, 600)
  await throttle.took(caller, 400)
  await t.throwsAsync(throttle.took(caller, 1), { instanceOf: RateLimitedError, message: /KEY_BYTES_PER_SECOND/ })
  await throttle.took({ ...caller, id: 'another' }, 1_000)
  await throttle.took(platform, 1_000_000)
  for (let n = 0; n < 4; n += 1) await throttle.open('1.2.3.4')
  const error = await t.throwsAsync(throttle.open('1.2.3.4'), { instanceOf: RateLimitedError, message: /OPEN_REQUESTS_PER_SECOND/ })
  t.is(error?.retryAfterS, 1)
  await throttle.open('5.6.7.8')
})

test('many guesses at once are looked at no more often than as many one after another', async (t) => {
  const throttle = createThrottle({
    requestsPerSecond: 10,
    atOnce: 3,
    bytesPerSecond: 1_000,
    openRequestsPerSecond: 4,
    wrongKeysPerMinute: 20,
    log: createLog('silent'),
  })
  let looked = 0
  const guess = (address: string) =>
    throttle.guessed(address, async () => {
      looked += 1
      await new Promise((resolve) => setTimeout(resolve, 5))
      throw new AppError('unauthenticated', 'no')
    })
  const outcomes = await Promise.allSettled(Array.from({ length: 500 }, () => guess('1.2.3.4')))
  t.true(outcomes.every(({ status }) => status === 'rejected'))
  t.true(looked <= 20 + 20 + 20, `${looked} were looked at`)
  // An IPv6 address is one of a whole network of the same owner.
  looked = 0
  await Promise.allSettled(Array.from({ length: 200 }, (_, n) => guess(`2001:db8:1:2::${n.toString(16)}`)))
  t.true(looked <= 60, `${looked} were looked at`)
})
