/**
 * The permissions of callers: each route names one, a role is a set of them. The preset roles are here; a tenant's own are
 * documents (`roles.ts`).
 */

/** The permissions and what each permits, as the OpenAPI document and `GET /v1/permissions` tell it. */
export const permissionTexts = {
  'tenant:read': 'Read the tenant, and the time of a sandbox',
  'tenant:write': 'Rename the tenant',
  'tenant:end': 'End the tenant and remove everything that belongs to it',
  'test-clock:move': 'Move a sandbox forward in time',
  'catalog:read': 'Read storefronts and bundles, and ask how a payment would be routed',
  'catalog:write': 'Create and change storefronts, routing and bundles',
  'psp-accounts:read': 'Read accounts at payment providers, without credentials',
  'psp-accounts:write': 'Create and change accounts at payment providers',
  'customers:read': 'Read customers',
  'customers:write': 'Create and change customers and their payment methods',
  'customers:erase': 'Erase a customer',
  'customers:export': 'Export all stored data about a customer',
  'grants:read': 'Read what customers were given by hand',
  'grants:write': 'Give customers entitlements by hand, deny them some, and take either back',
  'subscriptions:read': 'Read subscriptions and their timelines',
  'subscriptions:write': 'Sell, change, pause and cancel subscriptions',
  'payments:read': 'Read payments',
  'payments:write': 'Take payments, and give up open ones',
  'payments:refund': 'Refund payments',
  'payments:resolve': 'Record by hand whether money has moved, when no provider can tell',
  'settlements:read': 'Read settlement reports',
  'settlements:write': 'Import settlement reports',
  'webhook-events:read': 'List the events that providers have sent',
  'webhook-events:bodies': 'Read the original bodies of those events, which may name payers',
  'webhook-events:replay': "Apply a provider's event again",
  'events:read': 'Read the events of everything that happens, with the objects that they are about',
  'webhook-endpoints:read': 'Read where events are sent, and what became of each, without the secrets that sign them',
  'webhook-endpoints:write': 'Say where events are sent, rotate secrets, send events again, and send test events',
  'entitlements:read': 'Read what a customer may use',
  'usage:report': 'Report usage',
  'usage:correct': 'Correct what is counted as used',
  'api-keys:read': 'Read API keys, without their secrets',
  'api-keys:write': 'Create, rotate and revoke API keys',
  'roles:read': 'Read the roles',
  'roles:write': "Create and change the tenant's own roles",
  'users:read': 'Read who may sign in',
  'users:write': 'Invite, change and remove people who may sign in, and set the identity provider',
  'audit-log:read': 'Read who changed what',
} as const

export type Permission = keyof typeof permissionTexts

export const permissions = Object.keys(permissionTexts) as [Permission, ...Permission[]]

const reading = [
  'tenant:read',
  'catalog:read',
  'psp-accounts:read',
  'customers:read',
  'grants:read',
  'subscriptions:read',
  'payments:read',
  'settlements:read',
  'webhook-events:read',
  'events:read',
  'webhook-endpoints:read',
  'entitlements:read',
] as const satisfies Permission[]

/** The roles that every tenant has. */
export const presets = {
  admin: permissions,
  billing: [
    ...reading,
    'customers:write',
    'customers:erase',
    'customers:export',
    'grants:write',
    'subscriptions:write',
    'payments:write',
    'payments:refund',
    'settlements:write',
    'webhook-events:replay',
    'usage:report',
    'usage:correct',
  ],
  read: reading,
  sidecar: ['entitlements:read', 'usage:report'],
} as const satisfies Record<string, readonly Permission[]>

export type Preset = keyof typeof presets

export const presetNames = Object.keys(presets) as [Preset, ...Preset[]]

export const isPreset = (role: string): role is Preset => Object.hasOwn(presets, role)
