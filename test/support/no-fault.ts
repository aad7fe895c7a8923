/** The `onFault` of a transport that is not to have any: the test's process reports it as an uncaught exception, and the test file fails. */
export const noFault = (error: unknown): void =>
  queueMicrotask(() => {
    throw error
  })
