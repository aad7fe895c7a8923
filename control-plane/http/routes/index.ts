import { apiKeyRoutes } from './api-keys.ts'
import { bundleRoutes } from './bundles.ts'
import { customerRoutes } from './customers.ts'
import { paymentRoutes } from './payments.ts'
import { pspAccountRoutes } from './psp-accounts.ts'
import { storefrontRoutes } from './storefronts.ts'
import { subscriptionRoutes } from './subscriptions.ts'
import { tenantRoutes } from './tenants.ts'
import { testClockRoutes } from './test-clock.ts'
import { webhookRoutes } from './webhooks.ts'

export const routes = [
  ...tenantRoutes,
  ...apiKeyRoutes,
  ...storefrontRoutes,
  ...pspAccountRoutes,
  ...bundleRoutes,
  ...customerRoutes,
  ...subscriptionRoutes,
  ...paymentRoutes,
  ...webhookRoutes,
  ...testClockRoutes,
]
