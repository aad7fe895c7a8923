export interface CallOptions {
  /** Ends the call. The promise rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /** How long to wait for an answer, retries included; else the client's `timeoutMs`. */
  timeoutMs?: number | undefined
}
