import { describe, expect } from 'vitest'
import { durationMs, sizeBytes } from '../agent/config-values.ts'
import { maskKey, parseMaskTree } from '../api/field-mask.ts'
import { type ErrorCode, SluiceError } from '../base/errors.ts'
import { hostPortText, parseHostPort, parseListenAddress } from '../base/listen-address.ts'
import { contextOptions, parseMetrics } from '../exporters/prometheus/context/options.ts'
import { acceptsGzip, negotiateFormat } from '../exporters/prometheus/http/negotiate.ts'
import { MetricSet } from '../exporters/prometheus/metric-set.ts'
import { parseFieldMask } from '../model/field-mask.ts'
import { fuzzText } from '../test/helpers/fuzz.ts'

const code = (wanted: ErrorCode) => (error: unknown) => SluiceError.is(error) && error.code === wanted

describe('fuzz: values', () => {
  fuzzText(
    'parseFieldMask() and the mask of the API take or refuse the same paths',
    {
      corpus: 'field-mask',
      tokens: [
        'source',
        'IP',
        'l4',
        'TCP',
        'flags',
        'l7',
        '.',
        ',',
        'time',
        'pod_name',
        'labels',
        '__proto__',
        'http',
        '',
      ],
      target: (text) => {
        const paths = text.split(',')
        let refusal: unknown
        try {
          maskKey(parseMaskTree(paths)!)
        } catch (error) {
          refusal = error
        }
        try {
          parseFieldMask(paths)
        } catch (error) {
          if (refusal === undefined) throw new Error('The API takes a mask that the log refuses', { cause: error })
          throw error
        }
        if (refusal !== undefined) throw refusal
      },
    },
    { refuses: code('SLUICE_FIELD_MASK_INVALID') },
  )

  fuzzText(
    'metric specs are taken or refused',
    {
      corpus: 'metric-spec',
      tokens: [
        ...['dns', 'drop', 'flow', 'tcp', 'httpV2', 'icmp', ':', ';', '=', '|', ',', ' ', '\n', 'labelsContext'],
        ...['sourceContext', 'destinationEgressContext', 'pod', 'ip', 'dns', 'source_ip', 'exemplars', 'true', 'x'],
      ],
      target: (text) => {
        const specs = parseMetrics(text)
        for (const spec of specs) contextOptions(spec)
        expect(new MetricSet(specs)).toBeTypeOf('object')
      },
    },
    { refuses: code('SLUICE_CONFIG_INVALID') },
  )

  fuzzText('listen addresses are taken or refused, and their text is read again as the same', {
    corpus: 'listen-address',
    tokens: [':', '[', ']', '::', '1', '127.0.0.1', '65535', '65536', 'unix://', '/', '%', 'host', '.', ' ', '0'],
    target: (text) => {
      const address = parseListenAddress(text)
      if (address?.kind === 'unix') expect(text.startsWith('unix:')).toBe(true)
      const { host, port } = parseHostPort(text) ?? {}
      if (host !== undefined && port !== undefined) {
        expect(port).toBeLessThanOrEqual(65535)
        expect(parseHostPort(hostPortText({ host, port }))).toEqual({ host, port })
      }
    },
  })

  fuzzText('negotiation answers any Accept and Accept-Encoding', {
    corpus: 'accept',
    tokens: [
      'application/openmetrics-text',
      'text/plain',
      '*/*',
      ';',
      'q=',
      '0',
      '1',
      '.',
      'version=',
      ',',
      '"',
      'gzip',
      '*',
    ],
    target: (text) => {
      const { format, contentType } = negotiateFormat(text)
      expect(contentType.startsWith(format === 'text' ? 'text/plain' : 'application/openmetrics-text')).toBe(true)
      expect(contentType).toMatch(/; version=(1\.0\.0|0\.0\.1|0\.0\.4); charset=utf-8$/)
      expect(acceptsGzip(text)).toBeTypeOf('boolean')
    },
  })

  fuzzText('durations and sizes of the configuration are numbers or nothing', {
    corpus: 'cli-time',
    tokens: ['1', '9', '0', '.', 'ms', 's', 'm', 'h', 'KiB', 'MB', ' ', '-'],
    target: (text) => {
      for (const value of [durationMs(text), sizeBytes(text)]) {
        if (value !== undefined) expect(value).toBeGreaterThanOrEqual(0)
      }
    },
  })
})
