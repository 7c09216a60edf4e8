import { describe, expect, test } from 'vitest'
import { SluiceError } from '../../base/errors.ts'
import { type JsonLogOptions, resolveJsonLogOptions } from './config.ts'

describe('resolveJsonLogOptions()', () => {
  test('has a default for everything', () => {
    expect(resolveJsonLogOptions()).toEqual({
      path: '/var/log/acns/hubble/events.log',
      maxFileBytes: 50 * 1024 * 1024,
      maxBackups: 5,
      compress: false,
      fileMode: 0o600,
      chunkBytes: 262_144,
      maxHeldFlows: 65_536,
      retryMinMs: 100,
      retryMaxMs: 5000,
      fieldMask: undefined,
    })
  })

  test.each<[JsonLogOptions, string]>([
    [{ path: 'events.log' }, '"path" is "events.log", want the absolute path of a file'],
    [{ path: '/var/log/' }, '"path" is "/var/log/"'],
    [{ maxFileBytes: 100 }, '"maxFileBytes" is 100, want a whole number from 1048576'],
    [{ maxBackups: -1 }, '"maxBackups" is -1'],
    [{ maxBackups: 1.5 }, '"maxBackups" is 1.5'],
    [{ maxBackups: '5' as never }, '"maxBackups" is "5"'],
    [{ compress: 'gzip' as never }, '"compress" is "gzip", want true or false'],
    [{ fileMode: 0o100 }, '"fileMode" is 64'],
    [{ chunkBytes: 1000 }, '"chunkBytes" is 1000'],
    [{ chunkBytes: 4_194_304, maxFileBytes: 1_048_576 }, '"chunkBytes" is 4194304, want at most "maxFileBytes"'],
    [{ retryMinMs: 1000, retryMaxMs: 10 }, '"retryMaxMs" is 10, want a whole number from 1000'],
    [{ maxHeldFlows: 0 }, '"maxHeldFlows" is 0'],
    [{ fieldMask: ['time', 'sorce', 'l4.TCP.port'] }, '"fieldMask": invalid fieldmask: "sorce", "l4.TCP.port" are'],
  ])('refuses %j by name, value and remedy', (options, message) => {
    expect(() => resolveJsonLogOptions(options)).toThrow(
      expect.objectContaining({ code: 'SLUICE_CONFIG_INVALID', message: expect.stringContaining(message) }),
    )
  })

  test('names every mistake at once', () => {
    try {
      resolveJsonLogOptions({ path: 'x', maxBackups: -1, fieldMask: ['nope'] })
      expect.fail('accepted')
    } catch (error) {
      expect(SluiceError.is(error)).toBe(true)
      for (const name of ['path', 'maxBackups', 'nope']) expect((error as Error).message).toContain(name)
    }
  })
})
