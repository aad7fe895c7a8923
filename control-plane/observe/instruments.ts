/**
 * What metrics are made of. Each part of the control plane that has something to count takes `Instruments`, and makes its own:
 * `createControlPlaneMetrics` hands the same ones to all of them, so that a name is registered only once.
 */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'

/** A number for each combination of labels. */
export type Series = { labels: Record<string, string>; value: number }[]

export interface Instruments {
  /** A counter that is added to as things happen. */
  counter<L extends string>(name: string, help: string, labelNames: readonly L[]): Counter<L>
  /** @param buckets upper bounds in seconds. */
  histogram<L extends string>(name: string, help: string, labelNames: readonly L[], buckets: readonly number[]): Histogram<L>
  /** A gauge that is read at each scrape. Undefined: there is nothing to show now. */
  read(name: string, help: string, value: () => number | undefined): void
  /** The same with labels; a combination that is not read any more disappears. */
  readEach(name: string, help: string, labelNames: readonly string[], series: () => Series | Promise<Series>): void
  /** A counter that somebody else keeps, and that is read at each scrape. */
  readCounts(name: string, help: string, labelNames: readonly string[], series: () => Series): void
}

export const instrumentsIn = (registry: Registry): Instruments => {
  const registers = [registry]
  const readEach: Instruments['readEach'] = (name, help, labelNames, series) => {
    const made: Gauge = new Gauge({
      registers,
      name,
      help,
      labelNames,
      collect: async () => {
        const now = await series()
        made.reset()
        // A gauge without labels is 0 after a reset, which would be a reading.
        if (labelNames.length === 0) made.remove()
        for (const { labels, value } of now) made.set(labels, value)
      },
    })
  }
  return {
    counter: (name, help, labelNames) => new Counter({ registers, name, help, labelNames }),
    histogram: (name, help, labelNames, buckets) => new Histogram({ registers, name, help, labelNames, buckets: [...buckets] }),
    read: (name, help, value) => {
      readEach(name, help, [], () => {
        const read = value()
        return read === undefined ? [] : [{ labels: {}, value: read }]
      })
    },
    readEach,
    readCounts: (name, help, labelNames, series) => {
      const made: Counter = new Counter({
        registers,
        name,
        help,
        labelNames,
        collect: () => {
          made.reset()
          for (const { labels, value } of series()) made.inc(labels, value)
        },
      })
    },
  }
}
