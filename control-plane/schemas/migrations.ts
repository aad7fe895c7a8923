/**
 * The forms that stored documents have had, and how an older one becomes the present one.
 *
 * Two versions of the control plane work on one storage while an upgrade is under way. A field that an older one may
 * ignore is simply added: fields that a version does not know survive when it rewrites a document. When an older
 * version must not act on a document, because a field has got another meaning or a state is new to it, add a migration
 * here. Documents are then stored with the new `schemaVersion`, and an older control plane leaves them alone.
 *
 * docs/decisions/0020-two-versions-side-by-side.md.
 */
import type { CollectionName } from './index.ts'

export interface DocumentMigration {
  collection: CollectionName
  /** The version that it makes of the one before; 2 is the first, since a document that names none is of version 1. */
  to: number
  /** The change and its reason, in a few words; `npm run migrate` prints it. */
  title: string
  /**
   * The document in the new form. Pure, and quick: it runs whenever an older document is read, until that document is
   * stored again. Fields that it does not name it has to keep.
   */
  migrate(document: Record<string, unknown>): Record<string, unknown>
}

/** The migrations in the order of their versions. None yet: every document is of version 1. */
export const documentMigrations: readonly DocumentMigration[] = []

/** @returns the version that documents of a collection are stored in. @throws Error when the versions are not 2, 3, 4 … */
export const schemaVersionOf = (collection: CollectionName, migrations: readonly DocumentMigration[] = documentMigrations): number =>
  migrations
    .filter((migration) => migration.collection === collection)
    .reduce((version, { to }) => {
      if (to !== version + 1) throw new Error(`${collection}: the migration to version ${to} follows version ${version}`)
      return to
    }, 1)
