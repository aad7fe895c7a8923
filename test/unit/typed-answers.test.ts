/** Answers are as strictly typed as questions. The compiler is what fails here: each line that must not compile says so. */
import { Readable } from 'node:stream'
import test from 'ava'
import { z } from '../../control-plane/http/fields.ts'
import { type AnyRoute, ofList, route } from '../../control-plane/http/route.ts'
import { routes } from '../../control-plane/http/routes/index.ts'

const facts = { method: 'get', path: '/v1/things', summary: 'Things', access: 'public', storefront: 'none', ifMatch: ofList } as const
const answer = z.object({ id: z.string(), size: z.int().nullable(), kind: z.enum(['small', 'large']) })
const thing = { id: 'a', size: 1, kind: 'small' as const }

test('an answer that its schema or its status does not allow does not compile', (t) => {
  const compiles: AnyRoute[] = [
    route({ ...facts, status: 200, answer, handle: async () => ({ body: thing }) }),
    route({ ...facts, status: 201, answer, handle: async () => ({ body: { ...thing, size: null }, revision: 1 }) }),
    route({ ...facts, status: 200, gives: 'application/jsonl', handle: async () => ({ body: Readable.from([]) }) }),
    route({ ...facts, status: 204, handle: async () => ({}) }),
    route({ ...facts, status: 302, handle: async () => ({ location: '/' }) }),
  ]
  const doesNot: AnyRoute[] = [
    // @ts-expect-error A field is missing.
    route({ ...facts, status: 200, answer, handle: async () => ({ body: { id: 'a', size: 1 } }) }),
    // @ts-expect-error A field has another type.
    route({ ...facts, status: 200, answer, handle: async () => ({ body: { ...thing, id: 1 } }) }),
    // @ts-expect-error A field may not be null.
    route({ ...facts, status: 200, answer, handle: async () => ({ body: { ...thing, id: null } }) }),
    // @ts-expect-error A value is not one of the enum's.
    route({ ...facts, status: 200, answer, handle: async () => ({ body: { ...thing, kind: 'huge' as const } }) }),
    // @ts-expect-error There is no body.
    route({ ...facts, status: 200, answer, handle: async () => ({}) }),
    // @ts-expect-error Nothing says what is answered.
    route({ ...facts, status: 200, handle: async () => ({ body: thing }) }),
    // @ts-expect-error It is a stream.
    route({ ...facts, status: 200, gives: 'application/jsonl', handle: async () => ({ body: thing }) }),
    // @ts-expect-error An empty answer has no body.
    route({ ...facts, status: 204, handle: async () => ({ body: thing }) }),
    // @ts-expect-error An empty answer has no schema.
    route({ ...facts, status: 204, answer, handle: async () => ({}) }),
    // @ts-expect-error Nobody knows where to go.
    route({ ...facts, status: 302, handle: async () => ({}) }),
    // @ts-expect-error No route succeeds with it.
    route({ ...facts, status: 203, answer, handle: async () => ({ body: thing }) }),
    // @ts-expect-error An address goes with 302.
    route({ ...facts, status: 200, answer, handle: async () => ({ body: thing, location: '/' }) }),
  ]
  t.is(compiles.length + doesNot.length, 17)
})

test('every route declares its answer', (t) => {
  for (const { method, path, status, answer, gives } of routes)
    t.is(answer !== undefined || gives !== undefined, [200, 201, 202].includes(status), `${method} ${path}`)
})
