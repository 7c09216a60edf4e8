/**
 * Every error that a user can meet, in one table: code, whether trying again can help, and the remedy in one line.
 * docs/errors.md is generated from it. Codes are never reused.
 */
export const ERRORS = {
  SLUICE_CONFIG_INVALID: {
    retryable: false,
    remedy: 'Correct the named key; `sluice agent --dry-run` checks a file without starting',
  },
  SLUICE_NATIVE_LOAD: {
    retryable: false,
    remedy: 'Build it with `npm run build`; at run time it needs the Debian package libbpf1',
  },
  SLUICE_KERNEL_UNSUPPORTED: { retryable: false, remedy: 'Run `sluice doctor`: it names what this kernel lacks' },
  SLUICE_KERNEL_LOAD: {
    retryable: false,
    remedy: 'Run `sluice doctor`; the agent needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or root',
  },
  SLUICE_KERNEL_ATTACH: {
    retryable: true,
    remedy: 'Check that the device still exists and that the agent has CAP_NET_ADMIN',
  },
  SLUICE_PIN_DIR: {
    retryable: false,
    remedy: 'Mount bpffs on /sys/fs/bpf and make the pin directory writable for the agent',
  },
  SLUICE_METADATA_INVALID: { retryable: false, remedy: 'Correct the named entry of the metadata file' },
  SLUICE_FILTER_INVALID: { retryable: false, remedy: 'Correct the named filter field' },
  SLUICE_FIELD_MASK_INVALID: {
    retryable: false,
    remedy: 'Give paths of flow.Flow in flow.proto’s names, such as time, source.pod_name or l4.TCP',
  },
  SLUICE_EXPORTER_START: {
    retryable: true,
    remedy: 'Correct the exporter’s section of the configuration, or the permissions of its target',
  },
  SLUICE_API_LISTEN: { retryable: true, remedy: 'Choose another address, or stop the process that holds it' },
  SLUICE_TLS_FILE: {
    retryable: true,
    remedy: 'Check that the certificate, key and CA files exist, are PEM and belong together',
  },
  SLUICE_RPC: { retryable: true, remedy: 'Check --server and that the agent runs: `sluice status`' },
  SLUICE_LAB: { retryable: false, remedy: 'The lab needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN) and iproute2' },
  SLUICE_LAB_INVALID: {
    retryable: false,
    remedy: 'Correct the named entry of the lab file; lab/README.md describes the format',
  },
  SLUICE_REPLAY_INVALID: {
    retryable: false,
    remedy: 'Give a file of flows as JSON lines, as the agent or `hubble observe -o json` writes it',
  },
  SLUICE_KUBERNETES_CONFIG: {
    retryable: false,
    remedy: 'Check kubernetes.kubeconfig and kubernetes.context; in a pod, that its service account token is mounted',
  },
  SLUICE_KUBERNETES_API: {
    retryable: true,
    remedy: 'Check that the node reaches the API server and what the service account may do: `kubectl auth can-i`',
  },
  SLUICE_USAGE: { retryable: false, remedy: 'See --help' },
} as const

export type ErrorCode = keyof typeof ERRORS

const BRAND = Symbol.for('sluice.error')

/** An error with a code from the table. The message names the action that failed, the value met and the one wanted. */
export class SluiceError extends Error {
  readonly code: ErrorCode
  readonly retryable: boolean
  readonly remedy: string
  readonly [BRAND] = true

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown; remedy?: string }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'SluiceError'
    this.code = code
    this.retryable = ERRORS[code].retryable
    this.remedy = options?.remedy ?? ERRORS[code].remedy
  }

  /** Recognised by brand, so that two copies of this module agree. */
  static is(value: unknown): value is SluiceError {
    return typeof value === 'object' && value !== null && BRAND in value
  }
}

/** The text of anything that was thrown. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
