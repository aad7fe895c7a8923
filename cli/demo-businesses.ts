/** The three example businesses of the platform model, as the documents that set them up. All are sandboxes: no provider is called. */

const pro = [
  { key: 'api_access', kind: 'quota', limit: 10_000, per: 'month' },
  { type: 'feature_flag', value: 'analytics_dashboard', enabled: true },
  { key: 'integrations', kind: 'capacity', limit: 5 },
  { key: 'email_support', kind: 'value', value: 'business hours' },
]
const enterprise = [
  { key: 'api_access', kind: 'quota', limit: 100_000, per: 'month' },
  { type: 'feature_flag', value: 'analytics_dashboard', enabled: true },
  { key: 'integrations', kind: 'capacity', limit: null },
  { key: 'email_support', kind: 'value', value: 'around the clock' },
]

const plans = (storefrontId: string, currency: string, proAmount: number, enterpriseAmount: number) => [
  { id: 'pro-plan', name: 'Pro Plan', storefrontId, pricing: { amount: proAmount, currency, interval: 'month' }, entitlements: pro },
  { id: 'enterprise', name: 'Enterprise', storefrontId, pricing: { amount: enterpriseAmount, currency, interval: 'month' }, entitlements: enterprise },
]

interface Buyer {
  customer: { id: string; storefrontId: string; email: string; paymentMethods: { id: string; type: string; tokens: Record<string, string> }[] }
  subscription: object
  usage: object[]
  checks: string[]
}

const buyer = (
  id: string,
  storefrontId: string,
  account: string,
  bundleId: string,
  usage: { entitlement: string; used: number }[],
  checks: string[],
): Buyer => ({
  customer: { id, storefrontId, email: id, paymentMethods: [{ id: 'main', type: 'card', tokens: { [account]: `pm_${account}_demo` } }] },
  subscription: { customerId: id, bundleId, storefrontId, billingCycle: 'monthly', startDate: '2024-03-15', paymentMethod: 'main' },
  usage: usage.map((report) => ({ storefrontId, customerId: id, ...report })),
  checks,
})

/** Noon in UTC: the day has begun in every time zone of the Americas. */
const now = '2024-03-15T12:00:00Z'

export const businesses = [
  {
    now,
    tenant: {
      id: 'globalcorp',
      name: 'GlobalCorp',
      mode: 'sandbox',
      storefronts: [
        {
          id: 'us-store',
          name: 'US Store',
          region: 'US',
          currency: 'USD',
          routing: {
            split: [
              { account: 'stripe', weight: 80 },
              { account: 'paypal', weight: 20 },
            ],
            rules: [{ name: 'bank transfers', when: { paymentMethodTypes: ['bank_transfer'] }, use: ['local-bank'] }],
          },
        },
        { id: 'eu-store', name: 'EU Store', region: 'EU', currency: 'EUR', paymentProviders: ['paypal'] },
        { id: 'apac-store', name: 'APAC Store', region: 'APAC', currency: 'JPY', paymentProviders: ['local-psp'] },
      ],
    },
    bundles: [...plans('us-store', 'USD', 2900, 9900), ...plans('eu-store', 'EUR', 2500, 8500), ...plans('apac-store', 'JPY', 3200, 9800)],
    customers: [
      buyer(
        'john@example.com',
        'us-store',
        'stripe',
        'pro-plan',
        [{ entitlement: 'integrations', used: 5 }],
        ['api_access', 'analytics_dashboard', 'integrations', 'email_support'],
      ),
      buyer('yuki@example.com', 'apac-store', 'local-psp', 'enterprise', [], ['integrations']),
    ],
  },
  {
    now,
    tenant: {
      id: 'conglomcorp',
      name: 'ConglomCorp',
      mode: 'sandbox',
      storefronts: ['a', 'b', 'c'].map((brand) => ({
        id: `brand-${brand}`,
        name: `Brand ${brand.toUpperCase()}`,
        currency: 'USD',
        paymentProviders: [`brand-${brand}-merchant`],
      })),
    },
    bundles: ['a', 'b', 'c'].flatMap((brand, n) => plans(`brand-${brand}`, 'USD', 1900 + n * 500, 7900 + n * 1000)),
    customers: [buyer('ann@example.com', 'brand-a', 'brand-a-merchant', 'pro-plan', [], ['analytics_dashboard'])],
  },
  {
    now,
    tenant: {
      id: 'saascorp',
      name: 'SaaS Corp',
      mode: 'sandbox',
      storefronts: [
        { id: 'north-america', name: 'North America', currency: 'USD', timeZone: 'America/New_York', paymentProviders: ['stripe'] },
        { id: 'europe', name: 'Europe', currency: 'EUR', timeZone: 'Europe/Berlin', paymentProviders: ['adyen'] },
        { id: 'asia-pacific', name: 'Asia Pacific', currency: 'JPY', timeZone: 'Asia/Tokyo', paymentProviders: ['local-psp-a', 'local-psp-b'] },
        { id: 'latin-america', name: 'Latin America', currency: 'BRL', timeZone: 'America/Sao_Paulo', paymentProviders: ['mercadopago'] },
      ],
    },
    bundles: [
      ...plans('north-america', 'USD', 2900, 9900),
      ...plans('europe', 'EUR', 2700, 8900),
      ...plans('asia-pacific', 'JPY', 3900, 12_800),
      ...plans('latin-america', 'BRL', 9900, 39_900),
    ],
    customers: [buyer('ana@example.com', 'latin-america', 'mercadopago', 'pro-plan', [], ['analytics_dashboard', 'api_access'])],
  },
]
