/** The path of the HTTP API at which an account's provider reports events. */
export const webhookPath = (tenantId: string, accountId: string): string => `/v1/webhooks/psp/${encodeURIComponent(tenantId)}/${encodeURIComponent(accountId)}`
