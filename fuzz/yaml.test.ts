import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect } from 'vitest'
import { loadConfig } from '../agent/config.ts'
import { type ErrorCode, SluiceError } from '../base/errors.ts'
import { parseMetadata } from '../collector/metadata/file.ts'
import { loadLabSpec } from '../lab/spec.ts'
import { fuzzText } from '../test/helpers/fuzz.ts'

const directory = mkdtempSync(join(tmpdir(), 'sluice-fuzz-yaml-'))
afterAll(() => rmSync(directory, { recursive: true }))
const path = join(directory, 'file.yaml')

const tokens = [
  ...[
    '\n',
    '  ',
    '- ',
    ': ',
    '? ',
    '[',
    ']',
    '{',
    '}',
    ',',
    '"',
    "'",
    '|',
    '>',
    '&a ',
    '*a',
    '<<: *a',
    '#',
    '!!binary ',
  ],
  ...[
    '---\n',
    '...\n',
    '%YAML 1.1\n',
    'log',
    'pods',
    'nodes',
    'name',
    'metrics',
    '1',
    '0x1f',
    '1e999',
    'null',
    '~',
    'yes',
  ],
  ...['2026-01-02', '\t', '__proto__', 'constructor', '\u0000', 'é', '.inf'],
]

/** An error of the given code whose text is short enough to be read. */
const code = (wanted: ErrorCode) => (error: unknown) =>
  SluiceError.is(error) && error.code === wanted && error.message.length < 100_000

/** The yaml package walks the document for each alias: 64 KiB of nothing but aliases take it up to two seconds. */
const limits = { maxMs: 6000 }

describe('fuzz: YAML', () => {
  fuzzText(
    'loadConfig() reads or refuses any file',
    {
      corpus: 'config-yaml',
      tokens,
      target: (text) => {
        writeFileSync(path, text)
        expect(loadConfig({ path, env: {} })).toBeTypeOf('object')
      },
    },
    { refuses: code('SLUICE_CONFIG_INVALID'), ...limits },
  )

  fuzzText(
    'parseMetadata() reads or refuses any text',
    {
      corpus: 'metadata-yaml',
      tokens,
      target: (text) => expect(parseMetadata(text, 'x.yaml').pods).toBeInstanceOf(Array),
    },
    { refuses: code('SLUICE_METADATA_INVALID'), ...limits },
  )

  fuzzText(
    'loadLabSpec() reads or refuses any file',
    {
      corpus: 'lab-yaml',
      tokens,
      target: (text) => {
        writeFileSync(path, text)
        expect(loadLabSpec(path).pods).toBeInstanceOf(Array)
      },
    },
    { refuses: code('SLUICE_LAB_INVALID'), ...limits },
  )
})
