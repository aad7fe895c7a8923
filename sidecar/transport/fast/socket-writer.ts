/**
 * The way out of a connection. What is written while bytes are read, or in one turn of the event loop, leaves in one
 * write; and while the peer does not read, neither is it read from, so that what it asks for cannot pile up.
 */
import type { Socket } from 'node:net'
import { limits } from './limits.ts'
import { Output } from './output.ts'

export class SocketWriter {
  readonly #socket: Socket
  readonly #output = new Output()
  /** There is room for more, after somebody has asked for it. */
  readonly #onRoom: () => void
  #isFlushAsked = false
  #isHeld = false
  #isPaused = false
  #isRoomAwaited = false
  #isClosed = false

  constructor(socket: Socket, onRoom: () => void) {
    this.#socket = socket
    this.#onRoom = onRoom
    socket.on('drain', onRoom)
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** The bytes that wait for the peer to read. */
  get heldBytes(): number {
    return this.#output.length + this.#socket.writableLength
  }

  /** The peer reads more slowly than it is sent to. */
  get isBackedUp(): boolean {
    return this.heldBytes > limits.outputBytes
  }

  write(bytes: Buffer): void {
    if (this.#isClosed) return
    this.#output.add(bytes)
    this.#askFlush()
  }

  /** The buffer to write to, from `at` on, at most `bytes`. Say with `wrote` how far it went. */
  room(bytes: number): Buffer {
    return this.#output.room(bytes)
  }

  get at(): number {
    return this.#output.at
  }

  wrote(end: number): void {
    this.#output.wrote(end)
    this.#askFlush()
  }

  /** Keeps what is written here until it is released. */
  hold(): void {
    this.#isHeld = true
  }

  release(): void {
    this.#isHeld = false
    this.flush()
  }

  flush(): void {
    if (this.#output.isEmpty || this.#isClosed) return
    const isTaken = this.#socket.write(this.#output.take())
    // What the system took at once is not followed by a 'drain'; others come first all the same.
    if (isTaken && this.#isRoomAwaited) setImmediate(this.#onRoom)
    if (this.#isPaused || this.#socket.writableLength <= limits.outputBytes / 2) return
    this.#isPaused = true
    this.#socket.pause()
  }

  /** Somebody has more to send than there is room for. */
  awaitRoom(): void {
    this.#isRoomAwaited = true
  }

  /** To be called when there is room. */
  resume(): void {
    if (this.#isPaused) this.#socket.resume()
    this.#isPaused = false
    this.#isRoomAwaited = false
  }

  /** Sends what is left, and ends our side. */
  end(): void {
    this.flush()
    this.#socket.end()
  }

  /** Nothing is sent any more. */
  close(): void {
    this.#isClosed = true
    this.#output.clear()
  }

  #askFlush(): void {
    if (this.#isHeld || this.#isFlushAsked) return
    this.#isFlushAsked = true
    queueMicrotask(() => {
      this.#isFlushAsked = false
      this.flush()
    })
  }
}
