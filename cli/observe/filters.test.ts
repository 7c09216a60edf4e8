import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { run } from '../../test/helpers/run-cli.ts'

/** Flags and what `hubble observe --print-raw-filters` 1.19 prints for them, one block each. */
const CASES = readFileSync(new URL('../fixtures/filters.txt', import.meta.url), 'utf8')
  .split(/^\$ /m)
  .slice(1)
  .map((block) => {
    const end = block.indexOf('\n')
    return { flags: block.slice(0, end), printed: `${block.slice(end + 1).trimEnd()}\n` }
  })

/** Words of a shell: quotes hold spaces together. */
function words(text: string): string[] {
  return Array.from(text.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g), (m) => m[1] ?? m[2] ?? m[3]!)
}

describe('observe --print-raw-filters', () => {
  test.each(CASES)('makes the filters that hubble makes of $flags', async ({ flags, printed }) => {
    const { code, stdout, stderr } = await run(['observe', '--print-raw-filters', ...words(flags)])
    expect(stderr).toBe('')
    expect(stdout).toBe(printed)
    expect(code).toBe(0)
  })

  const refused: [string, RegExp][] = [
    ['-n foo --from-pod x', /--from-pod "x": it does not go with --namespace/],
    ['--workload a --from-workload b', /--from-workload "b": it does not go with --workload/],
    ['--encrypted --unencrypted', /--unencrypted "": it does not go with --encrypted/],
    ['--pod x --ip 1.1.1.1', /--ip "1.1.1.1": it does not go with --pod/],
    ['-A -n a', /--namespace "a": it does not go with --all-namespaces/],
    ['-n a -n b --pod a/y', /--pod "a\/y": "a\/y" is not in namespace "b"/],
    ['--pod y/z -n a', /--namespace "a": "y\/z" is not in namespace "a"/],
    ['-A --pod a/b', /"a\/b" is not in namespace ""/],
    ['--verdict forwarded', /--verdict "forwarded": want one of FORWARDED/],
    ['--http-header ab', /--http-header "ab": want name:value/],
    ['--identity foo', /--identity "foo": want a number below 2\^32 or one of host/],
    ['--identity 4294967296', /--identity "4294967296"/],
    ['--traffic-direction up', /want ingress or egress/],
    ['--ip-trace-id 0', /want a number from 1/],
    ['--tcp-flags foo', /--tcp-flags "foo": want names of fin/],
    ['--tcp-flags toString', /--tcp-flags "toString"/],
    ['--type foo', /--type "foo": want a number or one of drop/],
    ['--type trace:foo', /--type "trace:foo": want a sub-type/],
    ['--type l7:', /--type "l7:": want a sub-type that is a number/],
    ['--drop-reason-desc foo', /--drop-reason-desc "foo"/],
    ['--ip-version v5', /want none, v4 or v6/],
    ['--not', /--not as the last flag/],
    ['--not --not --from-ip 1.1.1.1', /--not twice in a row/],
    [`--allowlist '{"foo":1}'`, /--allowlist '\{"foo":1\}': "foo" is no field of FlowFilter/],
    [`--allowlist '{"event_type":[{"type":"a"}]}'`, /--allowlist '.*': invalid int32: NaN/],
    ['--allowlist x', /--allowlist 'x'/],
    [`--denylist '[{"reply":[true]}]'`, /--denylist/],
  ]

  test.each(refused)('refuses %s with the flag, the value and what is wanted', async (flags, message) => {
    const { code, stdout, stderr } = await run(['observe', '--print-raw-filters', ...words(flags)])
    expect(stderr).toMatch(message)
    expect(stdout).toBe('')
    expect(code).toBe(2)
  })
})
