/**
 * The pages for people who come with a browser: one says where they are, and one is a reference of the API that they can
 * browse. The same for everybody, so it may be cached, and is asked for again by its ETag. The reference is Scalar's own
 * bundle, served from here: no other host is asked for anything, and the policy of the page would not let it be.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type Router from '@koa/router'
import type { RouterContext } from '@koa/router'

interface Page {
  type: string
  body: Buffer
  zipped: Buffer
  etag: string
}

const pageOf = async (type: string, body: Buffer): Promise<Page> => ({
  type,
  body,
  zipped: await promisify(gzip)(body),
  etag: `"${createHash('sha256').update(body).digest('base64url')}"`,
})

const readBundle = () => readFile(fileURLToPath(new URL('browser/standalone.js', import.meta.resolve('@scalar/api-reference'))))

/** The policy of the page itself: Scalar writes its styles into it, and asks for the document. */
const REFERENCE_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

const PLAIN_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const head = (title: string) =>
  `<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n<title>${title}</title>\n</head>\n`

const reference = `${head('Tollgate: the HTTP API')}<body>
<div id="reference"></div>
<noscript>This reference needs JavaScript. The same, for programs: <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="/docs/scalar.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`

const configuration = {
  url: '/openapi.json',
  withDefaultFonts: false,
  telemetry: false,
  showDeveloperTools: 'never',
  hideClientButton: true,
  agent: { disabled: true },
  mcp: { disabled: true },
}

const start = `Scalar.createApiReference('#reference', ${JSON.stringify(configuration)})\n`

const MEANING =
  'Tollgate decides, on every request, whether a customer may use a feature now, and manages the catalog, subscriptions and payments behind that decision.'

const links = [
  { path: '/docs', what: 'the reference of the HTTP API, to browse' },
  { path: '/openapi.json', what: 'the same as OpenAPI 3.1, for programs' },
  { path: '/asyncapi.json', what: 'its events as AsyncAPI 3.0, for programs' },
  { path: '/healthz', what: 'whether the process is up' },
  { path: '/readyz', what: 'whether everything that it needs can be reached' },
]

const GUIDES = 'README.md and the folder docs/, which come with the source'

const welcome = `${head('Tollgate')}<body>
<main>
<h1>Tollgate</h1>
<p>${MEANING} This is its control plane, an HTTP API for programs that have an API key.</p>
<ul>
${links.map(({ path, what }) => `<li><a href="${path}">${path}</a>: ${what}</li>`).join('\n')}
</ul>
<p>The concepts are explained in ${GUIDES}.</p>
</main>
</body>
</html>
`

const welcomeForPrograms = { name: 'Tollgate', about: MEANING, guides: GUIDES, links: Object.fromEntries(links.map(({ path, what }) => [path, what])) }

const answer = (context: RouterContext, { type, body, zipped, etag }: Page, policy: string): void => {
  const isZipped = context.acceptsEncodings('gzip', 'identity') === 'gzip'
  // Weak, since the zipped one is another row of bytes.
  context.set({ 'cache-control': 'public, no-cache', etag: `W/${etag}`, 'content-security-policy': policy })
  context.vary('Accept-Encoding')
  context.status = 200
  context.type = type
  if (context.fresh) {
    context.status = 304
    return
  }
  if (isZipped) context.set('content-encoding', 'gzip')
  context.body = isZipped ? zipped : body
}

export const addPages = (router: Router, documents: { openApi: unknown; asyncApi: unknown }): void => {
  const pages = new Map<string, Promise<Page>>()
  const add = (path: string, type: string, policy: string, read: () => Buffer | Promise<Buffer>) => {
    router.get(path, async (context) => {
      // Once it is asked for: most processes are never looked at.
      const page = pages.get(path) ?? Promise.resolve(read()).then((body) => pageOf(type, body))
      pages.set(path, page)
      page.catch(() => pages.delete(path))
      answer(context, await page, policy)
    })
  }
  add('/openapi.json', 'application/json', PLAIN_POLICY, () => Buffer.from(JSON.stringify(documents.openApi)))
  add('/asyncapi.json', 'application/json', PLAIN_POLICY, () => Buffer.from(JSON.stringify(documents.asyncApi)))
  add('/docs', 'text/html', REFERENCE_POLICY, () => Buffer.from(reference))
  add('/docs/scalar.js', 'text/javascript', PLAIN_POLICY, readBundle)
  add('/docs/start.js', 'text/javascript', PLAIN_POLICY, () => Buffer.from(start))
  const [forPeople, forPrograms] = [pageOf('text/html', Buffer.from(welcome)), pageOf('application/json', Buffer.from(JSON.stringify(welcomeForPrograms)))]
  router.get('/', async (context) => {
    context.vary('Accept')
    answer(context, await (context.accepts('html', 'json') === 'json' ? forPrograms : forPeople), PLAIN_POLICY)
  })
}
