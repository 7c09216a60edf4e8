import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ApiServer } from '../../api/server.ts'
import { EXCLUSIVE_FLAGS, FILTER_FLAGS } from '../../cli/observe/filter-flags.ts'
import { run } from '../helpers/run-cli.ts'
import { build, Hubble, missing } from './hubble-cli.ts'
import { scenario } from './scenario.ts'

/** Fields that this hubble does not know yet. */
const NEWER_FIELDS = /,"(chunk_type|ext_drop_reason_desc|pod_uid)":"[^"]*"/g

/** Flags of observe; both programs are run with each against the same server. */
const OBSERVE: readonly (readonly string[])[] = [
  [],
  ['-o', 'dict'],
  ['-o', 'table'],
  ['-o', 'json'],
  ['-o', 'jsonpb', '--field-mask', 'time,verdict,source.pod_name'],
  ['--print-node-name', '--print-policy-names'],
  ['--numeric'],
  ['--ip-translation=false'],
  ['--time-format', 'RFC3339Nano'],
  ['--color', 'always'],
  ['--use-default-field-masks=false'],
  ['--all'],
  ['--first', '3'],
  ['--last', '2'],
  ['--since', '2026-09-21T14:13:25Z'],
  ['--since', '2026-09-21T14:13:22Z', '--until', '2026-09-21T14:13:26Z'],
  ['--until', '2026-09-21T14:13:22Z'],
  ['--pod', 'shop/cart'],
  ['-n', 'data', '--not', '--protocol', 'http'],
  ['--verdict', 'DROPPED', '--print-node-name'],
  ['-t', 'trace:to-stack', '-t', 'l7'],
  ['--http-status', '5+'],
  ['--to-fqdn', '*.example.com'],
  ['--from-label', 'app=cart', '--to-port', '80'],
  ['--tcp-flags', 'syn', '--not', '--tcp-flags', 'ack'],
  ['--identity', 'host'],
  ['--workload', 'StatefulSet/cart', '--traffic-direction', 'egress'],
  ['--allowlist', '{"reply":[true]}', '--denylist', '{"verdict":["DROPPED"]}'],
  ['--cel-expression', '_flow.verdict == Verdict.DROPPED'],
]

describe.skipIf(missing)(`sluice beside hubble${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let server: ApiServer
  let hubble: Hubble
  let connection: string[]

  beforeAll(async () => {
    server = new ApiServer(
      {
        store: scenario(),
        version: '0.1.0',
        namespaces: {
          list: () => [
            { cluster: 'c1', namespace: 'shop' },
            { cluster: 'c1', namespace: 'data' },
          ],
        },
      },
      { listen: [{ kind: 'tcp', host: '127.0.0.1', port: 0 }] },
    )
    await server.start()
    connection = ['--server', server.addresses[0]!]
    hubble = new Hubble(build('hubble-1.19'), [])
  })
  afterAll(() => server?.[Symbol.asyncDispose]())

  test.each(OBSERVE.map((flags) => [flags.join(' ') || '(none)', flags] as const))(
    'prints the same: observe %s',
    async (_, flags) => {
      const args = ['observe', ...flags, ...connection]
      const own = await run(args)
      const stdout = own.stdout.replace(NEWER_FIELDS, '')
      expect({ ...own, stdout }).toEqual(await hubble.run(...args))
    },
  )

  test.each([
    ['list', 'nodes', '-o', 'wide'],
    ['list', 'namespaces'],
    ['list', 'namespaces', '-o', 'wide'],
    ['list', 'namespaces', '-o', 'json'],
    ['observe', 'debug-events'],
    ['observe', 'agent-events', '--all'],
  ])('prints the same: %s %s %s %s', async (...words) => {
    const args = [...words.filter((word) => word !== undefined), ...connection]
    const own = await run(args)
    const other = await hubble.run(...args)
    // Ages and rates move between two questions.
    const still = (text: string) => text.replace(/\d+s +[\d.]+ /g, '# ')
    expect([own.code, still(own.stdout)]).toEqual([other.code, still(other.stdout)])
  })

  test('makes the same filters of the same flags', async () => {
    const blocks = readFileSync(new URL('../../cli/fixtures/filters.txt', import.meta.url), 'utf8')
      .split(/^\$ /m)
      .slice(1)
    expect(blocks.length).toBeGreaterThan(60)
    for (const block of blocks) {
      const [flags = '', ...printed] = block.split('\n')
      const words = Array.from(flags.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g), (m) => m[1] ?? m[2] ?? m[3]!)
      const { stdout, code } = await hubble.run('observe', '--print-raw-filters', ...words)
      expect([flags, code, stdout]).toEqual([flags, 0, `${printed.join('\n').trimEnd()}\n`])
    }
  })

  test('refuses the same pairs of flags', async () => {
    const values: Readonly<Record<string, string>> = {
      'from-ip': '1.1.1.1',
      'to-ip': '1.1.1.1',
      ip: '1.1.1.1',
      'from-identity': '1',
      'to-identity': '1',
      identity: '1',
    }
    const about = FILTER_FLAGS.filter(({ name }) =>
      /^(from-|to-|all-|namespace|pod|service|ip$|fqdn|label|port|identity|workload|cluster|encrypted|unencrypted)/.test(
        name,
      ),
    )
    const args = ({ name, value }: (typeof about)[number]) => [
      `--${name}`,
      ...(value === undefined ? [] : [values[name] ?? 'x']),
    ]
    const wrong: string[] = []
    for (const [i, a] of about.entries()) {
      const pairs = about.slice(i + 1).map(async (b) => {
        const { stderr } = await hubble.run('observe', '--print-raw-filters', ...args(a), ...args(b))
        const refused = /cannot be combined/.test(stderr)
        if (refused !== (EXCLUSIVE_FLAGS.get(a.name)?.has(b.name) ?? false))
          wrong.push(`${a.name} ${b.name}: ${refused}`)
      })
      await Promise.all(pairs)
    }
    expect(wrong).toEqual([])
  })
})
