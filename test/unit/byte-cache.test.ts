import test from 'ava'
import fc from 'fast-check'
import { LRUCache } from 'lru-cache'
import { ByteCache, createByteCacheMemory, keyHash } from '../../sidecar/replica/cache/byte-cache.ts'
import { seededRandom } from '../support/seeded-random.ts'

const RING_BYTES = 64 * 1024

/** A cache of texts by texts, over the ring. */
const create = (maxBytes: number) => {
  const freed: string[] = []
  const cache: ByteCache = new ByteCache({ memory: createByteCacheMemory(maxBytes), onFree: (at) => freed.push(read(at)) })
  const read = (at: number) => Buffer.from(cache.bytes.slice(at + 8, at + 8 + (cache.words[at >>> 2] as number))).toString()
  const put = (key: string, text: string) => {
    const [name, value] = [Buffer.from(key), Buffer.from(text)]
    const at = cache.change(() => cache.put(name, name.length, keyHash(name, name.length), 8 + value.length))
    if (at < 0) return false
    cache.words[at >>> 2] = value.length
    cache.bytes.set(value, at + 8)
    return true
  }
  const get = (key: string) => {
    const name = Buffer.from(key)
    const at = cache.find(name, name.length, keyHash(name, name.length))
    return at < 0 ? undefined : read(at)
  }
  const remove = (key: string) => {
    const name = Buffer.from(key)
    return cache.change(() => cache.delete(name, name.length, keyHash(name, name.length)))
  }
  return { cache, freed, put, get, remove, read }
}

test('the cache holds what a map holds, for as long as there is room', (t) => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.record({ act: fc.constant('put' as const), key: fc.integer({ min: 0, max: 60 }), size: fc.integer({ min: 0, max: 200 }) }),
          fc.record({ act: fc.constantFrom('get' as const, 'remove' as const), key: fc.integer({ min: 0, max: 60 }), size: fc.constant(0) }),
          fc.record({ act: fc.constant('clear' as const), key: fc.constant(0), size: fc.constant(0) }, { noNullPrototype: true }),
        ),
        { maxLength: 150 },
      ),
      (acts) => {
        const { cache, put, get, remove, read } = create(RING_BYTES)
        const model = new Map<string, string>()
        for (const [n, { act, key, size }] of acts.entries()) {
          const name = `key ${key}`
          const text = `${n}:${'x'.repeat(size)}`
          if (act === 'put') {
            put(name, text)
            model.set(name, text)
          } else if (act === 'remove') t.is(remove(name), model.delete(name))
          else if (act === 'clear') {
            cache.change(() => cache.clear())
            model.clear()
          }
          if (get(name) !== model.get(name)) t.fail(`${name} is ${get(name)}, not ${model.get(name)}`)
          if (cache.size !== model.size) t.fail(`it says ${cache.size}, not ${model.size}`)
        }
        const held = cache.scan(cache.oldest, 10_000).records.map(({ key, payloadAt }) => [Buffer.from(key).toString(), read(payloadAt)])
        t.deepEqual(held.sort(), [...model].sort())
      },
    ),
    { numRuns: 400 },
  )
})

test('a full cache stays within its bytes, answers right or not at all, and reports everything that it frees', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1_000_000 }), (seed) => {
      const { cache, freed, put, get } = create(RING_BYTES)
      const next = seededRandom(seed)
      const model = new Map<string, string>()
      for (let n = 0; n < 6_000; n += 1) {
        const key = `key ${Math.floor(next() ** 2 * 2_000)}`
        if (next() < 0.4) {
          const text = `${n}:${'y'.repeat(Math.floor(next() * 300))}`
          t.true(put(key, text))
          model.set(key, text)
          if (get(key) !== text) t.fail('what was just written is gone')
        } else {
          const got = get(key)
          if (got !== undefined && got !== model.get(key)) t.fail(`${key} is ${got}, not ${model.get(key)}`)
        }
        if (cache.usedBytes > cache.maxBytes) t.fail('more than its bytes')
      }
      t.true(cache.evictions > 0)
      const held = cache.scan(cache.oldest, 10_000).records
      t.is(held.length, cache.size)
      // Each text that was written is held, or was told of when it was freed or replaced.
      const all = new Set([
        ...freed,
        ...held.map(({ payloadAt }) => Buffer.from(cache.bytes.slice(payloadAt + 8, payloadAt + 8 + (cache.words[payloadAt >>> 2] as number))).toString()),
      ])
      t.true([...model.values()].every((text) => all.has(text)))
    }),
    { numRuns: 25 },
  )
})

test("the cache keeps popular records: its hit rate is within a few points of lru-cache's", (t) => {
  const { cache, put, get } = create(RING_BYTES)
  const value = 'z'.repeat(64)
  // Of equal records: how many there is room for.
  for (let n = 0; cache.evictions === 0; n += 1) put(`fill ${String(n).padStart(6, '0')}`, value)
  const lru = new LRUCache<string, string>({ max: cache.size })
  cache.change(() => cache.clear())
  const next = seededRandom(7)
  let [ours, theirs] = [0, 0]
  const rounds = 60_000
  for (let n = 0; n < rounds; n += 1) {
    // A few are asked for often, most seldom; and every third one is never asked for again.
    const key = n % 3 === 0 ? `once ${String(n).padStart(6, '0')}` : `fill ${String(Math.floor(next() ** 4 * 5_000)).padStart(6, '0')}`
    if (get(key) === undefined) put(key, value)
    else ours += 1
    if (lru.get(key) === undefined) lru.set(key, value)
    else theirs += 1
  }
  t.log(`found ${((100 * ours) / rounds).toFixed(1)} %; lru-cache ${((100 * theirs) / rounds).toFixed(1)} %`)
  t.true(ours > 0.95 * theirs)
})

test('the cache refuses a record larger than a quarter of it, and drops the one that it would have replaced', (t) => {
  const { put, get, cache } = create(RING_BYTES)
  t.true(put('a', 'small'))
  t.false(put('a', 'x'.repeat(RING_BYTES / 3)))
  t.is(get('a'), undefined)
  t.is(cache.size, 0)
})

test('a large cache is as large as requested, as far as offsets go', (t) => {
  const GiB = 1024 ** 3
  for (const bytes of [1.5 * GiB, 2.3 * GiB, 3 * GiB]) t.is(createByteCacheMemory(bytes).ring.byteLength, Math.ceil(bytes / 8) * 8)
  t.true(createByteCacheMemory(4 * GiB).ring.byteLength > 3.9 * GiB)
})
