import { EventEmitter } from 'node:events'
import test from 'ava'
import { untilDrained } from '../../sidecar/service/until-drained.ts'

test('a wait leaves no listener behind, however often a long watch has to wait', async (t) => {
  const stream = new EventEmitter()
  for (const event of ['drain', 'close']) {
    const waited = untilDrained(stream)
    stream.emit(event)
    await waited
    t.is(stream.listenerCount('drain') + stream.listenerCount('close'), 0)
  }
})
