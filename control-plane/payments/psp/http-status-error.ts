/** An HTTP answer that is no success, as adapters that bring their own HTTP client raise it. */
export class HttpStatusError extends Error {
  readonly status: number
  /** Parsed, where it is JSON. */
  readonly body: unknown

  constructor(status: number, body: unknown) {
    super(`HTTP ${status}`)
    this.status = status
    this.body = body
  }
}
