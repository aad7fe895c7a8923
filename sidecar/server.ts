/** The gRPC server: the entitlement service, standard health checking and reflection, and a drain that drops nobody. */
import { fileURLToPath } from 'node:url'
import { type Server as GrpcServer, Server, ServerCredentials } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { ReflectionService } from '@grpc/reflection'
import { HealthImplementation, protoPath as healthProtoPath } from 'grpc-health-check'
import { EntitlementServiceService } from '../proto/gen/entitlement/v1/entitlement.ts'
import type { EntitlementService } from './entitlement-service.ts'

/** Calls in flight get this long; then they are cut. */
const DRAIN_MS = 5_000
const SERVICE = 'entitlement.v1.EntitlementService'

export interface SidecarServer {
  /** `host:port`, with the port that was given out. */
  address: string
  setServing(serving: boolean): void
  close(): Promise<void>
}

const addReflection = (server: GrpcServer) => {
  const root = fileURLToPath(new URL('../proto', import.meta.url))
  const definition = loadSync(['entitlement/v1/entitlement.proto', healthProtoPath], { includeDirs: [root], keepCase: true, longs: String, enums: String })
  new ReflectionService(definition).addToServer(server)
}

export const startServer = async (options: { host: string; port: number; service: EntitlementService }): Promise<SidecarServer> => {
  const server = new Server()
  server.addService(EntitlementServiceService, options.service.handlers)
  const health = new HealthImplementation({ '': 'NOT_SERVING', [SERVICE]: 'NOT_SERVING' })
  health.addToServer(server)
  addReflection(server)
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`${options.host}:${options.port}`, ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)))
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
      await new Promise<void>((resolve) => {
        const cut = setTimeout(() => {
          server.forceShutdown()
          resolve()
        }, DRAIN_MS)
        server.tryShutdown(() => {
          clearTimeout(cut)
          resolve()
        })
      })
    },
  }
}
