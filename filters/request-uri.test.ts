import { expect, test } from 'vitest'
import { requestPath } from './request-uri.ts'

test.each([
  ['/', '/'],
  ['/api?q=/x', '/api'],
  ['/a?', '/a'],
  ['/a%20b/%C3%A9', '/a b/é'],
  ['/a#b', '/a#b'],
  ['//host/x', '//host/x'],
  ['*', '*'],
  ['http://shop/cart?x', '/cart'],
  ['http://shop', ''],
  ['http://u:p@shop:8080/x', '/x'],
  ['http://[fd00::1]:80/x', '/x'],
  ['mailto:a@b', ''],
  ['/a%2', undefined],
  ['/a%zz', undefined],
  ['', undefined],
  ['relative', undefined],
  [':x', undefined],
  ['/a\u0001', undefined],
  ['http://a b/', undefined],
  ['http://a:b/', undefined],
  ['http://a%20b/', undefined],
])('requestPath(%j) is %j', (target, path) => {
  expect(requestPath(target)).toBe(path)
})
