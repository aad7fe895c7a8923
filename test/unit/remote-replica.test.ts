import { MessageChannel } from 'node:worker_threads'
import test from 'ava'
import { systemClock } from '../../common/clock.ts'
import { readConfig } from '../../common/config.ts'
import type { DictionaryChange } from '../../sidecar/replica/cache/dictionary.ts'
import { SetCache } from '../../sidecar/replica/cache/set-cache.ts'
import { createRemoteReplica } from '../../sidecar/workers/remote-replica.ts'
import { setOf } from '../support/sidecar.ts'

test('a set is never said to be current at a time when another thread had replaced it', (t) => {
  const main = new SetCache(1024 * 1024)
  const changes: DictionaryChange[] = []
  main.dictionary.follow((change) => changes.push(change))
  main.set(setOf('anna', 1), 100)
  const [asOf, live] = [new SharedArrayBuffer(8), new SharedArrayBuffer(4)]
  const age = new Float64Array(asOf)
  age[0] = 1_000
  const { port1 } = new MessageChannel()
  t.teardown(() => port1.close())
  const replica = createRemoteReplica({ config: readConfig({}), callerKeys: undefined, port: 0, memory: main.memory, asOf, live }, port1, systemClock, {
    tell: (error) => t.fail(String(error)),
  })
  replica.hear({ kind: 'dictionary', changes })
  const { customerId, storefrontId, tenantId } = setOf('anna')
  const customer = { tenantId, storefrontId, customerId }
  // The main thread goes on while this one has read the set, and not said so yet.
  const read = replica.cache.get.bind(replica.cache)
  replica.cache.get = (of) => {
    const found = read(of)
    main.set(setOf('anna', 2), 2_000)
    age[0] = 2_000
    return found
  }
  const known = replica.current(customer)
  t.is(known?.set?.revision, 1)
  t.is(known && replica.asOfMs(known), 1_000)
  const next = replica.held(customer)
  t.is(next?.set?.revision, 2)
  t.is(next && replica.asOfMs(next), 2_000)
})
