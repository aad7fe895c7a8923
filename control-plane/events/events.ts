/** Puts the parts together that record events and keep them. */
import type { Clock } from '../../common/clock.ts'
import type { Log } from '../../common/log.ts'
import type { Storage } from '../storage/storage.ts'
import { createOutboxes, type Outboxes } from './hand-on.ts'
import { createEventLogs, type EventLogs } from './log.ts'
import { type HandOn, type Renderers, recordingStorage } from './record.ts'

/** The events of an installation, as the rest of the control plane works with them. */
export interface Events {
  logs: EventLogs
  handOn: HandOn
}

export interface EventsOptions {
  storage: Storage
  clock: Clock
  log: Log
  render: Renderers
  /** How long events are kept. */
  days?: number
}

/** @returns the storage in which every change is recorded, and the events of those changes. */
export const openEvents = ({ storage, clock, log, render, days }: EventsOptions): { storage: Storage; events: Events; outboxes: Outboxes } => {
  const logs = createEventLogs({ storage, clock, days })
  const outboxes = createOutboxes(storage, logs, log)
  const recording = recordingStorage(storage, { clock, log, render, recorded: outboxes.recorded, handOn: outboxes.handOn })
  return { storage: recording, events: { logs, handOn: outboxes.handOn }, outboxes }
}
