/** README and `docs/` are in plain English, by the rules of CONTRIBUTING.md that a program can check. */
import { globSync, readFileSync } from 'node:fs'
import test from 'ava'
import { brokenRules, readSentences } from '../support/prose.ts'

const pages = ['README.md', 'SECURITY.md', ...globSync('docs/**/*.md')]

for (const page of pages) {
  test(`${page} is in plain English`, (t) => {
    const found = readSentences(readFileSync(page, 'utf8')).flatMap(({ text, line }) => brokenRules(text).map((rule) => `${page}:${line} ${rule}: ${text}`))
    t.deepEqual(found, [])
  })
}

/** Each stood in this repository, and made a native reader stumble. */
const stumbling = [
  'What `npm start` has kept in `DATA_DIR` goes on with both on the same data once `npm run republish` has filled the feed.',
  'This page is for who wants to understand or change it.',
  'one mongoose schema an entity',
  'A refused connection on the second sending says nothing of the first; a PSP that has not seen an attempt that nobody wants is asked for a day before it is believed.',
  "of values the youngest subscription's counts",
  'What is no method of the customer is taken for a token, so check the id.',
  'A capture that fails after it was told as made is recorded as a dispute that is lost.',
  'Money that arrives for what is off by then, or twice, goes back by itself, and is tried daily until the provider takes it.',
  'what became of what nobody answers for',
  'To `charge`: 429 is not processed, and another account is tried at once; other 4xx, but for 408 and 409, say that the request or the account is wrong.',
  'Telling Tollgate',
  'Of one that serves TLS it trusts the CA in X, and with mTLS shows it Y and Z.',
  'the snapshot is damaged, older than its format, or of another key',
  'an own generator, because real traffic is not one repeated request',
  'Sandboxes have none: there outages are asked for by name, customer by customer.',
  'What a call makes is young when it goes, or a full collection has to find it.',
  '`npm run check -- --explain` says what is behind an answer, or would grant it.',
  'What is denied or answered so has the reason `fallback`.',
  'A key that is wrong, unknown or revoked is told apart by nobody.',
  'Tokens can be charged with: where there is one is said, what it is never.',
  'Read as what it is not, it would only be said that everything is missing.',
  'How long is waited for something when the caller sets no deadline, and however late the one is that it sets.',
  'There is room for all of it: what did not fit would be left out without a word, and two keys be one.',
  'A class, so that V8 does not take it for something that lasts, as a watch does: nearly all go at once.',
  'Of its payments, the last ones that it has seen.',
]

test('the rules find each sentence that made a native reader stumble', (t) => {
  t.deepEqual(
    stumbling.filter((sentence) => brokenRules(sentence).length === 0),
    [],
  )
})

test('"a" for "per" is found after a number, and not where it is an article', (t) => {
  for (const text of ['1,000 streams a connection', 'renewals a second', 'one suite a port', '20 wrong keys a minute'])
    t.deepEqual(brokenRules(text), ['"a" for "per"'], text)
  for (const text of ['1,000 streams per connection', 'a day has 24 hours', 'one call is a stream']) t.deepEqual(brokenRules(text), [], text)
})

test('prose is read without its code, and examples in italics are not checked', (t) => {
  const page = '# Title\n\nOne `a b c` here. *Of it nothing.*\n\n```sh\nwhat is this\n```\n\n| head |\n| --- |\n| cell one. Cell two |\n\n- item\n  - inner\n'
  t.deepEqual(readSentences(page), [
    { text: 'Title', line: 1 },
    { text: 'One Code here.', line: 3 },
    { text: 'head', line: 9 },
    { text: 'cell one.', line: 9 },
    { text: 'Cell two', line: 9 },
    { text: 'item', line: 13 },
    { text: 'inner', line: 13 },
  ])
})
