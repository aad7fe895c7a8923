/** An unreadable header block: an error of the connection, since its state is shared by all streams (RFC 9113, section 4.3). */
export class HpackError extends Error {}
