/**
 * The currencies that each provider counts otherwise than ISO 4217. They are in one place, apart from the adapters,
 * because both the adapters, which have to express an amount, and `charge-limits.ts`, which says beforehand whether it
 * can be expressed, have to go by the same table.
 */
import type { pspProviders } from '../../schemas/psp-account.ts'
import type { CurrencyRules } from './currency-exponents.ts'

export const countedBy = {
  /**
   * https://docs.stripe.com/currencies, "Zero-decimal currencies", "Special cases" and "Three-decimal currencies".
   * MGA has no decimals. ISK and UGX have two for backward compatibility, and these are always 00. Of currencies with
   * three decimals the last has to be 0. HUF and TWD have no decimals in payouts, but two in charges.
   */
  stripe: {
    MGA: { digits: 0 },
    ISK: { digits: 2 },
    UGX: { digits: 2 },
    BHD: { multipleOf: 10 },
    IQD: { multipleOf: 10 },
    JOD: { multipleOf: 10 },
    KWD: { multipleOf: 10 },
    LYD: { multipleOf: 10 },
    OMR: { multipleOf: 10 },
    TND: { multipleOf: 10 },
  },
  /** https://docs.adyen.com/development-resources/currency-codes, "Currency codes": what differs from the standard. */
  adyen: { CLP: { digits: 2 }, CVE: { digits: 0 }, IDR: { digits: 0 }, ISK: { digits: 2 } },
  /** https://developer.paypal.com/api/rest/reference/currency-codes/: "This currency does not support decimals". */
  paypal: { HUF: { digits: 0 }, JPY: { digits: 0 }, TWD: { digits: 0 } },
  /**
   * An amount in these with decimals is refused ("Prices in COP currency must be expressed with integer values"), as
   * https://github.com/odoo/odoo/pull/191214 found; https://api.mercadolibre.com/currencies tells `decimal_places`.
   * Chilean pesos and guaraníes have no decimals in ISO 4217 either.
   */
  mercadopago: { COP: { digits: 0 }, HNL: { digits: 0 }, NIO: { digits: 0 } },
  /** docs/local-psp-protocol.md: minor units of ISO 4217. */
  local: {},
  /** It takes minor units of ISO 4217, as they are. */
  simulator: {},
} as const satisfies Record<(typeof pspProviders)[number], CurrencyRules>
