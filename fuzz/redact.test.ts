import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { REDACTED, Redactor } from '../collector/l7/redact.ts'
import { check, FUZZ_SECONDS, fuzzText } from '../test/helpers/fuzz.ts'

const redactor = new Redactor()
const cutting = new Redactor({ enabled: true, urlQuery: true })

describe('fuzz: redaction', () => {
  fuzzText('url() takes any text, and its result stays as it is', {
    corpus: 'url',
    tokens: ['http:', '//', '/', '@', ':', '?', '#', 'user', 'secret', '[::1]', ' ', '%40', '\\'],
    target: (text) => {
      const shown = redactor.url(text)
      expect(redactor.url(shown)).toBe(shown)
      expect(cutting.url(text)).not.toMatch(/[?#]/)
    },
  })

  test('url() shows no password that stands in an authority', { timeout: FUZZ_SECONDS * 1000 + 60_000 }, async () => {
    const word = fc.string({ unit: fc.constantFrom(...'ab0.-_~!$&()*+,;=%'), maxLength: 12 })
    const parts = fc.record({ user: word, password: word, rest: fc.string({ maxLength: 20 }) })
    await check(parts, async ({ user, password, rest }) => {
      const secret = `${password}~Secret~${password}`
      const shown = redactor.url(`http://${user}:${secret}@host/${rest}`)
      expect(shown).toBe(`http://${user}:${REDACTED}@host/${rest}`)
    })
  })
})
