import { AppError } from '../../common/errors.ts'

/** A check for `If-Match`. @throws AppError `precondition_failed`, from the function it answers. */
export const mustMatch =
  (ifMatch: number | undefined) =>
  ({ revision }: { revision: number }): void => {
    if (ifMatch !== undefined && ifMatch !== revision)
      throw new AppError('precondition_failed', `the document is at revision ${revision} by now; read it again`)
  }
