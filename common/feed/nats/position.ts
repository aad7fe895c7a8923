/** How far the stream of a bucket is, asked by who may not ask for its state. */
import { setTimeout as sleep } from 'node:timers/promises'
import { AckPolicy, DeliverPolicy, type JetStreamManager } from '@nats-io/jetstream'
import { nanos, nuid } from '@nats-io/transport-node'
import { streamOf, subjectOfKey } from './names.ts'
import { BEAT_KEY } from './state.ts'

/** A server of a cluster may be behind for a moment: it is asked again so often, and so long after. */
const [ASK_AGAIN_TIMES, ASK_AGAIN_MS] = [20, 100]
/** After this time, the server removes a consumer that only asks for the stream's position. */
const PROBE_MS = 1_000

/** How far the stream is. */
export interface Position {
  /** Identifies the bucket: another one of the same name starts its sequences again. Empty where this user may not know. */
  created: string
  lastSequence: number
}

/**
 * The stream's state would list everybody's keys, too. A consumer of what comes from now on says where it begins. The servers
 * of a cluster agree on it before it is made: one that is cut off says nothing.
 * @param atLeast where the stream is known to have been. What is less after all is said, too: then it has lost something.
 * @throws JetStreamApiError when there is no stream.
 */
export const askByProbe = async (manager: JetStreamManager, name: string, atLeast: number): Promise<Position> => {
  for (let times = 1; ; times += 1) {
    const { delivered } = await manager.consumers.add(streamOf(name), {
      name: nuid.next(),
      filter_subject: subjectOfKey(name, BEAT_KEY),
      deliver_policy: DeliverPolicy.New,
      ack_policy: AckPolicy.None,
      mem_storage: true,
      num_replicas: 1,
      inactive_threshold: nanos(PROBE_MS),
    })
    if (delivered.stream_seq >= atLeast || times === ASK_AGAIN_TIMES) return { created: '', lastSequence: delivered.stream_seq }
    await sleep(ASK_AGAIN_MS)
  }
}
