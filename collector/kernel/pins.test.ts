import { expect, test } from 'vitest'
import { PinDirectory } from './pins.ts'

test('PinDirectory.open() says so, and does not hang, where no directory can be made', () => {
  // As /sys/fs/bpf without a bpffs: mkdir() finds the parent, and answers ENOENT.
  expect(() => PinDirectory.open('/proc/sluice', 'test')).toThrow(
    expect.objectContaining({
      code: 'SLUICE_PIN_DIR',
      message: expect.stringMatching(/"\/proc\/sluice\/test".*ENOENT/),
    }),
  )
})
