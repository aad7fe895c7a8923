/** Everything that a customer holds, at every change, by a stream that is opened again when it is cut. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { WatchEntitlementsRequest, WatchEntitlementsResponse } from '../proto/gen/entitlement/v1/entitlement.ts'
import { createBackoff } from './backoff.ts'
import type { Connection } from './connection.ts'
import { isUnknown } from './errors.ts'
import { isOlder, type Version } from './version.ts'

const versionOf = ({ customerKnown, revision, asOf }: WatchEntitlementsResponse): Version => ({
  customerKnown,
  revision: Number(revision),
  asOfMs: Number(asOf ?? 0),
})

/** @throws TollgateError if the sidecar refuses, or the connection is closed; the signal's reason. */
export async function* watchHoldings(
  connection: Pick<Connection, 'watch' | 'toError'>,
  request: WatchEntitlementsRequest,
  signal: AbortSignal | undefined,
): AsyncGenerator<WatchEntitlementsResponse> {
  const backoff = createBackoff()
  let last: Version | undefined
  for (;;) {
    signal?.throwIfAborted()
    const stream = connection.watch(request)
    const cancel = () => stream.cancel()
    signal?.addEventListener('abort', cancel, { once: true })
    try {
      for await (const response of stream as AsyncIterable<WatchEntitlementsResponse>) {
        backoff.reset()
        const version = versionOf(response)
        // Another sidecar may send it, one that is behind.
        if (last && isOlder(version, last)) continue
        last = version
        yield response
      }
    } catch (thrown) {
      signal?.throwIfAborted()
      const error = connection.toError(thrown)
      if (!isUnknown(error)) throw error
    } finally {
      signal?.removeEventListener('abort', cancel)
      stream.on('error', () => undefined).cancel()
    }
    await sleep(backoff.nextMs(), undefined, { signal }).catch(() => signal?.throwIfAborted())
  }
}
