/** The documents whose changes are events, each with its noter. */
import type { Documents } from '../../schemas/index.ts'
import { entitlementsNoter } from './entitlements.ts'
import type { Noter } from './noter.ts'
import { bundleNoter, customerNoter, pspAccountNoter, settlementReportNoter, usageNoter, webhookEndpointNoter } from './others.ts'
import { paymentNoter } from './payment.ts'
import { subscriptionNoter } from './subscription.ts'

export const noted = [
  'subscriptions',
  'payments',
  'customers',
  'entitlementSets',
  'usageCounters',
  'bundles',
  'pspAccounts',
  'settlementReports',
  'webhookEndpoints',
] as const
export type NotedCollection = (typeof noted)[number]

export const noters: { readonly [K in NotedCollection]: Noter<Documents[K]> } = {
  subscriptions: subscriptionNoter,
  payments: paymentNoter,
  customers: customerNoter,
  entitlementSets: entitlementsNoter,
  usageCounters: usageNoter,
  bundles: bundleNoter,
  pspAccounts: pspAccountNoter,
  settlementReports: settlementReportNoter,
  webhookEndpoints: webhookEndpointNoter,
}
