/** Events as answers of an API, so that one set of rules judges what of a change breaks whoever receives them. */

interface Document {
  channels: { webhooks: { messages: object } }
  components: { schemas: object }
}

export const eventsAsAnswers = ({ channels, components: { schemas } }: Document): object => ({
  openapi: '3.1.0',
  info: { title: 'events', version: '1' },
  paths: Object.fromEntries(
    Object.keys(channels.webhooks.messages).map((type) => {
      const content = { 'application/json': { schema: { $ref: `#/components/schemas/${type}` } } }
      return [`/${type}`, { get: { responses: { 200: { description: type, content } } } }]
    }),
  ),
  components: { schemas },
})
