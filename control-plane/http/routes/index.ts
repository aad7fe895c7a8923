import { apiKeyRoutes } from './api-keys.ts'
import { auditLogRoutes } from './audit-log.ts'
import { bundleRoutes } from './bundles.ts'
import { callerRoutes } from './caller.ts'
import { customerExportRoutes } from './customer-export.ts'
import { customerRoutes } from './customers.ts'
import { identityProviderRoutes } from './identity-provider.ts'
import { paymentMethodRoutes } from './payment-methods.ts'
import { paymentRoutes } from './payments.ts'
import { pspAccountRoutes } from './psp-accounts.ts'
import { roleRoutes } from './roles.ts'
import { routingRoutes } from './routing.ts'
import { settlementReportRoutes } from './settlement-reports.ts'
import { signInRoutes } from './sign-in.ts'
import { storefrontRoutes } from './storefronts.ts'
import { subscriptionRoutes } from './subscriptions.ts'
import { tenantRoutes } from './tenants.ts'
import { testClockRoutes } from './test-clock.ts'
import { userRoutes } from './users.ts'
import { webhookEventRoutes } from './webhook-events.ts'
import { webhookRoutes } from './webhooks.ts'

export const routes = [
  ...tenantRoutes,
  ...callerRoutes,
  ...roleRoutes,
  ...auditLogRoutes,
  ...userRoutes,
  ...identityProviderRoutes,
  ...signInRoutes,
  ...apiKeyRoutes,
  ...storefrontRoutes,
  ...pspAccountRoutes,
  ...bundleRoutes,
  ...customerRoutes,
  ...customerExportRoutes,
  ...paymentMethodRoutes,
  ...subscriptionRoutes,
  ...paymentRoutes,
  ...routingRoutes,
  ...settlementReportRoutes,
  ...webhookRoutes,
  ...webhookEventRoutes,
  ...testClockRoutes,
]
