/** What every adapter of a PSP has to do, whatever its provider calls it. An adapter's own test is two lines. */
import type { ExecutionContext, TestFn } from 'ava'
import { systemClock } from '../../common/clock.ts'
import { isAppError } from '../../common/errors.ts'
import { Secret } from '../../common/secret.ts'
import { adyenProvider } from '../../control-plane/payments/psp/adyen/adapter.ts'
import type { PspProvider } from '../../control-plane/payments/psp/directory.ts'
import { localProvider } from '../../control-plane/payments/psp/local/adapter.ts'
import { mercadopagoProvider } from '../../control-plane/payments/psp/mercadopago/adapter.ts'
import { paypalProvider } from '../../control-plane/payments/psp/paypal/adapter.ts'
import type { ChargeOutcome, ChargeRequest, Psp, WebhookRequest } from '../../control-plane/payments/psp/psp.ts'
import { stripeProvider } from '../../control-plane/payments/psp/stripe/adapter.ts'
import { type Fault, formOf } from '../support/psp/fake-psp.ts'
import { type ProviderName, type StandIn, standIns } from '../support/psp/index.ts'

const TIMEOUT_MS = 400

const createAdapter = (
  { provider, credentials, webhookSecret, fake }: Pick<StandIn, 'provider' | 'credentials' | 'webhookSecret' | 'fake'>,
  capture: 'automatic' | 'separate' = 'automatic',
  timeoutMs = TIMEOUT_MS,
): Psp => {
  const deps = { clock: systemClock, baseUrl: fake.url, allowPrivate: true }
  const made: Record<ProviderName, () => PspProvider<never>> = {
    stripe: () => stripeProvider(deps) as PspProvider<never>,
    adyen: () => adyenProvider(deps) as PspProvider<never>,
    paypal: () => paypalProvider(deps) as PspProvider<never>,
    mercadopago: () => mercadopagoProvider(deps) as PspProvider<never>,
    local: () => localProvider(deps) as PspProvider<never>,
  }
  const { credentials: schema, create } = made[provider]()
  return create({
    credentials: schema.parse(credentials),
    webhookSecret: webhookSecret === undefined ? undefined : new Secret(webhookSecret),
    capture,
    returnUrl: 'https://shop.example/back',
    timeoutMs,
  })
}

/** A code of each provider for the same thing. */
const codes: Record<ProviderName, Record<'funds' | 'hard' | 'credential' | 'issuer_soft', string>> = {
  stripe: { funds: 'insufficient_funds', hard: 'stolen_card', credential: 'expired_card', issuer_soft: 'do_not_honor' },
  adyen: { funds: '12', hard: '20', credential: '6', issuer_soft: '2' },
  paypal: { funds: '5120', hard: '9520', credential: 'CARD_EXPIRED', issuer_soft: 'INSTRUMENT_DECLINED' },
  mercadopago: {
    funds: 'cc_rejected_insufficient_amount',
    hard: 'cc_rejected_blacklist',
    credential: 'cc_rejected_bad_filled_date',
    issuer_soft: 'cc_rejected_other_reason',
  },
  local: { funds: 'funds', hard: 'hard', credential: 'credential', issuer_soft: 'issuer_soft' },
}

/** What a provider was told of the customer: in its own words, each from its reference. */
const toldOf: Record<ProviderName, (body: string) => { offSession: boolean; authenticate: boolean; returnUrl: string | undefined }> = {
  stripe: (body) => {
    const form = formOf(body)
    return {
      offSession: form.off_session === 'true',
      authenticate: form['payment_method_options[card][request_three_d_secure]'] === 'any',
      returnUrl: form.return_url,
    }
  },
  adyen: (body) => {
    const { shopperInteraction, recurringProcessingModel, authenticationData, returnUrl } = JSON.parse(body)
    return {
      offSession: shopperInteraction === 'ContAuth' && recurringProcessingModel === 'Subscription',
      authenticate: authenticationData?.attemptAuthentication === 'always',
      returnUrl,
    }
  },
  paypal: (body) => {
    const { stored_credential: stored, attributes, experience_context: experience } = JSON.parse(body).payment_source.card
    return {
      offSession: stored.payment_initiator === 'MERCHANT' && stored.payment_type === 'RECURRING' && stored.usage === 'SUBSEQUENT',
      authenticate: attributes?.verification?.method === 'SCA_ALWAYS',
      returnUrl: experience?.return_url,
    }
  },
  mercadopago: (body) => {
    const { three_d_secure_mode: mode, callback_url: returnUrl } = JSON.parse(body)
    return { offSession: mode === undefined, authenticate: mode === 'mandatory', returnUrl }
  },
  local: (body) => {
    const { offSession, authenticate = false, returnUrl } = JSON.parse(body)
    return { offSession, authenticate, returnUrl }
  },
}

/** In a currency that each takes. */
const currencyOf: Record<ProviderName, string> = { stripe: 'USD', adyen: 'EUR', paypal: 'USD', mercadopago: 'BRL', local: 'JPY' }

const pspReferenceOf = (outcome: ChargeOutcome): string | undefined => ('pspReference' in outcome ? outcome.pspReference : undefined)

export const testPsp = (test: TestFn, name: ProviderName): void => {
  let standIn: StandIn
  let psp: Psp
  let made = 0
  const order = (word: string, change: Partial<ChargeRequest> = {}): ChargeRequest => {
    made += 1
    return {
      reference: `pay_contract${made}-1`,
      amountMinor: 2900,
      currency: currencyOf[name],
      token: standIn.token(word),
      description: 'pro-plan from 2024-03-15',
      capture: 'automatic',
      offSession: false,
      ...change,
    }
  }
  const nameOf = (request: ChargeRequest, outcome?: ChargeOutcome) => ({
    reference: request.reference,
    pspReference: outcome && pspReferenceOf(outcome),
    amountMinor: request.amountMinor,
    currency: request.currency,
  })
  const story = (title: string, run: (t: ExecutionContext) => Promise<void>) => test.serial(`${name}: ${title}`, run)

  test.before(async () => {
    standIn = await standIns[name]()
    psp = createAdapter(standIn)
  })
  test.after.always(() => standIn.fake.close())

  story('a stored token is charged once per reference, however often and at once', async (t) => {
    const request = order('ok')
    const [first, second] = await Promise.all([psp.charge(request), psp.charge(request)])
    const third = await psp.charge(request)
    for (const outcome of [first, second, third]) t.deepEqual(outcome, { status: 'succeeded', pspReference: standIn.fake.charge(request.reference)?.id ?? '' })
    t.is(standIn.fake.charges().filter(({ reference }) => reference.startsWith(request.reference)).length, 1)
    t.like(standIn.fake.charge(request.reference), { amount: 2900, currency: currencyOf[name], status: 'captured' })
  })

  story("the provider's reason for a refusal becomes a class", async (t) => {
    for (const [declineClass, code] of Object.entries(codes[name])) {
      t.like(await psp.charge(order(`decline:${code}`)), { status: 'declined', declineClass, pspCode: code })
    }
    t.like(await psp.charge(order('decline:something_new')), { status: 'declined', declineClass: 'issuer_soft' })
  })

  if (name === 'stripe') {
    story("the network's advice against trying again wins over a code that allows it", async (t) => {
      const request = order('decline:do_not_honor!')
      const outcome = await psp.charge(request)
      t.like(outcome, { status: 'declined', declineClass: 'hard', pspCode: 'do_not_honor' })
      t.like(await psp.inquire(nameOf(request, outcome)), { status: 'declined', declineClass: 'hard' })
    })
  }

  if (name === 'mercadopago') {
    story('the reason for a refused request decides; that it was posted before is not a refusal', async (t) => {
      for (const cause of ['801', '2001']) t.like(await psp.charge(order(`cause:${cause}`)), { status: 'unknown' })
      t.like(await psp.charge(order('cause:3003')), { status: 'declined', declineClass: 'credential' })
      t.like(await psp.charge(order('cause:4037')), { status: 'declined', declineClass: 'hard' })
      t.like(await psp.charge(order('cause:none')), { status: 'declined', declineClass: 'config' })
    })
  }

  story('the customer is sent to act; when they have, it has succeeded', async (t) => {
    const request = order('sca')
    const outcome = await psp.charge(request)
    t.like(outcome, { status: 'requires_action' })
    t.true(outcome.status === 'requires_action' && outcome.actionUrl.startsWith(standIn.fake.url))
    await standIn.fake.conclude(request.reference, 'captured')
    const found = await psp.inquire(nameOf(request, outcome))
    t.true(found.status === 'succeeded' || found.status === 'cannot_tell', found.status)
    // As the provider has the customer bring it.
    t.like(await psp.complete(nameOf(request, outcome), { redirectResult: pspReferenceOf(outcome) ?? '' }), { status: 'succeeded' })
    const other = order('sca')
    const foreign = await psp.complete(nameOf(other, await psp.charge(other)), { redirectResult: pspReferenceOf(outcome) ?? '' })
    t.not(foreign.status, 'succeeded', 'what another customer brings')
  })

  story('the provider is told whether the customer is there, is to be asked, and where they come back to', async (t) => {
    const cases: [Partial<ChargeRequest>, { offSession: boolean; authenticate: boolean; returnUrl?: string }][] = [
      [{ offSession: false }, { offSession: false, authenticate: false, returnUrl: 'https://shop.example/back' }],
      [
        { offSession: false, authenticate: true },
        { offSession: false, authenticate: true, returnUrl: 'https://shop.example/back' },
      ],
      [
        { offSession: false, returnUrl: 'https://shop.example/orders/7' },
        { offSession: false, authenticate: false, returnUrl: 'https://shop.example/orders/7' },
      ],
      [{ offSession: true }, { offSession: true, authenticate: false }],
      // Without the customer there is nobody to ask.
      [
        { offSession: true, authenticate: true },
        { offSession: true, authenticate: false },
      ],
    ]
    for (const [change, told] of cases) {
      t.like(await psp.charge(order('ok', change)), { status: 'succeeded' })
      t.like(toldOf[name](standIn.fake.lastOrder()), told, JSON.stringify(change))
    }
  })

  story('an outcome that is to come is pending, and so is an unknown status; neither is a decline', async (t) => {
    for (const word of ['pending', 'strange']) {
      const request = order(word)
      const outcome = await psp.charge(request)
      t.like(outcome, { status: 'pending' }, word)
      await standIn.fake.conclude(request.reference, 'captured')
      const found = await psp.inquire(nameOf(request, outcome))
      t.true(found.status === 'succeeded' || found.status === 'cannot_tell')
    }
  })

  story('an account that captures separately holds the money, then captures or releases it', async (t) => {
    const separate = createAdapter(standIn, 'separate')
    for (const [what, status] of [
      ['capture', 'captured'],
      ['release', 'released'],
    ] as const) {
      const request = order('ok', { capture: 'separate' })
      const held = await separate.charge(request)
      t.like(held, { status: 'authorized' })
      t.is(standIn.fake.charge(request.reference)?.status, 'authorized')
      const done = await separate[what](`${request.reference}-${what}`, nameOf(request, held))
      t.true(['pending', what === 'capture' ? 'succeeded' : 'declined'].includes(done.status), `${what}: ${JSON.stringify(done)}`)
      t.is(standIn.fake.charge(request.reference)?.status, status)
      // Asked twice it is done once.
      const again = await separate[what](`${request.reference}-${what}`, nameOf(request, held))
      t.not(again.status, what === 'capture' ? 'declined' : 'succeeded')
    }
  })

  story('a refused capture is declined; one that has happened, or may have, is asked for', async (t) => {
    const separate = createAdapter(standIn, 'separate')
    const hold = async () => {
      const request = order('ok', { capture: 'separate' })
      return { request, charge: nameOf(request, await separate.charge(request)) }
    }
    // Adyen cannot be asked: it tells by webhook.
    const asked = (status: ChargeOutcome['status']) => (name === 'adyen' ? 'unknown' : status)
    const refused = await hold()
    standIn.fake.answerNext('refusal', 'before')
    const refusal = await separate.capture(`${refused.request.reference}-capture`, refused.charge)
    t.like(refusal, { status: 'declined', pspReference: refused.charge.pspReference ?? '' })
    // Asking too much is nothing that another try mends; what else a provider refuses is the account's.
    t.is(refusal.status === 'declined' ? refusal.declineClass : undefined, name === 'adyen' || name === 'stripe' ? 'hard' : 'config')
    t.is(standIn.fake.charge(refused.request.reference)?.status, 'authorized')
    const unclear: [answer: Parameters<typeof standIn.fake.answerNext>[0], when: 'before' | 'after', status: ChargeOutcome['status']][] = [
      ['rate limited', 'before', 'authorized'],
      ['failed', 'before', 'authorized'],
      ['failed', 'after', 'succeeded'],
      [{ status: 409, body: { error: { type: 'idempotency_error' } } }, 'before', 'authorized'],
      // Whoever does not find a charge that was there may be looking in another account.
      [{ status: 404, body: { error: { type: 'invalid_request_error', code: 'resource_missing' } } }, 'before', 'authorized'],
      [{ status: 200, body: '<html>' }, 'after', 'succeeded'],
    ]
    // "Already captured": refused now, because it was done before.
    if (name !== 'adyen') unclear.push(['refusal', 'after', 'succeeded'])
    for (const [answer, when, status] of unclear) {
      const { request, charge } = await hold()
      standIn.fake.answerNext(answer, when)
      const outcome = await separate.capture(`${request.reference}-capture`, charge)
      t.is(outcome.status, asked(status), `${JSON.stringify(answer)} ${when}: ${JSON.stringify(outcome)}`)
    }
  })

  story('a refused release is not a decline while the money is held', async (t) => {
    const separate = createAdapter(standIn, 'separate')
    for (const [when, status] of [
      ['before', 'authorized'],
      ['after', 'declined'],
    ] as const) {
      const request = order('ok', { capture: 'separate' })
      const charge = nameOf(request, await separate.charge(request))
      standIn.fake.answerNext('refusal', when)
      const outcome = await separate.release(`${request.reference}-release`, charge)
      t.is(outcome.status, name === 'adyen' ? 'unknown' : status, `${when}: ${JSON.stringify(outcome)}`)
    }
    // What was captured is not let go, whoever asks for it.
    const request = order('ok', { capture: 'separate' })
    const charge = nameOf(request, await separate.charge(request))
    await separate.capture(`${request.reference}-capture`, charge)
    t.true(['succeeded', 'pending'].includes((await separate.release(`${request.reference}-release`, charge)).status))
    t.is(standIn.fake.charge(request.reference)?.status, 'captured')
  })

  if (name === 'paypal') {
    story('an approved order that cannot be captured is declined; one that was captured meanwhile has succeeded', async (t) => {
      const approved = async () => {
        const request = order('sca')
        const charge = nameOf(request, await psp.charge(request))
        if ('approve' in standIn) standIn.approve(standIn.fake.charge(request.reference) as NonNullable<ReturnType<typeof standIn.fake.charge>>)
        return { request, charge }
      }
      const issue = (name: string) => ({ status: 422, body: { name: 'UNPROCESSABLE_ENTITY', details: [{ issue: name }] } })
      const refused = await approved()
      standIn.fake.answerNext(issue('INSTRUMENT_DECLINED'), 'before')
      t.like(await psp.complete(refused.charge, {}), { status: 'declined', declineClass: 'issuer_soft', pspCode: 'INSTRUMENT_DECLINED' })
      const twice = await approved()
      standIn.fake.answerNext(issue('ORDER_ALREADY_CAPTURED'), 'after')
      t.like(await psp.complete(twice.charge, {}), { status: 'succeeded' })
      const locked = await approved()
      standIn.fake.answerNext({ status: 401, body: { name: 'AUTHENTICATION_FAILURE' } }, 'before')
      t.like(await psp.complete(locked.charge, {}), { status: 'unknown' }, 'that PayPal does not let us in says nothing of the payment')
      t.like(await psp.complete(locked.charge, {}), { status: 'succeeded' })
    })

    story('a refund that is refused because it exists has been made', async (t) => {
      const request = order('ok')
      const charge = nameOf(request, await psp.charge(request))
      const refund = { reference: `${request.reference}.ref_twice`, charge, amountMinor: 2900 }
      t.like(await psp.refund(refund), { status: 'succeeded' })
      // PayPal has forgotten the request, and knows the invoice.
      standIn.fake.forgetKeys()
      t.like(await psp.refund(refund), { status: 'succeeded' })
      t.is(standIn.fake.charge(request.reference)?.refunds.length, 1)
    })
  }

  story('a charge that waits for its customer is given up, unless the customer was faster', async (t) => {
    // Adyen only takes it in, and tells the outcome by webhook.
    const isTold = name !== 'adyen'
    const request = order('sca')
    const waiting = nameOf(request, await psp.charge(request))
    for (let n = 0; n < 2; n += 1) {
      const outcome = await psp.cancel(`${request.reference}-cancel`, waiting)
      t.like(outcome, isTold ? { status: 'declined', declineClass: 'action_required' } : { status: 'unknown' }, `${n}: ${JSON.stringify(outcome)}`)
    }
    if (isTold) t.like(await psp.inquire(waiting), { status: 'declined' })
    t.not(standIn.fake.charge(request.reference)?.status, 'captured')
    if ('approve' in standIn) {
      // PayPal lets the customer of an order that was given up say yes: nobody captures it.
      const charge = standIn.fake.charge(request.reference)
      standIn.approve(charge as NonNullable<typeof charge>)
      t.like(await psp.inquire(waiting), { status: 'declined', declineClass: 'action_required' })
      t.like(await psp.complete(waiting, {}), { status: 'declined' })
      t.is(charge?.status, 'requires_action')
      // And of one that was not given up, it is captured as soon as somebody looks.
      const other = order('sca')
      const approved = nameOf(other, await psp.charge(other))
      const of = standIn.fake.charge(other.reference)
      standIn.approve(of as NonNullable<typeof of>)
      t.like(await psp.inquire(approved), { status: 'succeeded' })
    } else if (name !== 'local') t.is(standIn.fake.charge(request.reference)?.status, 'released')
    const quick = order('sca')
    const acted = nameOf(quick, await psp.charge(quick))
    await standIn.fake.conclude(quick.reference, 'captured')
    t.like(await psp.cancel(`${quick.reference}-cancel`, acted), { status: isTold ? 'succeeded' : 'unknown' })
    t.is(standIn.fake.charge(quick.reference)?.status, 'captured')
    const stolen = order('sca')
    const refused = nameOf(stolen, await psp.charge(stolen))
    Object.assign(standIn.fake.charge(stolen.reference) ?? {}, { code: codes[name].hard })
    await standIn.fake.conclude(stolen.reference, 'declined')
    const outcome = await psp.cancel(`${stolen.reference}-cancel`, refused)
    t.like(outcome, isTold ? { status: 'declined', declineClass: 'hard' } : { status: 'unknown' }, 'a card that was refused meanwhile')
    t.like(await psp.cancel('never-cancel', nameOf(order('sca'))), { status: 'unknown' }, 'of what nobody knows nothing is claimed')
    if ('forgetCancel' in standIn) {
      const old = order('sca')
      const kept = nameOf(old, await psp.charge(old))
      standIn.forgetCancel()
      t.like(await psp.cancel(`${old.reference}-cancel`, kept), { status: 'unknown', pspCode: 'http_404' })
    }
  })

  story('a refund is made once per reference; one larger than the rest fails', async (t) => {
    const request = order('ok')
    const charge = nameOf(request, await psp.charge(request))
    const refund = { reference: `${request.reference}.ref_1`, charge, amountMinor: 900 }
    for (let n = 0; n < 2; n += 1) {
      const outcome = await psp.refund(refund)
      t.true(['succeeded', 'pending'].includes(outcome.status), JSON.stringify(outcome))
    }
    const amounts = () => standIn.fake.charge(request.reference)?.refunds.map(({ amount }) => amount)
    t.deepEqual(amounts(), [900])
    t.like(await psp.refund({ ...refund, reference: `${request.reference}.ref_2`, amountMinor: 2001 }), { status: 'failed' })
    await psp.refund({ ...refund, reference: `${request.reference}.ref_3`, amountMinor: 2000 })
    t.deepEqual(amounts(), [900, 2000])
    const known = await psp.inquireRefund(refund)
    t.true(['succeeded', 'cannot_tell'].includes(known.status))
    const unknown = await psp.inquireRefund({ ...refund, reference: `${request.reference}.ref_4` })
    t.true(['not_found', 'cannot_tell'].includes(unknown.status))
  })

  story('a charge is found by our reference, or nobody claims to know', async (t) => {
    const never = await psp.inquire(nameOf(order('ok')))
    t.true(['not_found', 'cannot_tell'].includes(never.status))
    const request = order('ok')
    const outcome = await psp.charge(request)
    const found = await psp.inquire(nameOf(request))
    t.true(['succeeded', 'cannot_tell'].includes(found.status))
    if (found.status === 'cannot_tell') t.like(await psp.charge(request), { status: 'succeeded' }, 'what cannot be asked can be sent again')
    else t.is(pspReferenceOf(found as ChargeOutcome), pspReferenceOf(outcome))
  })

  const faultsOf: [Fault, Partial<ChargeOutcome>][] = [
    ['timeout before', { status: 'unknown' }],
    ['timeout after', { status: 'unknown' }],
    ['429', { status: 'declined', declineClass: 'technical' }],
    ['500 before', { status: 'unknown' }],
    ['500 after', { status: 'unknown' }],
    ['malformed answer', { status: 'unknown' }],
    ['slow answer', { status: 'succeeded' }],
    ['reset after', { status: 'unknown' }],
  ]
  story('a request that may have reached the provider is never taken as refused', async (t) => {
    for (const [fault, expected] of faultsOf) {
      standIn.fake.failNext(fault)
      t.like(await psp.charge(order('ok')), expected as Record<string, unknown>, fault)
    }
  })

  story('a request to a provider that cannot be reached was provably not sent', async (t) => {
    const fresh = createAdapter(standIn)
    await standIn.fake.down()
    try {
      t.like(await fresh.charge(order('ok')), { status: 'not_sent' })
      const charge = { ...nameOf(order('ok')), pspReference: '1' }
      const found = await fresh.inquire(charge)
      t.true(['unknown', 'cannot_tell'].includes(found.status))
      t.like(await fresh.refund({ reference: 'r', charge, amountMinor: 1 }), { status: 'unknown' })
      for (const what of ['capture', 'release', 'cancel'] as const) t.like(await fresh[what]('c', charge), { status: 'unknown' })
    } finally {
      await standIn.fake.up()
    }
  })

  /** Every one of its credentials wrong, except those that only say where and for whom. */
  const strangerHere = (): Psp => {
    const kept = ['merchantAccount', 'webhookId', 'url', 'clientId']
    const wrong = Object.fromEntries(
      Object.entries(standIn.credentials).map(([key, value]) => [key, kept.includes(key) ? value : key === 'secret' ? `whsec_${'A'.repeat(40)}` : 'wrong']),
    )
    return createAdapter({ ...standIn, credentials: wrong as never })
  }

  story("wrong credentials are ours to correct, an unknown token the customer's", async (t) => {
    t.like(await strangerHere().charge(order('ok')), { status: 'declined', declineClass: 'config', credentialsRefused: true })
    if (name !== 'local') t.like(await psp.charge(order('unknown')), { status: 'declined', declineClass: 'credential' })
  })

  /** What the stand-in would send of a charge, taken as the control plane takes it. */
  const deliver = async (event: { headers: Record<string, string>; body: string; query?: string }) => {
    const request: WebhookRequest = { headers: event.headers, query: Object.fromEntries(new URLSearchParams(event.query)), rawBody: event.body }
    await psp.verifyWebhook(request)
    return psp.readEvents(request)
  }

  story('an event is believed with its signature, and not without it, with another, or about other things', async (t) => {
    const request = order('ok')
    await psp.charge(request)
    const charge = standIn.fake.charge(request.reference)
    if (!charge) throw new Error('not charged')
    const event = standIn.disputeEvent(charge, 'open')
    await t.notThrowsAsync(() => deliver(event))
    const refused = (change: Partial<typeof event>) =>
      t.throwsAsync(() => deliver({ ...event, ...change }), { code: 'signature_invalid' } as never, JSON.stringify(change).slice(0, 80))
    const other = order('ok')
    await psp.charge(other)
    const foreign = standIn.disputeEvent(standIn.fake.charge(other.reference) ?? charge, 'open')
    if (name === 'adyen') {
      const unsigned = JSON.parse(event.body)
      delete unsigned.notificationItems[0].NotificationRequestItem.additionalData.hmacSignature
      await refused({ body: JSON.stringify(unsigned) })
      const changed = JSON.parse(event.body)
      changed.notificationItems[0].NotificationRequestItem.amount.value = 1
      await refused({ body: JSON.stringify(changed) })
      changed.notificationItems = []
      await refused({ body: JSON.stringify(changed) })
    } else {
      await refused({ headers: {} })
      await refused({ body: foreign.body, ...('query' in event ? { query: (event as { query: string }).query } : {}) })
    }
    if (standIn.staleEvent)
      await t.throwsAsync(() => deliver((standIn.staleEvent as (of: typeof charge) => typeof event)(charge)), { code: 'signature_invalid' } as never)
    const { webhookId: _, ...others } = standIn.credentials as Record<string, string>
    const withoutSecret = createAdapter({ ...standIn, webhookSecret: undefined, credentials: others as never })
    const raw: WebhookRequest = { headers: event.headers, query: {}, rawBody: event.body }
    const error = await t.throwsAsync(() => withoutSecret.verifyWebhook(raw))
    t.true(isAppError(error, 'signature_invalid'))
  })

  const URL_AT = 'https://tollgate.example/v1/webhooks/psp/shop/account'
  /** The provider's API for webhooks, as the adapter and as the stand-in have it; undefined where there is none. */
  const webhooksOf = (adapter: Psp) =>
    'byHand' in adapter.webhooks || !('hooks' in standIn) ? undefined : { api: adapter.webhooks, hooks: standIn.hooks, signAs: standIn.signAs }
  const hasApi = name === 'stripe' || name === 'adyen' || name === 'paypal'
  /** Registers as the command does: what is replaced is removed once the secret is stored. */
  const register = async (adapter: Psp, known?: string) => {
    const { webhooks } = adapter
    if ('byHand' in webhooks) throw new Error(webhooks.byHand)
    const made = await webhooks.register(URL_AT, known)
    await webhooks.removeOthers?.(URL_AT, made.id)
    return made
  }
  /** The adapter of an account that has kept what registering answered. */
  const withSecretsOf = ({ secrets }: Awaited<ReturnType<typeof register>>): Psp => {
    const changed = Object.entries(secrets?.credentials ?? {}).map(([key, secret]) => [key, secret.reveal()])
    const credentials = { ...standIn.credentials, ...Object.fromEntries(changed) }
    return createAdapter({ ...standIn, credentials: credentials as never, webhookSecret: secrets?.webhookSecret?.reveal() ?? standIn.webhookSecret })
  }

  if (!hasApi) {
    story('who sets a webhook up by hand is told how', (t) => {
      t.true('byHand' in psp.webhooks && /our URL.*\.$/.test(psp.webhooks.byHand))
      return Promise.resolve()
    })
  } else {
    story('our address is set up once, for the events that are read, and its events are believed', async (t) => {
      const { hooks, signAs } = webhooksOf(psp) ?? t.fail('it has no API')
      const made = await register(psp)
      t.deepEqual([...hooks.keys()], [made.id])
      const [hook] = hooks.values()
      if (!hook) throw new Error('not made')
      t.like(hook, { url: URL_AT, active: true })
      t.deepEqual(hook.events, made.events)
      const request = order('ok')
      await psp.charge(request)
      const charge = standIn.fake.charge(request.reference)
      if (!charge) throw new Error('not charged')
      signAs(hook)
      const deliverTo = async (adapter: Psp, event: { headers: Record<string, string>; body: string }) => {
        const delivered: WebhookRequest = { headers: event.headers, query: {}, rawBody: event.body }
        await adapter.verifyWebhook(delivered)
        return adapter.readEvents(delivered)
      }
      const registered = withSecretsOf(made)
      const [dispute] = await deliverTo(registered, standIn.disputeEvent(charge, 'open'))
      t.true(made.events.includes(dispute?.type ?? ''), dispute?.type)
      t.truthy(dispute?.dispute)
      const [other] = await deliverTo(registered, standIn.unknownEvent())
      t.false(made.events.includes(other?.type ?? ''), other?.type)
      await t.throwsAsync(() => deliverTo(psp, standIn.disputeEvent(charge, 'open')), { code: 'signature_invalid' } as never, 'by what was replaced')

      // A repeat finds it, mends it, and keeps its secret.
      const secret = hook.secret
      Object.assign(hook, { events: made.events.slice(0, 1), active: name === 'paypal' })
      for (let n = 0; n < 2; n += 1) {
        const again = await register(registered, made.id)
        t.like(again, { id: made.id, events: made.events })
        t.is(again.secrets?.webhookSecret, undefined)
        t.deepEqual([...hooks.values()], [{ ...hook, active: true, events: made.events, secret }])
      }
      signAs()
    })

    story('a webhook whose secret is not known ends in one, whose secret is', async (t) => {
      const { hooks, signAs } = webhooksOf(psp) ?? t.fail('it has no API')
      // Adyen lists so many at once: ours is on the second page.
      const others = Array.from({ length: name === 'adyen' ? 100 : 1 }, (_, n) => `other${n}`)
      for (const when of ['before', 'after'] as const) {
        hooks.clear()
        for (const id of others) hooks.set(id, { id, url: `https://${id}.example`, events: ['x'], active: true, secret: id })
        // Made, or not, and nobody was told: as when this process dies before it has stored anything.
        standIn.fake.answerNext('failed', when)
        await t.throwsAsync(() => register(psp), { code: 'unavailable' } as never, when)
        t.is(hooks.size, others.length + (when === 'after' ? 1 : 0))
        const made = await register(psp)
        t.deepEqual([...hooks.keys()], [...others, made.id])
        const request = order('ok')
        await psp.charge(request)
        const hook = hooks.get(made.id)
        if (!hook) throw new Error('not made')
        signAs(hook)
        const event = standIn.disputeEvent(standIn.fake.charge(request.reference) as never, 'open')
        await t.notThrowsAsync(() => withSecretsOf(made).verifyWebhook({ headers: event.headers, query: {}, rawBody: event.body }))
      }
      signAs()
    })

    story('a provider that does not set a webhook up is told apart: not now, not with this key, not so', async (t) => {
      const { hooks } = webhooksOf(psp) ?? t.fail('it has no API')
      hooks.clear()
      const cases: [answer: { status: number; body?: unknown }, code: string, message: RegExp][] = [
        [
          { status: 403, body: { error: { type: 'invalid_request_error', message: 'The key rk_live_123 may not' } } },
          'refused_by_provider',
          /does not allow these credentials/,
        ],
        [
          { status: 400, body: { error: { type: 'invalid_request_error', message: 'Bad' }, title: 'Bad', name: 'Bad' } },
          'refused_by_provider',
          /HTTP 400: .*Bad/,
        ],
        [{ status: 429, body: { error: { type: 'invalid_request_error' } } }, 'unavailable', /make the same call again/],
        [{ status: 503, body: '<html>' }, 'unavailable', /make the same call again/],
        [{ status: 200, body: '<html>' }, 'unavailable', /make the same call again/],
      ]
      for (const [answer, code, message] of cases) {
        standIn.fake.answerNext(answer, 'before')
        const error = await t.throwsAsync(() => register(psp), { code, message } as never, JSON.stringify(answer))
        t.notRegex(error?.message ?? '', /rk_live/)
        t.is(hooks.size, 0)
      }
      await t.throwsAsync(() => register(strangerHere()), { code: 'refused_by_provider', message: /does not accept the account's credentials/ } as never)
      if (name !== 'adyen') {
        for (let n = 0; n < 16; n += 1) hooks.set(`${n}`, { id: `${n}`, url: `https://${n}.example`, events: [], active: true, secret: '' })
        await t.throwsAsync(() => register(psp), { code: 'refused_by_provider', message: /as many webhooks as it allows: remove one/ } as never)
        hooks.clear()
      }
      await standIn.fake.down()
      try {
        await t.throwsAsync(() => register(createAdapter(standIn)), { code: 'unavailable', message: /gave no answer/ } as never)
      } finally {
        await standIn.fake.up()
      }
    })
  }

  story('an event of a type that nobody acts on is read, and says nothing', async (t) => {
    const [event] = await deliver(standIn.unknownEvent())
    t.truthy(event?.id)
    t.truthy(event?.type)
    t.deepEqual([event?.charge, event?.refund, event?.dispute], [undefined, undefined, undefined])
    t.throws(() => psp.readEvents({ headers: {}, query: {}, rawBody: '{"hello":"world"}' }))
  })

  story('a dispute is read from its opening to its end', async (t) => {
    const request = order('ok')
    await psp.charge(request)
    const charge = standIn.fake.charge(request.reference)
    if (!charge) throw new Error('not charged')
    for (const status of ['open', 'won', 'lost'] as const) {
      const [event] = await deliver(standIn.disputeEvent(charge, status))
      const looked = event?.charge?.reference ? undefined : await psp.lookUp(event?.charge?.pspReference ?? '')
      t.is(event?.charge?.reference ?? looked?.reference, request.reference)
      t.like(event?.dispute ?? looked?.dispute, { status, amountMinor: 2900, currency: currencyOf[name] })
    }
  })
}
