import { describe, expect } from 'vitest'
import { parseLine } from '../cli/observe/flow-file.ts'
import { createPrinter, OUTPUT_FORMATS } from '../cli/output/printers.ts'
import { responseJson } from '../cli/output/proto-json.ts'
import { Paint } from '../cli/paint.ts'
import { parseFlowLine } from '../collector/replay/flow-line.ts'
import { fuzzText } from '../test/helpers/fuzz.ts'

const options = {
  timeFormat: 'RFC3339Nano',
  printNodeName: true,
  printPolicyNames: true,
  debug: true,
  ipTranslation: true,
  paint: new Paint(false),
}

const tokens = [
  ...[
    '{',
    '}',
    '[',
    ']',
    '"',
    ':',
    ',',
    '"flow"',
    '"time"',
    '"IP"',
    '"verdict"',
    '"l4"',
    '"TCP"',
    '"source_port"',
    '1e400',
  ],
  ...['"2026-01-02T15:04:05.1Z"', 'null', 'true', '-1', '"FORWARDED"', '"lost_events"', '"__proto__"', '"l7"', '"dns"'],
]

describe('fuzz: lines of flows', () => {
  fuzzText('parseFlowLine() reads or refuses any line, and its numbers fit a record', {
    corpus: 'flow-line',
    tokens,
    target: (line) => {
      const parsed = parseFlowLine(line)
      if ('failure' in parsed || parsed.kind !== 'flow') return
      const { time, type, verdict, point, state } = parsed
      expect(time).toBeGreaterThanOrEqual(0n)
      expect(time).toBeLessThan(1n << 64n)
      for (const byte of [type, verdict, point, state]) expect(byte & 0xff).toBe(byte)
    },
  })

  fuzzText('what parseLine() takes is printed in every format', {
    corpus: 'flow-line',
    tokens,
    target: (line) => {
      const response = parseLine(line)
      if (response === undefined || typeof response === 'string') return
      for (const format of OUTPUT_FORMATS) {
        const printer = createPrinter(format, options)
        expect(printer.print(response) + printer.finish()).toBeTypeOf('string')
      }
      expect(JSON.parse(responseJson(response))).toBeTypeOf('object')
    },
  })
})
