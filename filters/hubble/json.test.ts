import { describe, expect, test } from 'vitest'
import { parseFlowFilters } from './json.ts'

describe('parseFlowFilters()', () => {
  test('reads objects one behind another, in both spellings', () => {
    expect(
      parseFlowFilters(`
        {"source_pod": ["shop/"], "verdict": ["DROPPED", 1]}{"destinationPort":["53"],"reply":null}
        {"eventType": [{"type": 4, "matchSubType": true, "sub_type": "3"}], "ipTraceId": ["18446744073709551615", 7]}
        {"experimental":{"celExpression":["true"]},"tcp_flags":[{"SYN":true}],"source_identity":[1,"2"]}`),
    ).toEqual([
      { source_pod: ['shop/'], verdict: [2, 1] },
      { destination_port: ['53'] },
      {
        event_type: [{ type: 4, match_sub_type: true, sub_type: 3 }],
        ip_trace_id: [18_446_744_073_709_551_615n, 7n],
      },
      { experimental: { cel_expression: ['true'] }, tcp_flags: [{ SYN: true }], source_identity: [1, 2] },
    ])
    expect(parseFlowFilters(' \n')).toEqual([])
    expect(parseFlowFilters('{"dns_query":["a\\"}{"]}')).toEqual([{ dns_query: ['a"}{'] }])
  })

  test.each([
    ['{"sourcePods":["x"]}', 'invalid sourcePods filter: unknown field "sourcePods"; want one of uuid, source_ip'],
    ['{"event_type":[{"kind":1}]}', 'invalid event_type.kind filter: unknown field "kind"'],
    ['{"verdict":["DENIED"]}', 'invalid verdict filter: found "DENIED", want one of VERDICT_UNKNOWN, FORWARDED'],
    ['{"verdict":"DROPPED"}', 'invalid verdict filter: found "DROPPED", want a list'],
    ['{"source_port":[80]}', 'invalid source_port filter: found 80, want a string'],
    ['{"reply":["true"]}', 'want a bool'],
    ['{"source_identity":[-1]}', 'want an integer from 0 to 4294967295'],
    ['{"source_identity":[1.5]}', 'want an integer'],
    ['{"ip_trace_id":["18446744073709551616"]}', 'want an integer from 0'],
    ['{"sourcePod":["a"],"source_pod":["b"]}', 'field is given twice'],
    ['{"experimental":[]}', 'want an object'],
    ['{"a":', 'does not end'],
    ['{"a":"', 'does not end'],
    ['{"uuid":[,]}', 'in the object at character 0'],
    ['[]', 'want an object'],
    ['{} x', 'found "x" at character 3'],
  ])('refuses %s', (text, message) => {
    expect(() => parseFlowFilters(text)).toThrow(message)
  })
})
