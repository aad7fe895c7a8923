/**
 * `npm run bench:cold-miss`: what signatures add to a cold miss, the first question about a customer. Over a real nats-server a sidecar's
 * replica is asked about customers that it does not hold, one after another, of a bucket that is signed and one that is not, in
 * turns. Printed are the time of a question (median over the rounds) and the processor time of this process for each, and the
 * ratio of the two buckets in the same run.
 */
import { generateKeyPairSync } from 'node:crypto'
import { parseArgs } from 'node:util'
import { systemClock } from '../common/clock.ts'
import { createNatsFeed } from '../common/feed/nats/feed.ts'
import { createSigning } from '../common/feed/signing.ts'
import { createLog } from '../common/log.ts'
import { Secret } from '../common/secret.ts'
import { natsMissing, startNatsServer } from '../test/support/nats-server.ts'
import { customerId, STOREFRONT, setOf, TENANT } from './sidecar/population.ts'

const { values } = parseArgs({
  options: { customers: { type: 'string', default: '2000' }, rounds: { type: 'string', default: '9' } },
})
const [customers, rounds] = [Number(values.customers), Number(values.rounds)]
if (natsMissing !== undefined) throw new Error(natsMissing)

const log = createLog('silent')
const server = await startNatsServer()
const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const signing = new Secret(privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64'))
const verify = publicKey.export({ type: 'spki', format: 'der' }).toString('base64')

const open = async (bucket: string, signed: boolean) => {
  const common = { url: new Secret(server.url), bucket, clock: systemClock, log }
  const writer = await createNatsFeed({ ...common, keeps: {}, ...(signed ? { signing: createSigning(bucket, { signing }) } : {}) })
  for (let n = 0; n < customers; n += 1) await writer.putSet(setOf(n))
  await writer.close()
  return createNatsFeed({ ...common, ...(signed ? { signing: createSigning(bucket, { verify }) } : {}) })
}

const median = (numbers: number[]): number => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN

const feeds = { signed: await open('signed', true), unsigned: await open('unsigned', false) }
const took = { signed: [] as number[], unsigned: [] as number[] }
const cpu = { signed: [] as number[], unsigned: [] as number[] }
try {
  for (let round = 0; round <= rounds; round += 1)
    for (const name of ['signed', 'unsigned'] as const) {
      const [from, used] = [performance.now(), process.cpuUsage()]
      for (let n = 0; n < customers; n += 1) {
        const set = await feeds[name].getSet({ tenantId: TENANT, storefrontId: STOREFRONT, customerId: customerId(n) })
        if (!set) throw new Error('a set is not there')
      }
      const { user, system } = process.cpuUsage(used)
      // The first round warms up.
      if (round === 0) continue
      took[name].push(((performance.now() - from) * 1_000) / customers)
      cpu[name].push((user + system) / customers)
    }
} finally {
  await Promise.all(Object.values(feeds).map((feed) => feed.close()))
  await server.stop()
}
const say = (what: string, { signed, unsigned }: typeof took) =>
  process.stdout.write(
    `${what}: signed ${median(signed).toFixed(0)} µs, unsigned ${median(unsigned).toFixed(0)}, ratio ${(median(signed) / median(unsigned)).toFixed(3)}\n`,
  )
say('a cold read takes', took)
say('processor time of it', cpu)
