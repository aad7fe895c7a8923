/** A collector of OpenTelemetry for tests: takes OTLP over HTTP, as JSON, and keeps the spans. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { eventually } from './eventually.ts'

export interface CollectedSpan {
  service: string
  traceId: string
  spanId: string
  parentSpanId: string | undefined
  name: string
  kind: 'internal' | 'server' | 'client' | 'producer' | 'consumer'
  attributes: Record<string, unknown>
}

interface KeyValue {
  key: string
  value: { stringValue?: string; intValue?: number | string; boolValue?: boolean }
}
interface OtlpSpan {
  traceId: string
  spanId: string
  parentSpanId?: string
  name: string
  kind: number
  attributes: KeyValue[]
}
interface OtlpTraces {
  resourceSpans: { resource: { attributes: KeyValue[] }; scopeSpans: { spans: OtlpSpan[] }[] }[]
}

const kinds = ['internal', 'internal', 'server', 'client', 'producer', 'consumer'] as const

const attributesOf = (pairs: KeyValue[]): Record<string, unknown> =>
  Object.fromEntries(pairs.map(({ key, value }) => [key, value.stringValue ?? value.boolValue ?? Number(value.intValue)]))

const spansIn = ({ resourceSpans }: OtlpTraces): CollectedSpan[] =>
  resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const service = String(attributesOf(resource.attributes)['service.name'])
    return scopeSpans.flatMap(({ spans }) =>
      spans.map(({ traceId, spanId, parentSpanId, name, kind, attributes }) => ({
        service,
        traceId,
        spanId,
        parentSpanId,
        name,
        kind: kinds[kind] ?? 'internal',
        attributes: attributesOf(attributes),
      })),
    )
  })

export interface Collector {
  /** What a process needs to export to it, soon. */
  env: Record<string, string>
  /** Everything that has come, as it came. */
  bodies: Buffer[]
  contentTypes: Set<string>
  spans(): CollectedSpan[]
  /** The spans of a trace, as soon as they satisfy the condition. */
  trace(traceId: string, isWhole: (spans: CollectedSpan[]) => boolean): Promise<CollectedSpan[]>
  close(): void
}

/** @param answers false: it takes everything in, and never answers. */
export const startCollector = async ({ answers = true } = {}): Promise<Collector> => {
  const bodies: Buffer[] = []
  const contentTypes = new Set<string>()
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    bodies.push(Buffer.concat(chunks))
    contentTypes.add(request.headers['content-type'] ?? '')
    if (answers) response.setHeader('content-type', 'application/json').end('{}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const spans = () => bodies.flatMap((body) => spansIn(JSON.parse(body.toString())))
  return {
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_BSP_SCHEDULE_DELAY: '100',
    },
    bodies,
    contentTypes,
    spans,
    trace: async (traceId, isWhole) => {
      const ofTrace = () => spans().filter((span) => span.traceId === traceId)
      await eventually(async () => isWhole(ofTrace()))
      return ofTrace()
    },
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}
