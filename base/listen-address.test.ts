import { describe, expect, test } from 'vitest'
import { hostPortText, parseHostPort, parseListenAddress } from './listen-address.ts'

describe('parseHostPort()', () => {
  test.each([
    [':9965', { host: '', port: 9965 }],
    ['[::1]:80', { host: '::1', port: 80 }],
    ['[fe80::1%eth0]:80', { host: 'fe80::1%eth0', port: 80 }],
    ['[::ffff:10.0.0.1]:80', { host: '::ffff:10.0.0.1', port: 80 }],
    ['127.0.0.1:4245', { host: '127.0.0.1', port: 4245 }],
    ['localhost:0', { host: 'localhost', port: 0 }],
    ['node-1.example:4245', { host: 'node-1.example', port: 4245 }],
  ])('reads %s, and hostPortText() writes it', (text, value) => {
    expect(parseHostPort(text)).toEqual(value)
    expect(hostPortText(value)).toBe(text)
  })

  test.each([
    ...['', 'host', 'host:', '9965', 'a:b', ':70000', '1.2.3.4:70000', '1.2.3:80', '999.1.1.1:80', '::1:80', '[::1]'],
    ...['[zz]:80', '[1.2.3.4]:80', 'a b:1', 'a:1:2', 'http://x:1', '-x:80', 'x\n:80'],
  ])('refuses %j', (text) => {
    expect(parseHostPort(text)).toBeUndefined()
  })
})

describe('parseListenAddress()', () => {
  test.each([
    ['unix:///run/sluice.sock', { kind: 'unix', path: '/run/sluice.sock' }],
    ['unix:sluice.sock', { kind: 'unix', path: 'sluice.sock' }],
    [':4244', { kind: 'tcp', host: '', port: 4244 }],
    ['unix:', undefined],
    ['unix://', undefined],
    ['unix:///run/\0', undefined],
    ['4244', undefined],
  ])('reads %j as %j', (text, value) => {
    expect(parseListenAddress(text)).toEqual(value)
  })
})
