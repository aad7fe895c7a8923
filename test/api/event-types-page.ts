/** `docs/event-types.md`: the catalogue of events in words, each with one that a running Tollgate made. */
import { eventTypeInfos } from '../../control-plane/events/event-types.ts'
import type { EventExamples } from '../support/event-stories.ts'

const HEAD = `# Types of events

\`npm run events:examples\` writes this page from the catalogue of events. [events.md](events.md) explains how to receive them.
`

const example = (type: string, examples: EventExamples): string => {
  const event = examples[type]
  if (!event) return ''
  return `\n<details><summary><code>${type}</code></summary>\n\n\`\`\`json\n${JSON.stringify(event, undefined, 2)}\n\`\`\`\n\n</details>\n`
}

export const eventTypesPage = (examples: EventExamples): string => {
  const families = Map.groupBy(eventTypeInfos, ({ type }) => type.split('.')[0] ?? '')
  const parts = [...families].map(([family, infos]) => {
    const [{ subject = '', data = '' } = {}] = infos
    const rows = infos.map(({ type, about }) => `| \`${type}\` | ${about} |`)
    return `
## ${family}

Subject: \`${subject}\`. Data: \`${data}\`.

| Type | When |
| --- | --- |
${rows.join('\n')}
${infos.map(({ type }) => example(type, examples)).join('')}`
  })
  return HEAD + parts.join('')
}
