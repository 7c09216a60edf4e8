import { describe, expect, test } from 'vitest'
import { type FieldTree, FLOW_SCHEMA } from '../model/field-mask.ts'
import { maskKey, parseMaskTree } from './field-mask.ts'
import { messageSchema } from './flow-schema.ts'

const CLI_1_19 = [
  'time',
  'verdict',
  'ethernet',
  'IP',
  'l4',
  'source.identity',
  'source.namespace',
  'source.pod_name',
  'destination.identity',
  'destination.namespace',
  'destination.pod_name',
  'Type',
  'node_name',
  'l7',
  'event_type',
  'source_service',
  'destination_service',
  'is_reply',
  'Summary',
  'ip_trace_id',
]
const CLI_LATER = [
  'traffic_direction',
  'policy_match_type',
  'ingress_allowed_by',
  'egress_allowed_by',
  'ingress_denied_by',
  'egress_denied_by',
]

describe('messageSchema()', () => {
  test('knows names, numbers, oneofs and messages of flow.proto', () => {
    const flow = messageSchema('flow.Flow')
    expect(flow.get('Summary')).toEqual({
      name: 'Summary',
      number: 100000,
      isRepeated: false,
      isOneof: false,
      message: '',
    })
    expect(flow.get('l4')).toMatchObject({ number: 6, message: 'flow.Layer4' })
    expect(flow.get('policy_log')).toMatchObject({ isRepeated: true })
    expect(messageSchema('flow.Layer4').get('TCP')).toMatchObject({ number: 1, isOneof: true, message: 'flow.TCP' })
    expect(messageSchema('flow.FlowFilter.Experimental').get('cel_expression')).toMatchObject({ number: 1 })
  })
})

test('FLOW_SCHEMA is flow.Flow of api/proto, field by field', () => {
  const treeOf = (message: string): FieldTree =>
    Object.fromEntries(
      [...messageSchema(message).values()].map((field) => {
        const isLeaf = field.message === '' || field.isRepeated
        return [field.name, isLeaf ? true : treeOf(field.message)]
      }),
    )
  expect(FLOW_SCHEMA).toEqual(treeOf('flow.Flow'))
})

describe('parseMaskTree()', () => {
  test('gives undefined, everything, when there is no path', () => {
    expect(parseMaskTree([])).toBeUndefined()
  })

  test.each([
    [['time', 'source.pod_name', 'source.identity'], '1,8(2,5)'],
    [['source.pod_name', 'source'], '8'],
    [['source', 'source.pod_name'], '8'],
    [['l4.TCP.flags.SYN', 'l4.TCP.source_port'], '6(1(1,3(2)))'],
    [['time', 'time'], '1'],
  ])('reads %j', (paths, key) => {
    expect(maskKey(parseMaskTree(paths)!)).toBe(key)
  })

  test.each([
    ['nothing', 'nothing'],
    ['', ''],
    ['source.', 'source.'],
    ['source.podName', 'source.podName'],
    ['summary', 'summary'],
    ['verdict.x', 'verdict.x'],
    ['source.workloads.name', 'source.workloads.name'],
    ['source..namespace', 'source..namespace'],
    ['__proto__', '__proto__'],
    ['constructor', 'constructor'],
  ])('refuses the path %j', (path, named) => {
    expect(() => parseMaskTree(['time', path])).toThrow(`"${named}"`)
    expect(() => parseMaskTree(['source', path])).toThrow(/invalid fieldmask/)
  })

  test.each([
    ['1.19', CLI_1_19],
    ['later versions', [...CLI_LATER, ...CLI_1_19]],
  ])('adds what the command line prints and does not ask for to the mask of %s', (_version, paths) => {
    const mask = parseMaskTree(paths)!
    expect(mask.has(13) && mask.has(14) && mask.has(22)).toBe(true)
    expect(mask.get(8)?.parts?.size).toBe(3)
  })

  test('keeps to the mask when it is not exactly the one of the command line', () => {
    expect(parseMaskTree(CLI_1_19.slice(1))!.has(13)).toBe(false)
    expect(parseMaskTree([...CLI_1_19, 'uuid'])!.has(13)).toBe(false)
    expect(parseMaskTree([...CLI_1_19, CLI_LATER[0]!])!.has(13)).toBe(false)
  })
})
