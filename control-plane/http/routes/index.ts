import type { AnyRoute } from '../route.ts'
import { apiKeyRoutes } from './api-keys.ts'
import { auditLogRoutes } from './audit-log.ts'
import { bundleRoutes } from './bundles.ts'
import { callerRoutes } from './caller.ts'
import { customerExportRoutes } from './customer-export.ts'
import { customerRoutes } from './customers.ts'
import { eventRoutes } from './events.ts'
import { grantRoutes } from './grants.ts'
import { identityProviderRoutes } from './identity-provider.ts'
import { paymentMethodRoutes } from './payment-methods.ts'
import { paymentRoutes } from './payments.ts'
import { pspAccountRoutes } from './psp-accounts.ts'
import { roleRoutes } from './roles.ts'
import { routingRoutes } from './routing.ts'
import { settlementReportRoutes } from './settlement-reports.ts'
import { sidecarRoutes } from './sidecars.ts'
import { signInRoutes } from './sign-in.ts'
import { storefrontRoutes } from './storefronts.ts'
import { subscriptionRoutes } from './subscriptions.ts'
import { tenantRoutes } from './tenants.ts'
import { testClockRoutes } from './test-clock.ts'
import { usageRoutes } from './usage.ts'
import { usageEventRoutes } from './usage-events.ts'
import { usageHistoryRoutes } from './usage-history.ts'
import { userRoutes } from './users.ts'
import { webhookDeliveryRoutes } from './webhook-deliveries.ts'
import { webhookEndpointRoutes } from './webhook-endpoints.ts'
import { webhookEventRoutes } from './webhook-events.ts'
import { webhookRoutes } from './webhooks.ts'

interface RouteGroup {
  /** In the reference. */
  tag: string
  about: string
  routes: AnyRoute[]
}

/** In the order in which a newcomer meets them. */
export const routeGroups: RouteGroup[] = [
  { tag: 'Tenants', about: 'The businesses that sell here, each apart from the others.', routes: tenantRoutes },
  { tag: 'Storefronts', about: 'Where a tenant sells: with a currency, a time zone, routing of payments and rules of billing.', routes: storefrontRoutes },
  { tag: 'PSP accounts', about: 'Accounts at payment service providers, which payments are routed over.', routes: [...pspAccountRoutes, ...routingRoutes] },
  { tag: 'Bundles', about: 'What is sold: a price and entitlements, in versions.', routes: bundleRoutes },
  {
    tag: 'Customers',
    about: 'Who buys, with payment methods; what they may use, by purchase or by hand, and how much of it they have used.',
    routes: [...customerRoutes, ...customerExportRoutes, ...paymentMethodRoutes, ...grantRoutes, ...usageRoutes, ...usageEventRoutes, ...usageHistoryRoutes],
  },
  { tag: 'Subscriptions', about: 'Who has bought what, and what happens to it.', routes: subscriptionRoutes },
  { tag: 'Payments', about: 'Obligations to pay, with their attempts, refunds and disputes.', routes: paymentRoutes },
  { tag: 'Settlement', about: 'What providers have paid out, matched to payments.', routes: settlementReportRoutes },
  { tag: 'Webhooks', about: 'Events of providers, as they come in and as they are kept.', routes: [...webhookRoutes, ...webhookEventRoutes] },
  {
    tag: 'Events',
    about: 'What has happened, told in order: by pages here, and by webhooks and a stream of NATS.',
    routes: [...eventRoutes, ...webhookEndpointRoutes, ...webhookDeliveryRoutes],
  },
  { tag: 'Test clock', about: 'The time of a sandbox tenant.', routes: testClockRoutes },
  { tag: 'Keys and roles', about: 'API keys, what they may do, and whose a key is.', routes: [...callerRoutes, ...apiKeyRoutes, ...roleRoutes] },
  { tag: 'People', about: 'Who may sign in with a browser, and how they do.', routes: [...userRoutes, ...identityProviderRoutes, ...signInRoutes] },
  { tag: 'Audit log', about: 'Who changed what.', routes: auditLogRoutes },
  { tag: 'Sidecars', about: 'The processes that answer checks, and how they are.', routes: sidecarRoutes },
]

export const routes: AnyRoute[] = routeGroups.flatMap((group) => group.routes)
