import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { KernelSymbols, kernelBase } from './kernel-symbols.ts'

const TABLE = `0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81000100 t tcp_v4_rcv
ffffffff81000900 D some_data
ffffffff81000a00 W weak_one
ffffffffc0000010 t veth_xmit\t[veth]
`

function tableFile(text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-symbols-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'kallsyms')
  writeFileSync(path, text)
  return path
}

describe('kernelBase()', () => {
  it('is the address of _stext', () => {
    expect(kernelBase(tableFile(TABLE))).toBe(0xffffffff81000000n)
  })

  it('is 0 when addresses are hidden, and when there is no table', () => {
    expect(kernelBase(tableFile('0000000000000000 T _stext\n'))).toBe(0n)
    expect(kernelBase('/nonexistent')).toBe(0n)
  })
})

describe('KernelSymbols', () => {
  it.each([
    [0, ''],
    [0x100, 'tcp_v4_rcv'],
    [0x15c, 'tcp_v4_rcv+0x5c'],
    [0x8ff, 'tcp_v4_rcv+0x7ff'],
    [0xa04, 'weak_one+0x4'],
    [0x3f000014, 'veth_xmit+0x4'],
  ])('name() of offset 0x%x is "%s"', (offset, name) => {
    expect(new KernelSymbols(0xffffffff81000000n, tableFile(TABLE)).name(offset)).toBe(name)
  })

  it('name() is empty when addresses are hidden: it would tell where the kernel lies', () => {
    expect(new KernelSymbols(0n, tableFile(TABLE)).name(0x15c)).toBe('')
  })

  it('name() is hexadecimal when the table cannot be read', () => {
    expect(new KernelSymbols(1n, '/nonexistent').name(0x15c)).toBe('0x15c')
  })

  it('name() is hexadecimal below the first function', () => {
    const path = tableFile('ffffffff81000100 t tcp_v4_rcv\n')
    expect(new KernelSymbols(0xffffffff81000000n, path).name(0x10)).toBe('0x10')
  })

  it('name() finds modules that lie below the kernel, modulo 2^32 as records count', () => {
    const path = tableFile('ffffffff81000000 T _stext\nffffffff80fff000 t below [module]\n')
    expect(new KernelSymbols(0xffffffff81000000n, path).name(0xfffff010)).toBe('below+0x10')
  })
})
