import { describe, expect, test } from 'vitest'
import { NodeState } from '../../api/gen/relay/relay.ts'
import { type GetLedgerResponse, GetStatusResponse } from '../../api/gen/sluice/v1/agent.ts'
import { Paint } from '../paint.ts'
import { formatTable, withCommas } from '../table.ts'
import { findingsText } from './doctor.ts'
import { ledgerJson, ledgerText } from './ledger.ts'
import { namespacesText, nodesText } from './list.ts'
import { componentsText, durationText, flowsPerSecond, serverStatusJson, statusText } from './status.ts'

const STATUS = {
  num_flows: 4095n,
  max_flows: 4095n,
  seen_flows: 123_456n,
  uptime_ns: 26_291_000_000n,
  num_connected_nodes: undefined as number | undefined,
  num_unavailable_nodes: undefined as number | undefined,
  unavailable_nodes: [] as string[],
  version: 'sluice v0.1.0',
  flows_rate: 21.1,
}
const plain = new Paint(false)

describe('statusText()', () => {
  const text = (output: 'compact' | 'dict' | 'table', more: Partial<typeof STATUS> = {}) =>
    statusText({ server: 'localhost:4245', output }, { ...STATUS, ...more }, 'Ok')

  test('prints the lines of hubble status', () => {
    expect(text('compact')).toBe(
      'Healthcheck (via localhost:4245): Ok\nCurrent/Max Flows: 4,095/4,095 (100.00%)\nFlows/s: 21.10\n',
    )
  })

  test('names nodes of a relay, sorted, ten at most', () => {
    const unavailable_nodes = Array.from({ length: 12 }, (_, i) => `n${String(11 - i).padStart(2, '0')}`)
    const lines = text('compact', { num_connected_nodes: 3, num_unavailable_nodes: 12, unavailable_nodes }).split('\n')
    expect(lines.slice(3, 6)).toEqual(['Connected Nodes: 3/15', 'Unavailable Nodes: 12', '  - n00'])
    expect(lines.at(-2)).toBe('  - and 2 more...')
  })

  test('leaves the share out when there is no room, the rate when nothing is known', () => {
    expect(text('compact', { num_flows: 0n, max_flows: 0n, flows_rate: 0, uptime_ns: 0n })).toMatch(
      /Current\/Max Flows: 0\/0\nFlows\/s: N\/A/,
    )
  })

  test('prints columns and keys', () => {
    expect(text('table').split('\n')[1]).toMatch(
      /^4,095 +4,095 +123,456 +21\.10 +26\.291s +N\/A +N\/A +sluice v0\.1\.0$/,
    )
    expect(text('dict')).toContain('              UPTIME: 26.291s\n')
  })

  test('a part has one line, however many its message has', () => {
    const message = 'ContainerNetworkLog "x" is not in force: a.yaml:3: first\n  a.yaml:4: second'
    const agent = GetStatusResponse.fromPartial({ components: [{ name: 'filters', state: 2, message }] })
    const lines = componentsText(agent, false).trimEnd().split('\n')
    expect(lines).toHaveLength(3)
    expect(lines[2]).toMatch(/^filters +degraded +.*: a\.yaml:3: first; a\.yaml:4: second$/)
  })

  test('JSON has 64-bit numbers as text and wrappers only where set', () => {
    expect(serverStatusJson({ ...STATUS, num_connected_nodes: 0 })).toBe(
      '{"num_flows":"4095","max_flows":"4095","seen_flows":"123456","uptime_ns":"26291000000","num_connected_nodes":0,"version":"sluice v0.1.0","flows_rate":21.1}',
    )
  })
})

test.each([
  [0n, false, '0s'],
  [1_400_000_000n, false, '1s'],
  [59_600_000_000n, false, '1m0s'],
  [3_723_000_000_000n, false, '1h2m3s'],
  [26_291_000_000n, true, '26.291s'],
  [60_000_000_001n, true, '1m0.000000001s'],
])('durationText() prints %s as Go does', (ns, exact, text) => {
  expect(durationText(ns, exact)).toBe(text)
})

test('flowsPerSecond() falls back to the mean since the start', () => {
  expect(flowsPerSecond({ flows_rate: 0, seen_flows: 30n, uptime_ns: 4_000_000_000n })).toBe('7.50')
})

test('formatTable() pads to the widest cell that another one follows; colours take no room', () => {
  expect(formatTable([['A', 'B'], ['longer', 'x'], ['a very long last cell']])).toBe(
    'A        B\nlonger   x\na very long last cell\n',
  )
  expect(
    formatTable([
      ['\x1b[31mA\x1b[0m', 'B'],
      ['xx', 'y'],
    ]),
  ).toBe('\x1b[31mA\x1b[0m    B\nxx   y\n')
})

test.each([
  [0, '0'],
  [999, '999'],
  [1000, '1,000'],
  [1234567n, '1,234,567'],
])('withCommas(%s)', (value, text) => {
  expect(withCommas(value)).toBe(text)
})

describe('list', () => {
  const node = {
    name: 'demo/node-1',
    version: 'v1',
    address: '10.0.0.1:4244',
    state: NodeState.NODE_CONNECTED,
    tls: undefined,
    uptime_ns: 20_000_000_000n,
    num_flows: 5n,
    max_flows: 1000n,
    seen_flows: 50n,
  }

  test('nodesText() prints state, age, rate and share', () => {
    expect(nodesText([node], false)).toBe(
      'NAME          STATUS      AGE   FLOWS/S   CURRENT/MAX-FLOWS\ndemo/node-1   Connected   20s   2.50      5/1000 (  0.50%)\n',
    )
    const gone = {
      ...node,
      state: NodeState.NODE_UNAVAILABLE,
      uptime_ns: 0n,
      max_flows: 0n,
      tls: { enabled: true, server_name: '' },
    }
    expect(nodesText([gone], true).split('\n')[1]).toMatch(
      /Unavailable +N\/A +N\/A +N\/A +v1 +10\.0\.0\.1:4244 +Enabled$/,
    )
  })

  test('namespacesText() adds clusters when wide', () => {
    expect(namespacesText([{ namespace: 'shop', cluster: '' }], false)).toBe('NAMESPACE\nshop\n')
    expect(namespacesText([{ namespace: 'shop', cluster: 'c1' }], true)).toBe('NAMESPACE   CLUSTER\nshop        c1\n')
  })
})

describe('ledger', () => {
  const ledger: GetLedgerResponse = {
    node_name: 'node-1',
    time: { seconds: 1_790_000_000n, nanos: 0 },
    kernel: [{ name: 'packets_seen', value: 1234n }],
    equations: [{ text: 'packets seen = all', left: 1234n, right: 1234n, difference: 0n }],
    stages: [
      {
        stage: 'json-log',
        accepted: 10n,
        delivered: 7n,
        filtered: 0n,
        waiting: 1n,
        lost: { disk_full: 2n, none: 0n },
        difference: 0n,
      },
    ],
    closes: true,
  }

  test('shows stages, equations and what was lost by reason; counters only when asked', () => {
    const text = ledgerText(ledger, plain, false)
    expect(text).toMatch(/packets seen = all +1,234 +1,234 +0\n/)
    expect(text).toMatch(/json-log +10 +7 +0 +1 +2 \(disk_full 2\) +0\n/)
    expect(text).toMatch(/The ledger closes\.\n$/)
    expect(text).not.toContain('packets_seen')
    expect(ledgerText(ledger, plain, true)).toMatch(/packets_seen +1,234\n/)
  })

  test('says when it does not close', () => {
    const open = { ...ledger, closes: false, equations: [{ text: 'x', left: 2n, right: 1n, difference: 1n }] }
    const text = ledgerText(open, new Paint(true), false)
    expect(text).toContain('\x1b[31m1\x1b[0m')
    expect(text.endsWith('\x1b[31mThe ledger does not close.\x1b[0m\n')).toBe(true)
  })

  test('JSON has numbers, and zeros too', () => {
    expect(JSON.parse(ledgerJson(ledger))).toMatchObject({
      time: '2026-09-21T14:13:20Z',
      closes: true,
      stages: [{ stage: 'json-log', filtered: 0, lost: { disk_full: 2 } }],
    })
  })
})

test('findingsText() puts the fix below what is missing', () => {
  const text = findingsText(
    [
      { group: 'Kernel', name: 'BTF', state: 'missing', detail: 'no file', fix: 'Boot another kernel' },
      { group: 'Files', name: 'log', state: 'warning', detail: '1 MB free', fix: 'Make room' },
      { group: 'Kernel', name: 'ring', state: 'ok', detail: '', fix: '' },
    ],
    plain,
  )
  expect(text).toBe(
    'Kernel\n  -- BTF   no file\n           fix: Boot another kernel\n  ok ring\nFiles\n  !! log   1 MB free\n           fix: Make room\n\nThe agent cannot run here: 1 missing.\n',
  )
})
