/** The collections as one tenant's business may use them: what is not the tenant's is refused before the store is asked. */
import { tenantOf } from '../keys.ts'
import type { Documents } from '../schemas/index.ts'
import type { Collection, Storage, StoredDocument } from './storage.ts'
import { sameTurns } from './update.ts'

const ownNames = [
  'tenants',
  'apiKeys',
  'roles',
  'users',
  'sessions',
  'identityProviders',
  'storefronts',
  'pspAccounts',
  'bundles',
  'bundleVersions',
  'entitlementKinds',
  'customers',
  'subscriptions',
  'eventChunks',
  'payments',
  'entitlementSets',
  'usageCounters',
  'usageMonths',
  'countedReports',
  'customerGrants',
  'tombstones',
  'webhookEvents',
  'settlementReports',
  'settlementDifferences',
  'loggedEvents',
  'eventLogs',
  'eventCursors',
  'webhookEndpoints',
  'webhookDeliveries',
] as const
type OwnName = (typeof ownNames)[number]

/** A collection without the methods that find documents of all tenants: no business of one needs those. */
export type OwnCollection<D extends StoredDocument> = Omit<Collection<D>, 'findUnique' | 'scan'>

export type OwnCollections = { readonly [K in OwnName]: OwnCollection<Documents[K]> }

interface OwnDocument extends StoredDocument {
  tenantId: string
}

const createOwnCollection = <D extends OwnDocument>(collection: Collection<D>, tenantId: string): OwnCollection<D> => {
  const refuse = (what: string): never => {
    throw new Error(`${what} does not belong to the tenant ${tenantId}`)
  }
  const own = (id: string): string => (tenantOf(id) === tenantId ? id : refuse(id))
  const ownDocument = <P extends Pick<D, '_id'>>(document: P & { tenantId?: string }): P =>
    own(document._id) && (document.tenantId ?? tenantId) === tenantId ? document : refuse(document._id)
  const made: OwnCollection<D> = {
    insert: async (document) => collection.insert(ownDocument(document)),
    get: async (id) => collection.get(own(id)),
    find: async (id) => collection.find(own(id)),
    replace: async (document) => collection.replace(ownDocument(document)),
    remove: async (document) => collection.remove(ownDocument(document)),
    page: async (query) => (query.where.tenantId === tenantId ? collection.page(query) : refuse('the page')),
    after: async (query) => (query.where.tenantId === tenantId ? collection.after(query) : refuse('what comes after')),
    clearOutbox: async (document) => collection.clearOutbox(ownDocument(document)),
    // A sandbox tenant has a clock of its own, by its id.
    due: async (query) => ([query.where?.tenantId, query.where?.clock].includes(tenantId) ? collection.due(query) : refuse('what is due')),
  }
  return sameTurns(made, collection)
}

/** Each collection is made when it is first asked for. */
class Own {
  readonly all: Storage
  readonly tenantId: string

  constructor(all: Storage, tenantId: string) {
    this.all = all
    this.tenantId = tenantId
  }
}
for (const name of ownNames) {
  Object.defineProperty(Own.prototype, name, {
    get(this: Own) {
      const value = createOwnCollection(this.all[name] as unknown as Collection<OwnDocument>, this.tenantId)
      Object.defineProperty(this, name, { value })
      return value
    },
  })
}

export const ownCollections = (storage: Storage, tenantId: string): OwnCollections =>
  sameTurns(new Own(storage, tenantId), storage) as unknown as OwnCollections
