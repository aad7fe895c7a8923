/** The gRPC server: the entitlement service, standard health checking and reflection, and a drain that drops nobody. */
import { readFileSync } from 'node:fs'
import { BinaryReader } from '@bufbuild/protobuf/wire'
import type { Server as GrpcServer } from '@grpc/grpc-js'
import { ReflectionService } from '@grpc/reflection'
import { HealthImplementation } from 'grpc-health-check'
import { cannotListen } from '../common/config.ts'
import { EntitlementServiceService } from '../proto/gen/entitlement/v1/entitlement.ts'
import type { EntitlementService } from './entitlement-service.ts'
import type { Transport } from './transport/transport.ts'

/** Calls in flight get this long; then they are cut. */
const DRAIN_MS = 5_000
const SERVICE = 'entitlement.v1.EntitlementService'

export interface SidecarServer {
  /** `host:port`, with the port that was given out. */
  address: string
  setServing(serving: boolean): void
  close(): Promise<void>
}

/** The files of a serialised FileDescriptorSet: https://protobuf.com/docs/descriptors. */
const filesOf = (name: string): Buffer[] => {
  const reader = new BinaryReader(readFileSync(new URL(`../proto/gen/${name}.binpb`, import.meta.url)))
  const files: Buffer[] = []
  while (reader.pos < reader.len) {
    reader.tag()
    files.push(Buffer.from(reader.bytes()))
  }
  return files
}

/** From the compiler's own descriptors: those that @grpc/proto-loader makes up name well-known types wrongly. */
const addReflection = (server: GrpcServer) => {
  // Of an entry the service reads the descriptors alone.
  const described = { format: 'Protocol Buffer 3 EnumDescriptorProto', type: {}, fileDescriptorProtos: ['entitlement', 'health'].flatMap(filesOf) } as const
  new ReflectionService({ described }).addToServer(server)
}

export const startServer = async (options: { transport: Transport; host: string; port: number; service: EntitlementService }): Promise<SidecarServer> => {
  const { transport } = options
  transport.addService(EntitlementServiceService, options.service.handlers)
  const health = new HealthImplementation({ '': 'NOT_SERVING', [SERVICE]: 'NOT_SERVING' })
  // Of a server they only add services to it.
  health.addToServer(transport as unknown as GrpcServer)
  addReflection(transport as unknown as GrpcServer)
  const port = await transport.listen(options.host, options.port).catch((error: NodeJS.ErrnoException) => {
    throw cannotListen('GRPC_PORT', options.port, error)
  })
  const setServing = (serving: boolean) => {
    for (const name of ['', SERVICE]) health.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING')
  }
  return {
    address: `${options.host}:${port}`,
    setServing,
    close: async () => {
      setServing(false)
      options.service.endWatches()
      await transport.close(DRAIN_MS)
    },
  }
}
