import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { run } from '../../test/helpers/run-cli.ts'
import { parseLine } from './flow-file.ts'

const FILE = fileURLToPath(new URL('../fixtures/flows.jsonl', import.meta.url))

/** Flows of the fixture that pass, by how their lines begin after the time. */
async function shown(...flags: string[]): Promise<string[]> {
  const { stdout, code } = await run(['observe', '--input-file', FILE, '--time-format', 'RFC3339', ...flags])
  expect(code).toBe(0)
  return stdout.split('\n').filter((line) => line !== '' && !line.includes('EVENTS LOST'))
}

describe('observe --input-file', () => {
  const cases: [string[], number, RegExp][] = [
    [['--verdict', 'DROPPED'], 5, /DROPPED|DENIED/],
    [['-t', 'policy-verdict'], 9, /policy-verdict:/],
    [['-t', 'trace:to-stack'], 1, /to-stack/],
    [['-t', 'l7'], 5, /(dns|http|l7|kafka)-/],
    [['--protocol', 'dns'], 2, /dns-/],
    [['--uuid', '5b0c6f0e-7b1d-4a53-9d0e-0c1f2a3b4c5d'], 1, /shop\/cart-0:40112/],
    [['--from-pod', 'shop/cart'], 1, /cart-0.*->/],
    [['--pod', 'shop/cart'], 2, /cart-0/],
    [['--to-fqdn', '*.example.com'], 1, /a\.example\.com/],
    [['--to-label', 'app=db'], 1, /db-0/],
    [['--ip', '10.1.2.0/24', '--port', '8080'], 2, /8080/],
    [['-6'], 1, /\[/],
    [['--identity', 'host'], 1, /\(host\)/],
    [['--snat-ip', '9.9.9.0/24'], 1, /k\/p/],
    [['--ip-trace-id', '77'], 1, /IP Trace ID: 77/],
    [['--encrypted'], 1, /k\/p/],
    [['--interface', 'eth0'], 1, /k\/p/],
    [['--trace-id', 'abc'], 1, /k\/p/],
    [['--node-name', 'demo/node-1'], 1, /Policy denied/],
    [['--tcp-flags', 'syn', '--not', '--tcp-flags', 'ack'], 1, /TCP Flags: SYN\)/],
    [['--http-header', 'A:<b>'], 1, /http-request/],
    [['--service', 'kube-system/dns'], 1, /kube-system\/dns/],
    [['--drop-reason-desc', 'POLICY_DENIED'], 1, /Policy denied/],
    [['--allowlist', '{"reply":[true]}', '-t', 'trace'], 6, /./],
    [['--cel-expression', '_flow.l4.UDP.destination_port == uint(53)'], 1, /:53 /],
  ]
  test.each(cases)('filters with %j as a server does', async (flags, count, pattern) => {
    const lines = await shown(...flags)
    for (const line of lines) expect(line).toMatch(pattern)
    expect(lines.length).toBe(count)
  })

  test('counts --first and --last in flows, and bounds by time', async () => {
    expect((await shown('--first', '1'))[0]).toMatch(/^2026-11-22T07:15:04Z/)
    expect((await shown('--last', '1')).length).toBe(1)
    expect((await shown('--since', '2026-11-22T07:15:05Z', '--until', '2026-11-22T07:15:06Z')).slice(0, 2)).toEqual([
      expect.stringMatching(/^2026-11-22T07:15:05Z/),
      expect.stringMatching(/^2026-11-22T07:15:06Z/),
    ])
  })

  test('reads standard input and names lines that it leaves out', async () => {
    const stdin = `{bad\n[]\n\n${readFileSync(FILE, 'utf8').split('\n')[0]}\n{"flow":{"verdict":"NO_SUCH"}}`
    const { code, stdout, stderr } = await run(['observe', '--input-file', '-'], { stdin })
    expect(stdout.trimEnd().split('\n').length).toBe(1)
    expect(stderr).toMatch(/^-:1: left out: .*\n-:2: left out: not a JSON object\n-:5: left out: .*NO_SUCH/)
    expect(code).toBe(0)
    expect((await run(['observe', '-s', '--input-file', '-'], { stdin })).stderr).toBe('')
  })

  test('ends with 1 when the file is not there, with 2 for a bad filter', async () => {
    const gone = await run(['observe', '--input-file', '/no/such/file'])
    expect(gone.code).toBe(1)
    expect(gone.stderr).toMatch(/Cannot read "\/no\/such\/file": ENOENT/)
    const bad = await run(['observe', '--input-file', FILE, '--http-path', '('])
    expect(bad.code).toBe(2)
    expect(bad.stderr).toMatch(/http_path/)
  })
})

describe('parseLine()', () => {
  test('keeps the extensions of a log line: wide shows them, json prints them', async () => {
    const extensions = {
      '@type': 'type.googleapis.com/google.protobuf.Struct',
      value: { bytes: 74, packets: 1, rtt_us: 250 },
    }
    const stdin = `${JSON.stringify({ flow: { verdict: 'FORWARDED', extensions } })}\n`
    const json = await run(['observe', '--input-file', '-', '-o', 'json'], { stdin })
    expect(JSON.parse(json.stdout).flow.extensions).toEqual(extensions)
    const wide = await run(['observe', '--input-file', '-', '-o', 'wide'], { stdin })
    expect(wide.stdout).toMatch(/FORWARDED \(\) \[1 pkt 74 B rtt 250µs\]\n$/)
  })

  test('reads the bare flow of the old form', () => {
    expect(parseLine('{"time":"2026-11-22T07:15:04Z","verdict":"DROPPED","node_name":"n"}')).toMatchObject({
      flow: { verdict: 2 },
      node_name: 'n',
      time: { seconds: 1795331704n },
    })
  })
})
