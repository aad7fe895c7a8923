/** The three documents of the platform model, to the letter. */
export const tenantDocument = {
  id: 'globalcorp',
  name: 'Global Corporation',
  storefronts: [
    { id: 'us-store', region: 'US', currency: 'USD', paymentProviders: ['stripe', 'paypal'] },
    { id: 'eu-store', region: 'EU', currency: 'EUR', paymentProviders: ['stripe', 'adyen'] },
  ],
}

export const bundleDocument = {
  id: 'pro-plan',
  name: 'Pro Plan',
  storefrontId: 'us-store',
  pricing: { amount: 2900, currency: 'USD', interval: 'month' },
  entitlements: [
    { type: 'api_limit', value: 10000, unit: 'calls_per_month' },
    { type: 'feature_flag', value: 'analytics_dashboard', enabled: true },
  ],
}

export const subscriptionDocument = {
  customerId: 'cust_abc123',
  bundleId: 'pro-plan',
  storefrontId: 'us-store',
  billingCycle: 'monthly',
  startDate: '2024-03-15',
  paymentMethod: 'pm_stripe_card_xxx',
}
