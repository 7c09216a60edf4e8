import { describe, expect, test } from 'vitest'
import { MAX_MASK_PATHS, parseFieldMask, takes } from './field-mask.ts'

describe('parseFieldMask()', () => {
  test('makes a tree in which a parent swallows its children', () => {
    expect(parseFieldMask(['l4.TCP.source_port', 'l4.UDP', 'source.labels', 'source', 'source.ID'])).toEqual({
      l4: { TCP: { source_port: true }, UDP: true },
      source: true,
    })
  })

  test('is no mask when the list is empty', () => {
    expect(parseFieldMask([])).toBeUndefined()
  })

  test.each([
    '',
    'Flow',
    'time.hours',
    'summary',
    'source.podName',
    'source..namespace',
    'source.labels.0',
    'node_labels.x',
    'l4.',
    '.l4',
    'constructor',
    'l4.__proto__',
  ])('refuses %j', (path) => {
    expect(() => parseFieldMask([path])).toThrow(JSON.stringify(path))
  })

  test('refuses a path below a field that is wanted as a whole when it does not exist', () => {
    expect(() => parseFieldMask(['source', 'source.nothing'])).toThrow('"source.nothing" is no field of flow.Flow')
  })

  test('names several wrong paths, and says how many more there are', () => {
    const paths = ['time', 'a', 'b', 'c', 'd', 'e', 'f', 'g']
    expect(() => parseFieldMask(paths)).toThrow('"a", "b", "c", "d", "e" and 2 more are no fields of flow.Flow')
  })

  test('refuses masks beyond its bounds without repeating them', () => {
    expect(() => parseFieldMask(new Array(MAX_MASK_PATHS + 1).fill('time'))).toThrow(/1001 paths, at most 1000/)
    expect(() => parseFieldMask(['x'.repeat(20_001)])).toThrow(/at most 20000 characters/)
    expect(() => parseFieldMask([`source.${'y'.repeat(5000)}`])).toThrow(/^.{0,200}$/)
  })

  test('accepts the mask that hubble sends by default', () => {
    const paths = 'time,verdict,ethernet,IP,l4,source.identity,source.namespace,source.pod_name,destination.identity,'
    const more = 'Type,node_name,l7,event_type,source_service,destination_service,is_reply,Summary,ip_trace_id'
    expect(Object.keys(parseFieldMask((paths + more).split(','))!)).toHaveLength(16)
  })
})

describe('takes()', () => {
  const mask = parseFieldMask(['source', 'l4.TCP.source_port'])
  test.each([
    [['source'], true],
    [['source', 'ID'], true],
    [['l4'], true],
    [['l4', 'TCP'], true],
    [['l4', 'TCP', 'source_port'], true],
    [['l4', 'TCP', 'flags'], false],
    [['l4', 'UDP'], false],
    [['time'], false],
  ])('answers %j with %s', (path, wanted) => {
    expect(takes(mask, ...path)).toBe(wanted)
    expect(takes(undefined, ...path)).toBe(true)
  })
})
