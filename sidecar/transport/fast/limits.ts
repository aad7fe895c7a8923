/** The limits of what one peer may ask of us, and why so much. */
export const limits = {
  /** SETTINGS_MAX_CONCURRENT_STREAMS: more than any client multiplexes; grpc-go waits at 100 by default. */
  concurrentStreams: 1_000,
  /** SETTINGS_MAX_FRAME_SIZE: the protocol's default and minimum. */
  frameBytes: 16_384,
  /** SETTINGS_HEADER_TABLE_SIZE: the protocol's default. */
  headerTableBytes: 4_096,
  /** SETTINGS_MAX_HEADER_LIST_SIZE: as grpc-js and nginx have it. */
  headerListBytes: 16_384,
  /** A header block before decoding, and its frames: a block that is longer is an attack (CVE-2024-27316 and its like). */
  headerBlockBytes: 64 * 1024,
  continuations: 16,
  /** A message: a batch of 1,000 checks with the longest ids is half of that. */
  messageBytes: 1024 * 1024,
  /** SETTINGS_INITIAL_WINDOW_SIZE: a whole message, so that no stream waits for more. */
  streamWindow: 1024 * 1024 + 5,
  /** A connection's bound on messages that are not complete, and that it makes us hold. */
  connectionWindow: 4 * 1024 * 1024,
  /** Answers that wait for a peer which does not read: then reading from it stops. */
  outputBytes: 1024 * 1024,
  /** Answers that are written where they are sent from; larger ones are gathered first. */
  inPlaceBytes: 8 * 1024,
  /** Answers that wait for a window. */
  queuedBytes: 1024 * 1024,
  /** The bound on messages and answers that all connections together make us hold: beyond it those that hold most are ended. */
  processBytes: 128 * 1024 * 1024,
  connections: 10_000,
  /** How long a peer may take for its preface, for the rest of a request, or to read an answer. */
  stallMs: 30_000,
  /** Streams that are reset before they are answered (CVE-2023-44487): so many at once, and so many a second. */
  resets: { burst: 200, perSecond: 100 },
  /** Frames that ask for work and bring nothing: PING, SETTINGS, PRIORITY, empty DATA. gRPC clients ping with every read. */
  control: { burst: 10_000, perSecond: 5_000 },
} as const
