/**
 * What ought to happen to one subscription, written down a second time as simply as it could be: one thread, one
 * clock in minutes, no storage, no retries of anything. It shares no code with the control plane, so that a mistake
 * would have to be made twice.
 */
const DAY = 1440
const GRACE = 3 * DAY
const RETRIES = [DAY, 3 * DAY, 7 * DAY]
const FIRST_PAYMENT = 23 * 60
const INQUIRY = 5
const ASK_AGAIN = 60
const ACTION = 23 * 60
/** Less than this is not charged by itself. */
const SMALLEST = 50

export interface Plan {
  id: string
  price: number
  interval: 'day' | 'week' | 'month'
  trialDays: number
  refundEnds: boolean
}

interface Span {
  start: number
  end: number
  wholeStart: number
  wholeEnd: number
}

/** Money, by the bill that it came with. */
interface Lot {
  no: number
  amount: number
}

const merged = (...lists: Lot[][]): Lot[] => {
  const all: Lot[] = []
  for (const { no, amount } of lists.flat()) {
    const known = all.find((lot) => lot.no === no)
    if (known) known.amount += amount
    else if (amount > 0) all.push({ no, amount })
  }
  return all.filter(({ amount }) => amount > 0)
}
const split = (lots: Lot[], wanted: number): [taken: Lot[], left: Lot[]] => {
  let open = wanted
  const taken = lots.map(({ no, amount }) => {
    const part = Math.min(open, amount)
    open -= part
    return { no, amount: part }
  })
  return [merged(taken), merged(lots.map(({ no, amount }, n) => ({ no, amount: amount - (taken[n]?.amount ?? 0) })))]
}
const splitNewest = (lots: Lot[], wanted: number): [taken: Lot[], left: Lot[]] => {
  const [taken, left] = split(lots.toReversed(), wanted)
  return [taken.toReversed(), left.toReversed()]
}
const amountOf = (lots: Lot[], no: number): number => lots.find((lot) => lot.no === no)?.amount ?? 0

interface Bill {
  kind: 'period' | 'change'
  span: Span
  /** Counts the bills. */
  no: number
  amount: number
  credit: number
  creditLots: Lot[]
  /** What is left to the next bill, and what was brought from the last. */
  carried: number
  basis: number
  /** Of a whole period; and what of its credit went back to the customer. */
  price: number
  gone: number
  /** The price of its plan's time. */
  plain: number
  /** Attempts asked for so far. */
  rounds: number
  /** Time without access is left out up to here. */
  leftOut?: number | undefined
  openedAt: number
  failedAt?: number | undefined
  refusedFor: Set<string>
  /** The card of the last attempt. */
  card?: string | undefined
  /** An attempt without an outcome: when it will have one, and which. */
  waiting?: { at: number; then: 'paid' | 'refused' | 'never'; order: number; moves: boolean; isSca?: boolean } | undefined
  plan?: Plan
  quantity?: number
  anchor?: number
  /** Of a change: what was credited for the time that was left. */
  unused?: number
}

export type Status = 'scheduled' | 'incomplete' | 'incomplete_expired' | 'trialing' | 'active' | 'past_due' | 'suspended' | 'paused' | 'canceled'

/** A command that the state does not allow. */
export class Refused extends Error {}

const dayOf = (minute: number): number => Math.floor(minute / DAY)
const share = (amount: number, part: number, whole: number): number => Math.floor((2 * amount * part + whole) / (2 * whole))

const addMonths = (minute: number, months: number): number => {
  const at = new Date(minute * 60_000)
  const [year, month] = [at.getUTCFullYear(), at.getUTCMonth() + months]
  const last = new Date(Date.UTC(year, month + 1, 0)).getUTCDate()
  return Date.UTC(year, month, Math.min(at.getUTCDate(), last), at.getUTCHours(), at.getUTCMinutes()) / 60_000
}

const gridPoint = (anchor: number, interval: Plan['interval'], n: number): number => {
  if (interval === 'month') return addMonths(anchor, n)
  return anchor + n * (interval === 'week' ? 7 : 1) * DAY
}

/** What is left, from `at`, of the period of the grid that contains it. */
const spanFrom = (anchor: number, interval: Plan['interval'], at: number): Span => {
  let n = 0
  while (gridPoint(anchor, interval, n) > at) n -= 1
  while (gridPoint(anchor, interval, n + 1) <= at) n += 1
  const [wholeStart, wholeEnd] = [gridPoint(anchor, interval, n), gridPoint(anchor, interval, n + 1)]
  return { start: at, end: wholeEnd, wholeStart, wholeEnd }
}

const costFrom = (price: number, span: Span, at: number): number => {
  const from = Math.max(at, span.start)
  if (from >= span.end) return 0
  if (from === span.wholeStart && span.end === span.wholeEnd) return price
  const whole = dayOf(span.wholeEnd) - dayOf(span.wholeStart)
  return share(price, Math.min(dayOf(span.end) - dayOf(from), whole), whole)
}

/** Within a period its last day counts, however little is left of it. */
const costOfRest = (price: number, span: Span, at: number): number => {
  const whole = dayOf(span.wholeEnd) - dayOf(span.wholeStart)
  if (at >= span.start && at < span.end && dayOf(span.end) === dayOf(at) && whole > 0) return share(price, 1, whole)
  return costFrom(price, span, at)
}

const days = (from: number, to: number): number => Math.max(0, dayOf(to) - dayOf(from))
export class Model {
  now: number
  status: Status = 'scheduled'
  plan: Plan
  quantity: number
  card: string | undefined
  anchor: number
  span: Span
  basis = 0
  credit = 0
  creditLots: Lot[] = []
  carried = 0
  /** Whose money the period was paid with, and by which bill it was begun. */
  lots: Lot[] = []
  own = -1
  private bills = 0
  bill: Bill | undefined
  change: Bill | undefined
  scheduled: { plan: Plan; quantity: number } | undefined
  graceUntil: number | undefined
  retryAt: number | undefined
  payBy: number | undefined
  cancelAtEnd = false
  collectionPaused = false
  pausedAt: number | undefined
  resumeAt: number | undefined
  pausedForCard = false
  /** Times without access that are over, and since when there is none. */
  offs: { from: number; until: number }[] = []
  offSince: number | undefined
  trialEnd: number | undefined
  billMissed: boolean
  /** What the business has, in the end, kept. */
  paid = 0
  /** Of the current period's own payment: what can still be refunded. */
  refundable = 0
  /** Charges made for nothing that the control plane has not heard of yet. */
  private readonly strays: { at: number; amount: number }[] = []

  constructor(options: { now: number; plan: Plan; quantity: number; card: string | undefined; start: number; billMissed: boolean }) {
    this.now = options.now
    this.plan = options.plan
    this.quantity = options.quantity
    this.card = options.card
    this.billMissed = options.billMissed
    this.trialEnd = options.plan.trialDays > 0 ? options.start + options.plan.trialDays * DAY : undefined
    this.anchor = this.trialEnd ?? options.start
    this.span = { start: options.start, end: this.anchor, wholeStart: options.start, wholeEnd: this.anchor }
    if (options.start <= this.now) this.begin()
    this.runDueTimers()
  }

  get price(): number {
    return this.plan.price * this.quantity
  }

  get isOver(): boolean {
    return this.status === 'canceled' || this.status === 'incomplete_expired'
  }

  /** A charge was sent, and nobody knows yet whether it was made. */
  get isUnsure(): boolean {
    return this.strays.length > 0 || [this.bill, this.change].some((bill) => bill?.waiting?.order === 1 && !bill.waiting.isSca)
  }

  get hasAccess(): boolean {
    return this.status === 'trialing' || this.status === 'active' || this.status === 'past_due'
  }

  // What time does.

  advanceTo(target: number): void {
    for (;;) {
      const next = this.timers()
        .filter(({ at }) => at <= target)
        .sort((a, b) => a.at - b.at || a.order - b.order)[0]
      if (!next) break
      this.now = Math.max(this.now, next.at)
      next.run()
    }
    this.now = target
  }

  /** Everything that is due at this instant. */
  private runDueTimers(): void {
    this.advanceTo(this.now)
  }

  private timers(): { at: number; order: number; run: () => void }[] {
    const timers: { at: number; order: number; run: () => void }[] = []
    for (const bill of [this.bill, this.change]) {
      const waiting = bill?.waiting
      if (bill && waiting && waiting.then !== 'never')
        timers.push({
          at: waiting.at,
          order: waiting.order,
          run: () => (waiting.isSca ? this.giveUp(bill) : this.hear(bill, waiting.then === 'paid', waiting.moves)),
        })
    }
    for (const stray of this.strays) {
      timers.push({
        at: stray.at,
        order: 1,
        run: () => {
          this.strays.splice(this.strays.indexOf(stray), 1)
          this.paid -= stray.amount
        },
      })
    }
    const due = this.dueAt()
    if (due !== undefined) timers.push({ at: due, order: 2, run: () => this.onTime(due) })
    return timers
  }

  private dueAt(): number | undefined {
    const earliest = (...times: (number | undefined)[]) => {
      const known = times.filter((time) => time !== undefined)
      return known.length === 0 ? undefined : Math.min(...known)
    }
    switch (this.status) {
      case 'scheduled':
        return this.span.start
      case 'incomplete':
        return this.payBy
      case 'trialing':
      case 'active':
        return this.bill && !this.cancelAtEnd ? earliest(Math.max(this.span.end, this.bill.openedAt) + GRACE, this.retryAt) : this.span.end
      case 'past_due':
        return earliest(this.graceUntil, this.retryAt)
      case 'suspended':
        return this.retryAt
      case 'paused':
        return this.resumeAt
      default:
        return undefined
    }
  }

  private onTime(due: number): void {
    if (this.status === 'scheduled') this.begin()
    else if (this.status === 'incomplete') this.end('incomplete_expired')
    else if (this.status === 'paused') this.endPause()
    else if (this.status === 'trialing' || this.status === 'active') {
      if (this.cancelAtEnd) this.end('canceled')
      else if (!this.bill) this.turn()
      else if (this.now >= Math.max(this.span.end, this.bill.openedAt) + GRACE) this.becomeOverdue(this.bill)
      else {
        this.retryAt = undefined
        this.attempt(this.bill)
      }
    } else if (this.status === 'past_due' && this.graceUntil !== undefined && this.graceUntil <= this.now) {
      this.status = 'suspended'
      this.graceUntil = undefined
      this.offSince = due
    } else this.retry()
  }

  private retry(): void {
    const bill = this.bill as Bill
    const failedAt = bill.failedAt ?? this.now
    if (this.now > failedAt + (RETRIES.at(-1) as number)) {
      this.end('canceled')
      return
    }
    this.retryAt = this.nextRetry(failedAt) ?? this.now + DAY
    if (!bill.waiting) this.again(bill)
  }

  /** What has failed is asked for again; in a suspension only what had access, and will have it. */
  private again(bill: Bill): void {
    if (this.status === 'suspended' && bill.kind === 'period') {
      const offs = [...this.offs, { from: this.offSince as number, until: this.now }]
      const before = { credit: this.credit, creditLots: this.creditLots, carried: this.carried, bills: this.bills }
      this.takeBack(bill)
      const price = bill.price
      let cost = this.costWithout(price, bill.span, offs)
      let { span } = bill
      if (cost === 0 && this.now >= span.end) {
        span = spanFrom(this.anchor, this.plan.interval, this.now)
        cost = costOfRest(price, span, this.now)
      }
      const { no, ...sums } = this.newBill('period', span, cost, price)
      if (sums.amount === 0 && this.carried > 0) {
        // Too little for a charge of its own: it is tried as it was.
        Object.assign(this, before)
        this.attempt(bill)
        return
      }
      Object.assign(bill, { span: sums.span, amount: sums.amount, credit: sums.credit, creditLots: sums.creditLots, carried: sums.carried, plain: sums.plain })
      bill.leftOut = this.now
      if (bill.amount === 0) {
        bill.no = no
        this.takeEffect(bill)
        return
      }
      this.bills -= 1
    }
    this.attempt(bill)
  }

  private costWithout(price: number, span: Span, offs: { from: number; until: number }[]): number {
    const whole = days(span.wholeStart, span.wholeEnd)
    return offs.reduce(
      (cost, off) => {
        const [from, until] = [Math.max(off.from, span.start), Math.min(off.until, span.end)]
        return from < until && whole > 0 ? Math.max(0, cost - share(price, Math.min(days(from, until), whole), whole)) : cost
      },
      costFrom(price, span, span.start),
    )
  }

  /** What a bill took when it was made. */
  private takeBack(bill: Bill): void {
    this.credit += bill.credit - bill.gone
    this.creditLots = merged(bill.creditLots, this.creditLots)
    this.carried -= bill.carried
  }

  private nextRetry(failedAt: number): number | undefined {
    return RETRIES.map((delay) => failedAt + delay).find((at) => at > this.now)
  }

  private begin(): void {
    if (this.trialEnd !== undefined && this.now < this.trialEnd) {
      this.status = 'trialing'
      return
    }
    const start = this.trialEnd ?? this.span.start
    const whole = spanFrom(this.anchor, this.plan.interval, this.now)
    this.span = this.billMissed
      ? spanFrom(this.anchor, this.plan.interval, start)
      : spanFrom(this.anchor, this.plan.interval, Math.max(whole.wholeStart, start))
    if (this.price === 0) {
      this.status = 'active'
      return
    }
    this.status = 'incomplete'
    this.payBy = this.now + FIRST_PAYMENT
    this.bill = this.newBill('period', this.span, costFrom(this.price, this.span, this.span.start), this.price)
    this.attempt(this.bill)
  }

  private newBill(kind: Bill['kind'], span: Span, total: number, basis: number): Bill {
    const due = total + this.carried
    const credit = Math.min(due, this.credit)
    this.credit -= credit
    const [creditLots, left] = split(this.creditLots, Math.max(0, credit))
    this.creditLots = left
    const amount = due - credit < Math.min(SMALLEST, basis) ? 0 : due - credit
    const carried = due - credit - amount - this.carried
    this.carried += carried
    const no = this.bills
    this.bills += 1
    return {
      kind,
      no,
      span,
      amount,
      credit,
      creditLots,
      carried,
      basis,
      price: basis,
      gone: 0,
      plain: total,
      openedAt: this.now,
      refusedFor: new Set(),
      rounds: 0,
    }
  }

  private turn(): void {
    this.dropChange()
    const isStuck = this.price === 0 && this.card === undefined && !this.collectionPaused
    if (this.scheduled && isStuck && this.scheduled.plan.price * this.scheduled.quantity > this.credit) this.scheduled = undefined
    if (this.scheduled) {
      const sameCycle = this.scheduled.plan.interval === this.plan.interval
      this.plan = this.scheduled.plan
      this.quantity = this.scheduled.quantity
      this.scheduled = undefined
      if (!sameCycle) this.anchor = this.span.end
    }
    const start = this.offs.reduce((from, off) => (from >= off.from && from < off.until ? off.until : from), this.span.end)
    const span = spanFrom(this.anchor, this.plan.interval, start)
    const offs = this.offs.filter(({ until }) => until > start)
    if (this.price === 0 || this.collectionPaused) {
      this.offs = offs
      this.status = 'active'
      this.enter(span, 0, 0, [], this.bills)
      return
    }
    const bill = this.newBill('period', span, this.costWithout(this.price, span, this.offs), this.price)
    for (const off of this.offs) if (off.from < span.end && off.until > span.start) bill.leftOut = Math.min(off.until, span.end)
    if (bill.amount > 0 && this.card === undefined) {
      this.takeBack(bill)
      this.bills -= 1
      this.status = 'paused'
      this.pausedAt = this.span.end
      this.pausedForCard = true
      return
    }
    this.offs = offs
    this.bill = bill
    this.attempt(bill)
  }

  private enter(span: Span, basis: number, refundable: number, lots: Lot[], own: number): void {
    this.lots = lots
    this.own = own
    this.span = span
    this.basis = basis
    this.refundable = refundable
  }

  // What payments do.

  private attempt(bill: Bill): void {
    if (bill.waiting) return
    bill.rounds += 1
    if (bill.amount === 0) {
      this.takeEffect(bill)
      return
    }
    const { card } = this
    bill.card = card
    if (card === undefined) {
      this.refused(bill, false)
      return
    }
    const [kind, minutes] = card.split('_')
    const wait = (at: number, then: 'paid' | 'refused' | 'never', order: number, moves: boolean, isSca = false) => {
      bill.waiting = { at, then, order, moves, isSca }
    }
    if (bill.refusedFor.has(card)) this.refused(bill, false)
    else if (kind === 'good') {
      this.paid += bill.amount
      this.takeEffect(bill)
    } else if (kind === 'funds' || kind === 'soft') this.refused(bill, false)
    else if (kind === 'hard' || kind === 'credential') {
      bill.refusedFor.add(card)
      this.refused(bill, false)
    } else if (kind === 'away') this.refused(bill, true)
    else if (kind === 'paidsilent') {
      this.paid += bill.amount
      wait(this.now + INQUIRY, 'paid', 1, false)
    } else if (kind === 'lost') wait(this.now + INQUIRY, 'paid', 1, true)
    else if (kind === 'pending') wait(this.now + Number(minutes), 'paid', 0, true)
    else if (kind === 'pendingfail') wait(this.now + Number(minutes), 'refused', 0, false)
    else {
      wait(this.now + ACTION, 'refused', 1, true, true)
      if (bill.kind === 'period' && (this.status === 'active' || this.status === 'trialing')) this.becomeOverdue(bill)
    }
  }

  /** The customer is not waited for any longer: their bank has asked for them in vain. */
  private giveUp(bill: Bill): void {
    bill.waiting = undefined
    if (bill.card !== undefined) bill.refusedFor.add(bill.card)
    this.refused(bill, false)
  }

  private hear(bill: Bill, paid: boolean, moves: boolean): void {
    bill.waiting = undefined
    if (!paid) {
      this.refused(bill, false)
      return
    }
    if (moves) this.paid += bill.amount
    this.takeEffect(bill)
  }

  private takeEffect(bill: Bill): void {
    if (bill.kind === 'change') {
      this.change = undefined
      const samePeriod = bill.anchor === undefined
      const [kept] = splitNewest(this.lots, bill.unused ?? 0)
      const [toCredit, left] = splitNewest(kept, Math.max(0, -bill.credit))
      this.creditLots = merged(this.creditLots, toCredit)
      const lots = merged(left, bill.creditLots, [{ no: bill.no, amount: bill.amount }])
      const scheduled = this.scheduledAfter(bill.plan as Plan, bill.quantity as number)
      this.plan = bill.plan as Plan
      this.quantity = bill.quantity as number
      this.anchor = bill.anchor ?? this.anchor
      this.scheduled = scheduled
      this.enter(bill.span, bill.basis, samePeriod ? this.refundable : 0, lots, samePeriod ? this.own : bill.no)
      return
    }
    this.bill = undefined
    const late = this.status === 'paused' || (this.status === 'incomplete' && !this.billMissed)
    const isUnserved = late && bill.span.end <= this.now
    const since = isUnserved ? bill.span.start : this.status === 'suspended' ? this.offSince : undefined
    const lots = merged(bill.creditLots, [{ no: bill.no, amount: bill.amount }])
    let credited = 0
    if (since !== undefined) {
      this.offs.push({ from: since, until: this.now })
      const { span } = bill
      const from = Math.max(since, bill.leftOut ?? 0, span.start)
      const until = Math.min(this.now, span.end)
      const whole = days(span.wholeStart, span.wholeEnd)
      if (from < until && whole > 0) credited = Math.min(bill.plain, share(bill.price, Math.min(days(from, until), whole), whole))
    }
    this.offSince = undefined
    const [toCredit, left] = splitNewest(lots, credited)
    this.credit += credited
    this.creditLots = merged(this.creditLots, toCredit)
    this.status = 'active'
    this.enter(bill.span, bill.basis, bill.amount, left, bill.no)
    this.payBy = undefined
    this.graceUntil = undefined
    this.retryAt = undefined
    this.pausedAt = undefined
    this.pausedForCard = false
    this.resumeAt = undefined
  }

  private refused(bill: Bill, away: boolean): void {
    // Another card was given while the last one was being waited for.
    const another = this.card !== undefined && this.card !== bill.card
    if ((bill.kind === 'change' || this.status === 'paused') && another) {
      this.attempt(bill)
      return
    }
    if (bill.kind === 'change') {
      this.takeBack(bill)
      this.change = undefined
    } else if (this.status === 'paused') {
      this.takeBack(bill)
      this.bill = undefined
    } else if (this.status === 'active' || this.status === 'trialing') {
      if (away) this.retryAt = this.now + Math.min(ASK_AGAIN * 2 ** (bill.rounds - 1), DAY)
      else this.becomeOverdue(bill)
    } else if (this.status === 'past_due' || this.status === 'suspended') {
      this.retryAt = this.nextRetry(bill.failedAt ?? this.now)
      if (this.retryAt === undefined && another) this.retryAt = this.now + DAY
      if (this.retryAt === undefined) this.end('canceled')
    }
    if (this.bill === bill && another) this.again(bill)
  }

  private becomeOverdue(bill: Bill): void {
    bill.failedAt ??= this.now
    this.status = 'past_due'
    this.graceUntil = this.now + GRACE
    this.retryAt = this.nextRetry(bill.failedAt)
  }

  private stray(bill: Bill): void {
    this.takeBack(bill)
    // Charged already, and nobody knows: it comes back when the bank is asked.
    if (bill.waiting?.then === 'paid' && !bill.waiting.moves) this.strays.push({ at: bill.waiting.at, amount: bill.amount })
  }

  private dropChange(): void {
    if (this.change) this.stray(this.change)
    this.change = undefined
  }

  private end(status: 'canceled' | 'incomplete_expired'): void {
    this.dropChange()
    if (this.bill) this.stray(this.bill)
    this.bill = undefined
    this.status = status
    const squared = Math.min(this.carried, this.credit)
    this.credit -= squared
    this.creditLots = split(this.creditLots, squared)[1]
    this.carried = 0
    this.cancelAtEnd = false
    this.scheduled = undefined
    this.graceUntil = undefined
    this.retryAt = undefined
    this.collectionPaused = false
  }

  // What callers do.

  cancel(at: 'now' | 'period_end'): void {
    if (this.isOver) throw new Refused()
    if (at === 'now' || (this.status !== 'trialing' && this.status !== 'active')) this.end('canceled')
    else this.cancelAtEnd = true
    this.runDueTimers()
  }

  reactivate(): void {
    if (this.isOver || !this.cancelAtEnd) throw new Refused()
    this.cancelAtEnd = false
  }

  pause(days: number | undefined): void {
    if (this.status !== 'active' || this.bill || this.change) throw new Refused()
    this.status = 'paused'
    this.pausedAt = this.now
    this.resumeAt = days === undefined ? undefined : this.now + days * DAY
  }

  pauseCollection(): void {
    if ((this.status !== 'active' && this.status !== 'trialing') || this.collectionPaused || this.bill || this.change) throw new Refused()
    this.collectionPaused = true
  }

  resume(): void {
    if (this.status === 'paused') {
      if (this.bill) throw new Refused()
      this.endPause()
    } else if (this.collectionPaused) this.collectionPaused = false
    else throw new Refused()
    this.runDueTimers()
  }

  private endPause(): void {
    const since = this.pausedAt ?? this.now
    if (since < this.span.end) {
      const by = this.now - since
      const { start, end, wholeStart, wholeEnd } = this.span
      this.span = { start: start + by, end: end + by, wholeStart: wholeStart + by, wholeEnd: wholeEnd + by }
      this.anchor = this.span.end
      this.status = 'active'
      this.pausedAt = undefined
      this.resumeAt = undefined
      return
    }
    const span = spanFrom(this.now, this.plan.interval, this.now)
    const bill = this.newBill('period', span, this.price, this.price)
    if (bill.amount > 0 && this.card === undefined) {
      this.takeBack(bill)
      this.bills -= 1
      throw new Refused()
    }
    this.anchor = this.now
    this.resumeAt = undefined
    this.bill = bill
    this.attempt(bill)
  }

  setCard(card: string): void {
    if (this.isOver) throw new Refused()
    // The same card again asks for another try, of what has failed.
    const hasFailed = this.bill !== undefined && !this.bill.waiting
    if (card === this.card && !hasFailed) return
    this.card = card
    if (this.pausedForCard && !this.bill) this.endPause()
    else if (this.bill && !this.bill.waiting) this.again(this.bill)
    // A card that waits for its holder does not stand in the way of another.
    for (const bill of [this.bill, this.change]) if (bill?.waiting?.isSca && bill.card !== card) this.giveUp(bill)
    this.runDueTimers()
  }

  changeTo(plan: Plan, quantity: number, at: 'now' | 'period_end'): void {
    const same = plan.id === this.plan.id && quantity === this.quantity
    if (this.status === 'scheduled') {
      if (same) throw new Refused()
      this.plan = plan
      this.quantity = quantity
      return
    }
    if ((this.status !== 'active' && this.status !== 'trialing') || this.bill || this.change) throw new Refused()
    if (at === 'period_end') {
      if (this.cancelAtEnd || (same && !this.scheduled)) throw new Refused()
      this.scheduled = same ? undefined : { plan, quantity }
      return
    }
    if (same) throw new Refused()
    if (this.status === 'trialing') {
      this.scheduled = this.scheduledAfter(plan, quantity)
      this.plan = plan
      this.quantity = quantity
      return
    }
    if (this.collectionPaused) throw new Refused()
    const price = plan.price * quantity
    const unused = costOfRest(this.basis, this.span, this.now)
    const sameCycle = plan.interval === this.plan.interval
    const span = sameCycle ? this.span : spanFrom(this.now, plan.interval, this.now)
    const bill = this.newBill('change', span, costOfRest(price, span, this.now) - unused, price)
    if (bill.amount > 0 && this.card === undefined) {
      this.takeBack(bill)
      this.bills -= 1
      throw new Refused()
    }
    Object.assign(bill, { unused, plan, quantity, ...(sameCycle ? {} : { anchor: this.now }) })
    this.change = bill
    this.attempt(bill)
    this.runDueTimers()
  }

  /** Seats leave a scheduled change standing, with their number where it had it; another plan takes its place. */
  private scheduledAfter(plan: Plan, quantity: number): { plan: Plan; quantity: number } | undefined {
    if (!this.scheduled || plan.id !== this.plan.id) return undefined
    const next = { plan: this.scheduled.plan, quantity: this.scheduled.quantity === this.quantity ? quantity : this.scheduled.quantity }
    return next.plan.id === plan.id && next.quantity === quantity ? undefined : next
  }

  /** The customer acts, and whatever waited for that is paid. */
  approve(): void {
    for (const bill of [this.bill, this.change]) if (bill?.waiting?.isSca) this.hear(bill, true, true)
    this.runDueTimers()
  }

  refund(amount: number): void {
    if (amount > this.refundable || this.refundable === 0) throw new Refused()
    this.paid -= amount
    this.refundable -= amount
    const { change } = this
    // A change that is on its way was reckoned with money that is not there any more.
    if (change) this.takeBack(change)
    const sum = (lots: Lot[]): number => lots.reduce((total, lot) => total + lot.amount, 0)
    const less = (lots: Lot[], by: number): Lot[] => merged(lots.map(({ no, amount: of }) => ({ no, amount: no === this.own ? of - by : of })))
    let left = amount
    const worth = this.isOver ? 0 : Math.min(left, amountOf(this.lots, this.own))
    const had = amountOf(this.lots, this.own) > 0
    if (worth > 0) {
      const rest = less(this.lots, worth)
      this.basis = share(this.basis, sum(rest), sum(this.lots))
      this.lots = rest
    }
    left -= worth
    let ofBill = 0
    if (this.bill) {
      ofBill = Math.min(left, amountOf(this.bill.creditLots, this.own))
      const all = this.bill.amount + sum(this.bill.creditLots)
      const rest = less(this.bill.creditLots, ofBill)
      if (all > 0) this.bill.basis = share(this.bill.basis, this.bill.amount + sum(rest), all)
      this.bill.creditLots = rest
      this.bill.gone += ofBill
      left -= ofBill
    }
    const fromCredit = Math.min(left, this.credit, amountOf(this.creditLots, this.own))
    this.credit -= fromCredit
    this.creditLots = less(this.creditLots, fromCredit)
    if (change && worth + ofBill + fromCredit > 0) {
      this.takeAgain(change)
      this.dropChange()
    } else if (change) this.takeAgain(change)
    if (this.isOver) return
    if (this.refundable === 0 && this.basis === 0 && this.plan.refundEnds && had) this.end('canceled')
    this.runDueTimers()
  }

  private takeAgain(bill: Bill): void {
    this.credit -= bill.credit
    this.carried += bill.carried
    for (const { no, amount } of bill.creditLots) {
      const lot = this.creditLots.find((one) => one.no === no)
      if (lot) lot.amount -= amount
    }
    this.creditLots = merged(this.creditLots)
  }
}
