/** Noters of documents that few things happen to. */
import { createHash } from 'node:crypto'
import type { Bundle } from '../../schemas/bundle.ts'
import type { Customer } from '../../schemas/customer.ts'
import type { UsageCounters } from '../../schemas/entitlement-set.ts'
import type { PspAccount } from '../../schemas/psp-account.ts'
import type { SettlementReport } from '../../schemas/settlement-report.ts'
import type { WebhookEndpoint } from '../../schemas/webhook-endpoint.ts'
import { type Fact, type Noter, noteKeyed, subjectPath } from './noter.ts'

const hashOf = (shown: unknown): string => createHash('sha256').update(JSON.stringify(shown)).digest('base64url').slice(0, 22)

const customerTold = ({ email, name, country, metadata, paymentMethods, erasing }: Customer): string =>
  erasing ? 'erased' : hashOf([email, name, country, metadata, paymentMethods.map(({ id, type, expiry, changedAt }) => [id, type, expiry, changedAt])])

export const customerNoter: Noter<Customer> = {
  subject: ({ storefrontId, id }) => subjectPath('storefronts', storefrontId, 'customers', id),
  about: ({ storefrontId, id }) => ({ storefrontId, customerId: id }),
  note: (customer, told, since) => {
    const now = customerTold(customer)
    const { updatedAt: time } = customer
    if (since === undefined) return { told: now, facts: [{ type: 'customer.created', time }] }
    if (now === told) return { told: now, facts: [] }
    if (now === 'erased') return { told: now, facts: [{ type: 'customer.erased', time }] }
    return { told: now, facts: told === undefined ? [] : [{ type: 'customer.updated', time }] }
  },
}

export const bundleNoter: Noter<Bundle> = {
  subject: ({ storefrontId, id }) => subjectPath('storefronts', storefrontId, 'bundles', id),
  about: ({ storefrontId }) => ({ storefrontId }),
  note: ({ edition, version, updatedAt: time }, told, since) => {
    const now = edition ?? version
    if (since === undefined) return { told: now, facts: [{ type: 'bundle.created', time }] }
    return { told: now, facts: told === undefined || told === now ? [] : [{ type: 'bundle.updated', time }] }
  },
}

const usageTypes = { threshold: 'usage.threshold', over_limit: 'usage.over_limit' } as const

export const usageNoter: Noter<UsageCounters> = {
  subject: ({ storefrontId, customerId }) => subjectPath('storefronts', storefrontId, 'customers', customerId, 'usage'),
  about: ({ storefrontId, customerId }) => ({ storefrontId, customerId }),
  note: ({ warned = [] }, told, since) =>
    noteKeyed(
      warned.map((warning) => ({
        key: `${warning.type} ${warning.key} ${warning.share} ${warning.at.getTime()}`,
        type: usageTypes[warning.type],
        time: warning.at,
        part: warning,
      })),
      told,
      since,
    ),
}

export const pspAccountNoter: Noter<PspAccount> = {
  subject: ({ id }) => subjectPath('psp-accounts', id),
  about: () => ({}),
  note: ({ troubles = [] }, told, since) =>
    noteKeyed(
      troubles.map((trouble) => ({
        key: `${trouble.kind} ${trouble.at.getTime()}`,
        type: `psp_account.${trouble.kind}` as const,
        time: trouble.at,
        part: trouble,
      })),
      told,
      since,
    ),
}

export const webhookEndpointNoter: Noter<WebhookEndpoint> = {
  subject: ({ id }) => subjectPath('webhook-endpoints', id),
  about: () => ({}),
  note: ({ enabled, disabledAt, disabledReason }, told, since) =>
    noteKeyed(
      !enabled && disabledAt && disabledReason !== 'asked'
        ? [{ key: `disabled ${disabledAt.getTime()}`, type: 'webhook_endpoint.disabled', time: disabledAt }]
        : [],
      told,
      since,
    ),
}

export const settlementReportNoter: Noter<SettlementReport> = {
  subject: ({ id }) => subjectPath('settlement-reports', id),
  about: () => ({}),
  note: ({ status, finishedAt, updatedAt }, told, since) => {
    const isNews = since === undefined || (told !== undefined && told !== status)
    const time = finishedAt ?? updatedAt
    const facts: Fact[] = status === 'done' ? [{ type: 'settlement.imported', time }] : status === 'failed' ? [{ type: 'settlement.failed', time }] : []
    return { told: status, facts: isNews ? facts : [] }
  },
}
