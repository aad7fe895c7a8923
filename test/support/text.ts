/** Texts as the bytes that a feed carries. */
export const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))
export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString()
