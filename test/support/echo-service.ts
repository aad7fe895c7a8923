/** A service of three methods, for tests of what carries it: Echo answers what it was asked, Never answers nobody, Flood answers with much. */
import type { ServerUnaryCall, ServerWritableStream, ServiceDefinition, sendUnaryData } from '@grpc/grpc-js'
import { untilDrained } from '../../sidecar/service/until-drained.ts'

const same = (bytes: Buffer) => bytes
const method = (name: string, responseStream: boolean) => ({
  path: `/test.Raw/${name}`,
  requestStream: false,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
})

export const echoService = { echo: method('Echo', false), never: method('Never', false), flood: method('Flood', true) } satisfies ServiceDefinition

export const echoHandlers = {
  echo: (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => callback(null, call.request),
  never: () => undefined,
  /** As fast as it is let: 200 messages of 64 KiB. */
  flood: async (call: ServerWritableStream<Buffer, Buffer>) => {
    for (let n = 0; n < 200 && !call.cancelled; n += 1) {
      if (!call.write(Buffer.alloc(65_536, n))) await untilDrained(call)
    }
    call.end()
  },
}
