/** What sidecars ask control planes through the feed. */
import { explainQuestion } from '../common/entitlements/explanation.ts'
import { encodeUsage } from '../common/entitlements/wire.ts'
import { AppError } from '../common/errors.ts'
import { isHolderQuestion, readHolderQuestion, writeHolderAnswer } from '../common/metering/holder-wire.ts'
import { isLedgerQuestion, isUsageQuestion, readLedgerQuestion, readUsageQuestion, writeLedgerAnswer } from '../common/metering/ledger-wire.ts'
import { explain } from './entitlements/explain.ts'
import { keys } from './keys.ts'
import { answerHolder, noPlaces } from './metering/answer-holder.ts'
import { answerSidecar, nothingOf } from './metering/answer-sidecar.ts'
import { readUsage } from './metering/tell-usage.ts'
import type { Services } from './ports.ts'
import { type TenantScope, tenantScope } from './tenant-scope.ts'

/**
 * @param mayAsk whose customers whoever asks may ask about; undefined: anybody's.
 * @throws AppError `forbidden` for a question about another's.
 */
export const answerQuestion = async (services: Services, question: Uint8Array, mayAsk: string | undefined): Promise<Uint8Array> => {
  const of = async (tenantId: string): Promise<TenantScope | undefined> => {
    if (mayAsk !== undefined && tenantId !== mayAsk) throw new AppError('forbidden', 'the question is about another tenant than its NATS subject allows')
    const tenant = await services.storage.tenants.find(keys.tenant(tenantId))
    return tenant && tenantScope(services, tenant)
  }
  if (isLedgerQuestion(question)) {
    const asked = readLedgerQuestion(question)
    const scope = await of(asked.customer.tenantId)
    return writeLedgerAnswer(scope ? await answerSidecar(scope, asked) : nothingOf(asked))
  }
  if (isHolderQuestion(question)) {
    const asked = readHolderQuestion(question)
    const scope = await of(asked.customer.tenantId)
    return writeHolderAnswer(scope ? await answerHolder(scope, asked) : noPlaces)
  }
  if (isUsageQuestion(question)) {
    const customer = readUsageQuestion(question)
    const scope = await of(customer.tenantId)
    return encodeUsage(scope ? await readUsage(scope, customer) : { ...customer, usageSeq: 0, usage: [] })
  }
  const asked = explainQuestion.parse(JSON.parse(Buffer.from(question).toString()))
  const scope = await of(asked.tenantId)
  return Buffer.from(JSON.stringify(scope ? await explain(scope, asked) : { holdings: [], offers: [], sources: [] }))
}
