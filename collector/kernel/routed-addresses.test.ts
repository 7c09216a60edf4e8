import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { routedAddresses } from './routed-addresses.ts'

function procNet(files: Record<string, string>): string {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-routes-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text)
  return directory
}

const ROUTE = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0100000A	0003	0	0	0	00000000	0	0	0
lxc1	0A01F40A	00000000	0005	0	0	0	FFFFFFFF	0	0	0
lxc2	0B01F40A	00000000	0005	0	0	0	FFFFFFFF	0	0	0
lxc1	0000A8C0	00000000	0001	0	0	0	0000FFFF	0	0	0
lxc1	0C01F40A	00000000	0004	0	0	0	FFFFFFFF	0	0	0
`
const ROUTE6 = `fd00024400010000000000000000000a 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000001 00000000 00000001     lxc1
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     lxc1
fe80000000000000a4b1c8fffe000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001     lxc1
fd000244000100000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001     lxc1
fd00024400010000000000000000000b 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000001 00000000 00000001     lxc2
ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000004 00000000 00000001     lxc1
`

test('routedAddresses() tells host routes of a device, of both families, and none of its own addresses', () => {
  const directory = procNet({ route: ROUTE, ipv6_route: ROUTE6 })
  expect(routedAddresses('lxc1', directory)).toEqual(['10.244.1.10', 'fd00:244:1::a'])
  expect(routedAddresses('lxc2', directory)).toEqual(['10.244.1.11', 'fd00:244:1::b'])
  expect(routedAddresses('eth0', directory)).toEqual([])
})

test('routedAddresses() tells nothing where /proc does not', () => {
  expect(routedAddresses('lxc1', procNet({ route: '' }))).toEqual([])
  expect(routedAddresses('lxc1', '/nonexistent')).toEqual([])
})
