/** The oldest Node that the client's package supports, where there is one. */
import { spawnSync } from 'node:child_process'

export const node22 = process.env.NODE_22

const version = node22 && spawnSync(node22, ['--version'], { encoding: 'utf8' }).stdout
export const node22Missing = !node22 ? 'NODE_22 does not name a Node 22' : version?.startsWith('v22.') ? undefined : `${node22} is not a Node 22`
