/**
 * Works on so many at once, and takes the next as soon as one is done: no batch waits for its slowest. What is to be
 * worked on is read when there is room for it.
 * @param work does not reject.
 */
export const atOnce = async <T>(items: Iterable<T> | AsyncIterable<T>, limit: number, work: (item: T) => Promise<void>): Promise<void> => {
  const running = new Set<Promise<void>>()
  for await (const item of items) {
    const one: Promise<void> = work(item).finally(() => running.delete(one))
    running.add(one)
    if (running.size >= limit) await Promise.race(running)
  }
  await Promise.all(running)
}
