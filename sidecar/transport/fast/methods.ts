/** The methods that can be called, by their paths. Services are added as at a server of grpc-js. */
import type { MethodDefinition, ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js'
import type { DirectMethod } from '../transport.ts'

// biome-ignore lint/suspicious/noExplicitAny: handlers of every shape, as grpc-js keeps them.
type Handler = (...args: any[]) => void

export interface Method {
  readonly definition: MethodDefinition<object, object>
  readonly handler: Handler
  direct: DirectMethod | undefined
  /** Answers to what is being read now: `AnswerTimes` counts them here, and takes them when the read is over. */
  answeredInRead: number
}

export class Methods {
  readonly #byPath = new Map<string, Method>()

  addService(service: ServiceDefinition, implementation: UntypedServiceImplementation): void {
    for (const [name, definition] of Object.entries(service)) {
      const handler = implementation[name] ?? implementation[definition.originalName ?? '']
      if (handler)
        this.#byPath.set(definition.path, {
          definition: definition as MethodDefinition<object, object>,
          handler: handler.bind(implementation) as Handler,
          direct: undefined,
          answeredInRead: 0,
        })
    }
  }

  /** @throws Error when there is no such method: its handler answers what the short way does not. */
  addDirect(path: string, direct: DirectMethod): void {
    const method = this.#byPath.get(path)
    if (!method) throw new Error(`there is no method ${path}`)
    method.direct = direct
  }

  find(path: string): Method | undefined {
    return this.#byPath.get(path)
  }
}
