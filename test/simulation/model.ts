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

interface Bill {
  kind: 'period' | 'change'
  span: Span
  amount: number
  credit: number
  basis: number
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
  off: { from: number; until: number | undefined } | undefined
  trialEnd: number | undefined
  billMissed: boolean
  /** What the business has, in the end, kept. */
  paid = 0
  /** Of the current period's own payment: what can still be refunded. */
  refundable = 0
  /** Which piece of a whole period that payment is for. */
  private piece: [part: number, whole: number] = [1, 1]
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
    this.settleTimers()
  }

  get price(): number {
    return this.plan.price * this.quantity
  }

  get isOver(): boolean {
    return this.status === 'canceled' || this.status === 'incomplete_expired'
  }

  /** A charge was sent, and nobody knows yet whether it was made. */
  get isUnsure(): boolean {
    return this.strays.length > 0 || [this.bill, this.change].some((bill) => bill?.waiting?.order === 1)
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
  private settleTimers(): void {
    this.advanceTo(this.now)
  }

  private timers(): { at: number; order: number; run: () => void }[] {
    const timers: { at: number; order: number; run: () => void }[] = []
    for (const bill of [this.bill, this.change]) {
      const waiting = bill?.waiting
      if (bill && waiting && waiting.then !== 'never')
        timers.push({ at: waiting.at, order: waiting.order, run: () => this.hear(bill, waiting.then === 'paid', waiting.moves) })
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
      this.off = this.off?.until === undefined ? { from: due, until: undefined } : { from: this.off.from, until: undefined }
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
    this.attempt(bill)
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
    const credit = Math.min(total, this.credit)
    this.credit -= credit
    return { kind, span, amount: total - credit, credit, basis, openedAt: this.now, refusedFor: new Set() }
  }

  private turn(): void {
    this.dropChange()
    if (this.scheduled) {
      const sameCycle = this.scheduled.plan.interval === this.plan.interval
      this.plan = this.scheduled.plan
      this.quantity = this.scheduled.quantity
      this.scheduled = undefined
      if (!sameCycle) this.anchor = this.span.end
    }
    const { off } = this
    const start = off?.until !== undefined && this.span.end >= off.from && this.span.end < off.until ? off.until : this.span.end
    const span = spanFrom(this.anchor, this.plan.interval, start)
    const pastOff = off?.until !== undefined && span.end > off.until
    if (this.price === 0 || this.collectionPaused) {
      if (pastOff) this.off = undefined
      this.status = 'active'
      this.enter(span, 0, 0)
      return
    }
    const before = this.credit
    const bill = this.newBill('period', span, costFrom(this.price, span, span.start), this.price)
    if (bill.amount > 0 && this.card === undefined) {
      this.credit = before
      this.status = 'paused'
      this.pausedAt = this.span.end
      this.pausedForCard = true
      return
    }
    if (pastOff) this.off = undefined
    this.bill = bill
    this.attempt(bill)
  }

  private enter(span: Span, basis: number, refundable: number): void {
    this.span = span
    this.basis = basis
    this.refundable = refundable
  }

  // What payments do.

  private attempt(bill: Bill): void {
    if (bill.waiting) return
    if (bill.amount === 0) {
      this.settle(bill)
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
      this.settle(bill)
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
      wait(Infinity, 'never', 0, true, true)
      if (bill.kind === 'period' && (this.status === 'active' || this.status === 'trialing')) this.becomeOverdue(bill)
    }
  }

  private hear(bill: Bill, paid: boolean, moves: boolean): void {
    bill.waiting = undefined
    if (!paid) {
      this.refused(bill, false)
      return
    }
    if (moves) this.paid += bill.amount
    this.settle(bill)
  }

  private settle(bill: Bill): void {
    if (bill.kind === 'change') {
      this.change = undefined
      const samePeriod = bill.anchor === undefined
      this.plan = bill.plan as Plan
      this.quantity = bill.quantity as number
      this.anchor = bill.anchor ?? this.anchor
      this.scheduled = undefined
      this.enter(bill.span, bill.basis, samePeriod ? this.refundable : 0)
      return
    }
    this.bill = undefined
    const late = this.status === 'paused' || (this.status === 'incomplete' && !this.billMissed)
    if (late && bill.span.end <= this.now) this.off = { from: bill.span.start, until: this.now }
    else if (this.status === 'suspended' && this.off) this.off.until = this.now
    else if (this.off?.until === undefined) this.off = undefined
    this.status = 'active'
    this.enter(bill.span, bill.basis, bill.amount)
    const days = (from: number, to: number) => dayOf(to) - dayOf(from)
    this.piece = [days(bill.span.start, bill.span.end), days(bill.span.wholeStart, bill.span.wholeEnd)]
    if (this.piece[0] <= 0 || this.piece[1] <= 0) this.piece = [1, 1]
    this.payBy = undefined
    this.graceUntil = undefined
    this.retryAt = undefined
    this.pausedAt = undefined
    this.pausedForCard = false
    this.resumeAt = undefined
  }

  private refused(bill: Bill, away: boolean): void {
    if (bill.kind === 'change') {
      this.credit += bill.credit
      this.change = undefined
    } else if (this.status === 'paused') {
      this.credit += bill.credit
      this.bill = undefined
    } else if (this.status === 'active' || this.status === 'trialing') {
      if (away) this.retryAt = this.now + ASK_AGAIN
      else this.becomeOverdue(bill)
    } else if (this.status === 'past_due' || this.status === 'suspended') {
      this.retryAt = this.nextRetry(bill.failedAt ?? this.now)
      if (this.retryAt === undefined) this.end('canceled')
    }
    // Another card was given while the last one was being waited for.
    if (this.bill === bill && this.card !== bill.card) this.attempt(bill)
  }

  private becomeOverdue(bill: Bill): void {
    bill.failedAt ??= this.now
    this.status = 'past_due'
    this.graceUntil = this.now + GRACE
    this.retryAt = this.nextRetry(bill.failedAt)
  }

  private stray(bill: Bill): void {
    this.credit += bill.credit
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
    this.settleTimers()
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
    this.settleTimers()
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
    const before = { credit: this.credit, anchor: this.anchor }
    const span = spanFrom(this.now, this.plan.interval, this.now)
    const bill = this.newBill('period', span, this.price, this.price)
    if (bill.amount > 0 && this.card === undefined) {
      this.credit = before.credit
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
    else if (this.bill && !this.bill.waiting) {
      this.attempt(this.bill)
    }
    this.settleTimers()
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
      this.plan = plan
      this.quantity = quantity
      this.scheduled = undefined
      return
    }
    if (this.collectionPaused) throw new Refused()
    const price = plan.price * quantity
    const unused = costFrom(this.basis, this.span, this.now)
    const sameCycle = plan.interval === this.plan.interval
    const span = sameCycle ? this.span : spanFrom(this.now, plan.interval, this.now)
    const before = this.credit
    const bill = this.newBill('change', span, costFrom(price, span, this.now) - unused, price)
    if (bill.amount > 0 && this.card === undefined) {
      this.credit = before
      throw new Refused()
    }
    Object.assign(bill, { plan, quantity, ...(sameCycle ? {} : { anchor: this.now }) })
    this.change = bill
    this.attempt(bill)
    this.settleTimers()
  }

  /** The customer acts, and whatever waited for that is paid. */
  approve(): void {
    for (const bill of [this.bill, this.change]) if (bill?.waiting?.isSca) this.hear(bill, true, true)
    this.settleTimers()
  }

  refund(amount: number): void {
    if (amount > this.refundable || this.refundable === 0) throw new Refused()
    this.paid -= amount
    this.refundable -= amount
    if (this.isOver) return
    this.dropChange()
    const [part, whole] = this.piece
    const ofWhole = share(amount, whole, part)
    const beyond = ofWhole > this.basis ? amount - share(this.basis, part, whole) : 0
    this.credit -= Math.max(0, Math.min(this.credit, beyond))
    this.basis = Math.max(0, this.basis - ofWhole)
    if (this.refundable === 0 && this.basis === 0 && this.plan.refundEnds && !this.isOver) this.end('canceled')
    this.settleTimers()
  }
}
