import { describe, expect, test } from 'vitest'
import { compileSelector, MAX_SELECTOR_LENGTH, parseLabels } from './label-selector.ts'

const LABELS = parseLabels([
  'k8s:app=web',
  'k8s:tier=12',
  'container:app=db',
  'reserved:host',
  'cidr:10.1.0.0/16',
  'cidr:fd00--/16',
  'zone=a',
  '$init',
  'reserved.unmanaged',
])

describe('compileSelector()', () => {
  test.each([
    ['', true],
    ['k8s:app=web', true],
    ['k8s:app==web', true],
    ['k8s:app!=web', false],
    ['app', true],
    ['!app', false],
    ['container:app in (db, web)', true],
    ['container:app notin (db)', false],
    ['missing notin (x)', true],
    ['missing!=x', true],
    ['missing=x', false],
    ['k8s:zone=a', false],
    ['unspec:zone=a', true],
    ['any:zone=a', true],
    ['zone=a', true],
    ['tier>3', true],
    ['tier<12', false],
    ['app>3', false],
    ['reserved:host', true],
    ['reserved:init,reserved:unmanaged', true],
    ['cidr:10.0.0.0/8', true],
    ['cidr:10.1.2.0/24', false],
    ['cidr:fd00--0/8', true],
    ['k8s:app=web , !missing', true],
    ['k8s:app=web,missing', false],
    ['reserved:host in ()', true],
  ])('%j matches: %s', (selector, answer) => {
    expect(compileSelector(selector).matches(LABELS)).toBe(answer)
  })

  test.each([
    ['app=a=b', "found '=', expected: ',' or end of selector"],
    ['app in x', "found 'x', expected: '('"],
    ['app in (a', "selector ends, expected: ',', ')' or value"],
    ['app,', "selector ends, expected: identifier after ','"],
    ['=x', 'is no label key'],
    ['k8s:app-', "'k8s:app-' is no label key"],
    ['app=-x', "'-x' is no label value"],
    ['app=a:b', "'a:b' is no label value"],
    ['tier>x', "'x' is no integer"],
    [' ', 'is no label key'],
    ['a b', "found 'b', expected: in, notin"],
    [`app=${'x'.repeat(64)}`, 'at most 63'],
    ['x'.repeat(MAX_SELECTOR_LENGTH + 1), `want at most ${MAX_SELECTOR_LENGTH}`],
  ])('refuses %j', (selector, message) => {
    expect(() => compileSelector(selector)).toThrow(message)
  })
})
