/**
 * Metrics on a port of their own, without a key: the network says who may read them, as is the custom with Prometheus. The
 * API's own port serves them too, to a platform key.
 */
import type { AddressInfo } from 'node:net'
import { cannotListen } from '../../common/config.ts'
import { drainable } from '../../common/drain-http.ts'
import { createBoundedServer } from '../../common/http-limits.ts'
import type { Log } from '../../common/log.ts'
import type { ControlPlaneMetrics } from './metrics.ts'

export interface MetricsServer {
  /** `http://host:port`. */
  url: string
  close(): Promise<void>
}

/** @throws ConfigError when the address is taken. */
export const startMetricsServer = async (options: { host: string; port: number; metrics: ControlPlaneMetrics; log: Log }): Promise<MetricsServer> => {
  const { host, port, metrics, log } = options
  const server = createBoundedServer(async (request, response) => {
    if (request.url?.split('?')[0] !== '/metrics') return void response.writeHead(404).end('metrics are at /metrics\n')
    try {
      const text = await metrics.text()
      response.writeHead(200, { 'content-type': metrics.contentType }).end(text)
    } catch (error) {
      log.error({ err: error }, 'metrics could not be read')
      response.writeHead(500).end()
    }
  })
  const { drain } = drainable(server)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(cannotListen('METRICS_PORT', port, error)))
    server.listen(port, host, resolve)
  })
  return { url: `http://${host}:${(server.address() as AddressInfo).port}`, close: drain }
}
