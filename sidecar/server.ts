/** The gRPC server: the entitlement service, standard health checking and reflection, and a drain that drops nobody. */
import { readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { BinaryReader } from '@bufbuild/protobuf/wire'
import type { Server as GrpcServer, ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js'
import { ReflectionService } from '@grpc/reflection'
import { HealthImplementation } from 'grpc-health-check'
import { ConfigError, cannotListen } from '../common/config.ts'
import { EntitlementServiceService } from '../proto/gen/entitlement/v1/entitlement.ts'
import type { DirectMethods } from './service/direct-check.ts'
import type { EntitlementService } from './service/entitlement-service.ts'
import { type FlagdService, flagdV1, flagdV2 } from './service/flagd-service.ts'
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

/** Adds reflection from the compiler's own descriptors: those that @grpc/proto-loader makes up name well-known types wrongly. */
const addReflection = (server: GrpcServer) => {
  // Of an entry the service reads the descriptors alone.
  const described = { format: 'Protocol Buffer 3 EnumDescriptorProto', type: {}, fileDescriptorProtos: ['entitlement', 'health'].flatMap(filesOf) } as const
  new ReflectionService({ described }).addToServer(server)
}

/** A socket that nobody listens on any more is what a process left that was killed. */
const listenOnPath = async (transport: Transport, path: string): Promise<void> => {
  const isTaken = await new Promise<boolean>((resolve) => {
    const probe = connect({ path }, () => {
      probe.destroy()
      resolve(true)
    }).once('error', () => resolve(false))
  })
  if (isTaken) throw new ConfigError('GRPC_SOCKET: another process listens on this path; choose another')
  rmSync(path, { force: true })
  await transport.listen({ path }).catch((error: NodeJS.ErrnoException) => {
    throw new ConfigError(`GRPC_SOCKET: the sidecar cannot listen on this path (${error.code})`)
  })
}

export interface AddedService {
  definition: ServiceDefinition
  handlers: UntypedServiceImplementation
}

export interface SidecarServerOptions {
  transport: Transport
  host: string
  port: number
  socketPath: string | undefined
  service: EntitlementService
  flagd: FlagdService
  /** Services that are there if they are configured. */
  more: readonly AddedService[]
  /** Short ways of the service's calls. */
  direct: DirectMethods
  /** True: callers may ask which methods there are. */
  reflection: boolean
}

/** Adds the services to the transport, and listens. @throws ConfigError when the address is taken. */
export const startServer = async (options: SidecarServerOptions): Promise<SidecarServer> => {
  const { transport } = options
  transport.addService(EntitlementServiceService, options.service.handlers)
  const health = new HealthImplementation({ '': 'NOT_SERVING', [SERVICE]: 'NOT_SERVING' })
  // Of a server they only add services to it.
  health.addToServer(transport as unknown as GrpcServer)
  if (options.reflection) addReflection(transport as unknown as GrpcServer)
  transport.addDirect(`/${SERVICE}/CheckEntitlement`, options.direct.check)
  transport.addDirect(`/${SERVICE}/BatchCheckEntitlements`, options.direct.batch)
  if (options.direct.consume) transport.addDirect(`/${SERVICE}/ConsumeEntitlement`, options.direct.consume)
  transport.addService(flagdV1, options.flagd.v1)
  transport.addService(flagdV2, options.flagd.v2)
  for (const { definition, handlers } of options.more) transport.addService(definition, handlers)
  const port = await transport.listen({ host: options.host, port: options.port }).catch((error: NodeJS.ErrnoException) => {
    throw cannotListen('GRPC_PORT', options.port, error)
  })
  if (options.socketPath !== undefined) await listenOnPath(transport, options.socketPath)
  const setServing = (serving: boolean) => {
    for (const name of ['', SERVICE]) health.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING')
  }
  return {
    address: `${options.host}:${port}`,
    setServing,
    close: async () => {
      setServing(false)
      options.service.endWatches()
      options.flagd.endStreams()
      await transport.close(DRAIN_MS)
    },
  }
}
