/**
 * A credential, token or key. What prints it (a log line, an error message, JSON, `inspect`) says `[secret]`; only `reveal()`
 * returns the value. `test/unit/secret.test.ts` lists the files that may call it.
 */
import { inspect } from 'node:util'

const SHOWN = '[secret]'

export class Secret<Value = string> {
  readonly #value: Value

  constructor(value: Value) {
    this.#value = value
  }

  reveal(): Value {
    return this.#value
  }

  toString(): string {
    return SHOWN
  }

  toJSON(): string {
    return SHOWN
  }

  [inspect.custom](): string {
    return SHOWN
  }
}

/** For `transform` of a schema. */
export const toSecret = <Value>(value: Value): Secret<Value> => new Secret(value)
