/**
 * Finds English that a native reader stumbles over, by the rules of "How we write" in CONTRIBUTING.md. Only what a program
 * can recognise: the rest is a reader's to see.
 */
import { lexer, type Token, type Tokens } from 'marked'

export type Sentence = { text: string; line: number }

type Rule = { rule: string; found: (sentence: string) => boolean }

/** CONTRIBUTING.md: 30 words are the aim, 40 the limit. */
const MOST_WORDS = 40

const phrase = (rule: string, pattern: RegExp): Rule => ({ rule, found: (sentence) => pattern.test(sentence) })

const NUMBER = '(\\d[\\d,.]*|one|two|three|four|five|six|seven|eight|nine|ten)'
const COUNTED = '( (?!with|without|for|to|of|in|by|from|as|is)[a-z-]+){1,2}'
const TIME = '(second|minute|hour|day|week|month|year)'
const THING = '(tenant|customer|connection|stream|call|entity|key|region|shard|bucket|port|suite)'
const RATED = '(requests|bytes|renewals|payments|calls|checks|attempts|writes|sets|answers|keys)'

const rules: readonly Rule[] = [
  phrase('begins with a clause where a noun belongs', /^(What|Who|Whose)\b.*\.$/),
  phrase('begins with a possessive that has no noun', /^of\b/i),
  phrase('a possessive without a noun', /[,;:.] of (one|those|values|which|what)\b|\b(is|are|was|or|be) of another\b/i),
  phrase(
    'a clause where a noun belongs',
    /\b(for|to|by|from|of) who\b|\bwhat (became|becomes|has become) of\b|\bwhat is behind\b|\bfor what is\b|\bof what nobody\b/i,
  ),
  phrase('"a" for "per"', new RegExp(`\\b(${NUMBER}${COUNTED} an? (${TIME}|${THING})|${RATED} an? ${TIME}(?! time))\\b`, 'i')),
  phrase('"no" for "not a"', /(?<!\bthere )\b(is|are|was|were) no (?!longer\b|more\b|other\b)/i),
  phrase('"there" before its verb', /[;:,] there (?!is\b|are\b|was\b|were\b)[a-z]+ (is|are)\b/i),
  phrase('a passive without an actor', /\b(is|are|be|was|were|been) (said|waited for)\b|\btold as\b|\btold apart\b|\bsays? nothing of\b/i),
  phrase(
    'words in a sense that English does not have',
    /\btold of\b|\b(let|lets|lets it|lets them) go\b|\bgood at (every|no|any|all|each|the)\b|\btaken in\b|\bgo(es)? on (with|by itself)\b|\bat rest\b|\banew\b|\bmend(s|ed|ing)?\b|\bat no harm\b|\bso many\b.*\bso many\b/i,
  ),
  phrase(
    'a word-for-word translation',
    /\ban own\b|\bbut for\b|\bwithout a word\b|\b(take|takes|taken|took) ((it|them|this|that) )?for\b|\bfor want of\b|\bTelling [A-Z]/,
  ),
  { rule: `longer than ${MOST_WORDS} words`, found: (sentence) => sentence.split(/\s+/).length > MOST_WORDS },
]

/** The rules that a sentence breaks, by name. */
export const brokenRules = (sentence: string): string[] => rules.filter(({ found }) => found(sentence)).map(({ rule }) => rule)

/**
 * Code counts as one word, with a capital so that a sentence may begin with it. Text in italics is left out: it quotes, for
 * example a sentence that nobody should write.
 */
const plainText = (tokens: readonly Token[]): string =>
  tokens
    .map((token) => {
      if (token.type === 'codespan') return 'Code'
      if (token.type === 'em') return ''
      return 'tokens' in token && token.tokens ? plainText(token.tokens) : token.raw
    })
    .join('')

const segmenter = new Intl.Segmenter('en', { granularity: 'sentence' })

const sentencesOf = (text: string, line: number): Sentence[] =>
  [...segmenter.segment(text.replace(/\s+/g, ' '))].map(({ segment }) => ({ text: segment.trim(), line })).filter((sentence) => sentence.text !== '')

const isTable = (token: Token): token is Tokens.Table => token.type === 'table'
const isList = (token: Token): token is Tokens.List => token.type === 'list'

/** Every sentence of a Markdown page, with the line that its block begins on; code blocks are left out. */
export const readSentences = (markdown: string): Sentence[] => {
  let line = 1
  return lexer(markdown).flatMap((block) => {
    const start = line
    line += block.raw.split('\n').length - 1
    return sentencesOfBlock(block, start)
  })
}

const sentencesOfBlock = (block: Token, line: number): Sentence[] => {
  if (block.type === 'code') return []
  if (isTable(block)) return [block.header, ...block.rows].flatMap((row) => row.flatMap((cell) => sentencesOf(plainText(cell.tokens), line)))
  if (isList(block)) return block.items.flatMap((item) => item.tokens.flatMap((token) => sentencesOfBlock(token, line)))
  return sentencesOf(plainText('tokens' in block && block.tokens ? block.tokens : [block]), line)
}
