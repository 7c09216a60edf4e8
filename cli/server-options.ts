import { type Command, Option } from 'commander'
import { type ClientOptions, ObserverClient } from '../api/client.ts'
import { SluiceError } from '../base/errors.ts'
import { parseGoDuration } from './observe/time.ts'

export const DEFAULT_SERVER = 'localhost:4245'

/** Flags of every command that talks to a server, as commander gives them. */
export interface ServerOptions {
  readonly server: string
  readonly tls?: boolean
  readonly tlsAllowInsecure?: boolean
  readonly tlsCaCertFiles?: string[]
  readonly tlsClientCertFile?: string
  readonly tlsClientKeyFile?: string
  readonly tlsServerName?: string
  readonly basicAuthUsername?: string
  readonly basicAuthPassword?: string
  readonly timeout: string
  readonly requestTimeout: string
}

/** Adds Hubble's connection flags; each can stand in the environment as HUBBLE_<FLAG>. */
export function addServerOptions(command: Command): Command {
  const option = (flags: string, help: string, variable: string) => new Option(flags, help).env(variable)
  return command
    .addOption(
      option(
        '--server <address>',
        'host:port, tls://host:port or unix:///path of a Hubble server',
        'HUBBLE_SERVER',
      ).default(DEFAULT_SERVER),
    )
    .addOption(option('--tls', 'connect with TLS; tls:// in --server says the same', 'HUBBLE_TLS'))
    .addOption(
      option(
        '--tls-allow-insecure',
        'take any certificate: for experiments, not for keeps',
        'HUBBLE_TLS_ALLOW_INSECURE',
      ),
    )
    .addOption(
      option(
        '--tls-ca-cert-files <paths>',
        'PEM files of the CAs to trust, separated by commas',
        'HUBBLE_TLS_CA_CERT_FILES',
      ).argParser(commaList),
    )
    .addOption(
      option('--tls-client-cert-file <path>', "this client's certificate (PEM)", 'HUBBLE_TLS_CLIENT_CERT_FILE'),
    )
    .addOption(option('--tls-client-key-file <path>', 'its key (PEM)', 'HUBBLE_TLS_CLIENT_KEY_FILE'))
    .addOption(option('--tls-server-name <name>', "name in the server's certificate", 'HUBBLE_TLS_SERVER_NAME'))
    .addOption(option('--basic-auth-username <name>', 'user name; needs TLS', 'HUBBLE_BASIC_AUTH_USERNAME'))
    .addOption(option('--basic-auth-password <password>', 'password; needs TLS', 'HUBBLE_BASIC_AUTH_PASSWORD'))
    .addOption(option('--timeout <duration>', 'longest wait for a connection', 'HUBBLE_TIMEOUT').default('5s'))
    .addOption(
      option(
        '--request-timeout <duration>',
        'longest wait for an answer that is not a stream',
        'HUBBLE_REQUEST_TIMEOUT',
      ).default('12s'),
    )
}

/** Adds to what an earlier use of the flag gave. */
export function commaList(value: string, previous: string[] = []): string[] {
  return [...previous, ...value.split(',').filter((part) => part !== '')]
}

/** For flags that may be repeated. */
export function append(value: string, previous: string[] = []): string[] {
  return [...previous, value]
}

/** @throws SluiceError SLUICE_USAGE */
export function durationFlag(flag: string, text: string): number {
  const ns = parseGoDuration(text)
  if (ns !== undefined && ns > 0n) return Number(ns) / 1e6
  throw new SluiceError(
    'SLUICE_USAGE',
    `Cannot use ${flag} "${text}": want a duration above 0, for example 5s or 1m30s`,
  )
}

/**
 * A client of the server that the flags name. Connects at the first call.
 *
 * @throws SluiceError SLUICE_USAGE or SLUICE_TLS_FILE
 */
export function openClient(options: ServerOptions, withExtensions = false): Promise<ObserverClient> {
  const { basicAuthUsername: username, basicAuthPassword: password } = options
  const client: ClientOptions = {
    server: options.server,
    tls: options.tls,
    tlsAllowInsecure: options.tlsAllowInsecure,
    tlsCaCertFiles: options.tlsCaCertFiles,
    tlsClientCertFile: options.tlsClientCertFile,
    tlsClientKeyFile: options.tlsClientKeyFile,
    tlsServerName: options.tlsServerName,
    basicAuth:
      username === undefined && password === undefined
        ? undefined
        : { username: username ?? '', password: password ?? '' },
    connectTimeoutMs: durationFlag('--timeout', options.timeout),
    requestTimeoutMs: durationFlag('--request-timeout', options.requestTimeout),
    withExtensions,
  }
  return ObserverClient.create(client)
}
