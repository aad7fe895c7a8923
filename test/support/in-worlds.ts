/** Registers a file's end-to-end tests in every world, or says which world is missing and why. */
import type { ExecutionContext, TestFn } from 'ava'
import { type GrpcClient, grpcClient } from './grpc-client.ts'
import { type Tollgate, type World, worlds } from './tollgate.ts'

export interface InWorld {
  t: ExecutionContext
  tollgate: Tollgate
  grpc: GrpcClient
}

export type Story = (title: string, run: (world: InWorld) => Promise<void>) => void

/** @param env what the processes of each world are given besides, made when the first test of it begins. */
export const inWorlds = (
  test: TestFn,
  tell: (story: Story, world: World) => void,
  where = worlds,
  env: (world: World) => Promise<Record<string, string>> = async () => ({}),
): void => {
  for (const world of where) {
    if (world.missing !== undefined) {
      test.skip(`on ${world.name} (${world.missing})`, () => {})
      continue
    }
    // Started by the first test that needs it, and shared by the file's tests.
    let started: Promise<{ tollgate: Tollgate; grpc: GrpcClient }> | undefined
    const open = async () => {
      const tollgate = await world.start(await env(world))
      return { tollgate, grpc: grpcClient(tollgate.grpc) }
    }
    tell((title, run) => {
      test(`${world.name}: ${title}`, async (t) => {
        started ??= open()
        await run({ t, ...(await started) })
      })
    }, world)
    test.after.always(`${world.name}: close`, async () => {
      if (!started) return
      const { tollgate, grpc } = await started
      grpc.close()
      await tollgate.close()
    })
  }
}
