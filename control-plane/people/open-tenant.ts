import { AppError } from '../../common/errors.ts'
import { keys } from '../keys.ts'
import type { Services } from '../ports.ts'

/** Nobody signs in to a tenant that is ending or does not exist; the answer does not say which. @throws AppError `unauthenticated`. */
export const mustBeOpen = async ({ storage }: Pick<Services, 'storage'>, tenantId: string): Promise<void> => {
  const tenant = await storage.tenants.find(keys.tenant(tenantId))
  if (tenant?.ending) throw new AppError('unauthenticated', 'nobody can sign in to this tenant any more')
}
