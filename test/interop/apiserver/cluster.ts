import { execFile } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TestAuthority, type TestCertificate } from '../../helpers/certificates.ts'
import { kubernetesTool } from '../../helpers/kubernetes-tools.ts'
import { type Answer, Caller, type CallOptions } from './caller.ts'
import { ChildServer } from './child-server.ts'
import { Etcd } from './etcd.ts'
import { programPath } from './programs.ts'

export interface Output {
  readonly stdout: string
  readonly stderr: string
  readonly code: number
}

export interface PodAccess {
  readonly serviceAccountFolder: string
  readonly env: Readonly<Record<string, string>>
}

/** A request of a service account, from the server's audit log. */
export interface AuditedRequest {
  /** `system:serviceaccount:kube-system:sluice` */
  readonly user: string
  readonly verb: string
  /** `pods`, `containernetworklogs/status`; empty for a path that is no resource. */
  readonly resource: string
  readonly name: string
  readonly status: number
}

/** Notes the answers to service accounts, and the beginnings of their watches. */
const AUDIT_POLICY = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  rules: [{ level: 'Metadata', userGroups: ['system:serviceaccounts'] }, { level: 'None' }],
}

/** Tries for a port that another process may take between the choice and the start. */
const START_TRIES = 3
const READY_TIMEOUT_MS = 120_000

/**
 * A control plane without nodes: etcd and kube-apiserver on loopback, with RBAC, in a folder of its own that goes when
 * it is disposed. There is no controller: nobody makes pods of a Deployment, or ends the deletion of a namespace.
 */
export class Cluster implements AsyncDisposable {
  readonly folder: string
  readonly caFile: string
  readonly ca: Buffer
  /** A member of system:masters. */
  readonly adminToken = randomBytes(16).toString('hex')
  readonly etcd: Etcd
  readonly #authority: TestAuthority
  readonly #certificate: TestCertificate
  #caller: Caller | undefined
  #server: ChildServer | undefined
  #port = 0

  private constructor(folder: string, authority: TestAuthority, certificate: TestCertificate, ca: Buffer) {
    this.folder = folder
    this.caFile = authority.certFile
    this.#authority = authority
    this.#certificate = certificate
    this.ca = ca
    this.etcd = new Etcd(folder)
  }

  /** Starts both servers and waits until the API answers and its own roles are there: some seconds. */
  static async start(): Promise<Cluster> {
    const folder = await mkdtemp(join(tmpdir(), 'sluice-apiserver-'))
    const authority = await TestAuthority.create()
    const certificate = await authority.issue('apiserver', 'IP:127.0.0.1,DNS:localhost')
    const cluster = new Cluster(folder, authority, certificate, await readFile(authority.certFile))
    try {
      await cluster.#writeFiles()
      await cluster.etcd.start()
      await cluster.#startAnywhere()
      return cluster
    } catch (error) {
      await cluster[Symbol.asyncDispose]()
      throw error
    }
  }

  /** The administrator's. */
  get caller(): Caller {
    if (this.#caller === undefined) throw new Error('The API server was not started')
    return this.#caller
  }

  /** `https://127.0.0.1:PORT`; the same over a restart. */
  get url(): string {
    return this.caller.url
  }

  async #writeFiles(): Promise<void> {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    await writeFile(join(this.folder, 'accounts.key'), privateKey.export({ type: 'pkcs8', format: 'pem' }))
    await writeFile(join(this.folder, 'accounts.pub'), publicKey.export({ type: 'spki', format: 'pem' }))
    await writeFile(join(this.folder, 'audit-policy.json'), JSON.stringify(AUDIT_POLICY))
    await writeFile(join(this.folder, 'tokens.csv'), `${this.adminToken},admin,1,"system:masters"\n`)
  }

  async #startAnywhere(): Promise<void> {
    for (let tries = 1; ; tries++) {
      this.#port = await freePort()
      this.#caller?.[Symbol.dispose]()
      this.#caller = new Caller(`https://127.0.0.1:${this.#port}`, this.adminToken, this.ca)
      try {
        await this.startApiServer()
        return
      } catch (error) {
        await this.stopApiServer('SIGKILL')
        if (tries === START_TRIES || !String(error).includes('address already in use')) throw error
      }
    }
  }

  /** Starts the API server again where it was. */
  async startApiServer(): Promise<void> {
    this.#server = new ChildServer({
      path: programPath('kube-apiserver'),
      args: this.#flags(),
      cwd: this.folder,
      logFile: join(this.folder, 'kube-apiserver.log'),
    })
    await this.#server.ready(async () => {
      const answer = await this.call('GET', '/readyz').catch(() => undefined)
      return answer?.status === 200
    }, READY_TIMEOUT_MS)
  }

  async stopApiServer(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    await this.#server?.stop(signal)
  }

  #flags(): string[] {
    return [
      `--etcd-servers=${this.etcd.endpoint}`,
      '--bind-address=127.0.0.1',
      `--secure-port=${this.#port}`,
      `--tls-cert-file=${this.#certificate.certFile}`,
      `--tls-private-key-file=${this.#certificate.keyFile}`,
      `--cert-dir=${this.folder}`,
      `--client-ca-file=${this.caFile}`,
      `--token-auth-file=${join(this.folder, 'tokens.csv')}`,
      '--authorization-mode=RBAC',
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${join(this.folder, 'accounts.pub')}`,
      `--service-account-signing-key-file=${join(this.folder, 'accounts.key')}`,
      '--service-cluster-ip-range=10.96.0.0/16',
      `--audit-policy-file=${join(this.folder, 'audit-policy.json')}`,
      `--audit-log-path=${this.#auditFile}`,
      // Its own address among the endpoints of the service kubernetes may not be a loopback address.
      '--endpoint-reconciler-type=none',
      // No controller makes the account `default` that this one would give to pods.
      '--disable-admission-plugins=ServiceAccount',
      // Revisions are compacted when a test wants it.
      '--etcd-compaction-interval=0',
      // Tests create thousands of objects at once.
      '--max-requests-inflight=0',
      '--max-mutating-requests-inflight=0',
      '--enable-priority-and-fairness=false',
    ]
  }

  /** A request as the administrator. Rejects when no answer comes; any status is an answer. */
  call(method: string, path: string, options?: CallOptions): Promise<Answer> {
    return this.caller.call(method, path, options)
  }

  /** As call(), for what has to succeed. @returns the body */
  ok(method: string, path: string, options?: CallOptions): Promise<Answer['body']> {
    return this.caller.ok(method, path, options)
  }

  /** A token of a service account, which is created if need be. The account has no rights but those bound to it. */
  async accountToken(namespace: string, name: string): Promise<string> {
    const accounts = `/api/v1/namespaces/${namespace}/serviceaccounts`
    const created = await this.call('POST', accounts, { body: { metadata: { name } } })
    if (created.status !== 201 && created.status !== 409) {
      throw new Error(`Cannot create the service account ${name}: ${JSON.stringify(created.body)}`)
    }
    const body = await this.ok('POST', `${accounts}/${name}/token`, { body: { spec: { expirationSeconds: 3600 } } })
    return body.status.token as string
  }

  /** What a pod of a service account has to log in with: a folder of files and the environment. */
  async podAccess(namespace: string, name: string): Promise<PodAccess> {
    const serviceAccountFolder = join(this.folder, `${namespace}-${name}`)
    await mkdir(serviceAccountFolder, { recursive: true })
    const files = { token: await this.accountToken(namespace, name), namespace, 'ca.crt': this.ca }
    for (const [file, content] of Object.entries(files)) await writeFile(join(serviceAccountFolder, file), content)
    const env = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(this.#port) }
    return { serviceAccountFolder, env }
  }

  /** What service accounts asked for and were answered, in the order of the answers. */
  async audit(): Promise<AuditedRequest[]> {
    const lines = (await readFile(this.#auditFile, 'utf8')).split('\n').filter((line) => line !== '')
    return lines.map((line) => {
      const { user, verb, objectRef = {}, responseStatus } = JSON.parse(line)
      const { resource = '', subresource, name = '' } = objectRef
      const what = subresource === undefined ? resource : `${resource}/${subresource}`
      return { user: user.username, verb, resource: what, name, status: responseStatus?.code ?? 0 }
    })
  }

  get #auditFile(): string {
    return join(this.folder, 'audit.log')
  }

  /** A kubeconfig file for a token; `name` is the file's and the user's. @param port another way to the server */
  async kubeconfig(name: string, token: string, port = this.#port): Promise<string> {
    const path = join(this.folder, `${name}.kubeconfig`)
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        { name: 'test', cluster: { server: `https://127.0.0.1:${port}`, 'certificate-authority': this.caFile } },
      ],
      users: [{ name, user: { token } }],
      contexts: [{ name: 'test', context: { cluster: 'test', user: name } }],
      'current-context': 'test',
    }
    // JSON is YAML, which every client reads.
    await writeFile(path, JSON.stringify(config), { mode: 0o600 })
    return path
  }

  /** kubectl as the administrator, to its end, whatever its exit code. @param input given on standard input */
  kubectl(args: readonly string[], input?: string): Promise<Output> {
    return this.#run('kubectl', args, input)
  }

  /** kubectl that has to succeed and to warn of nothing. @returns what it prints */
  kubectlOk(args: readonly string[], input?: string): Promise<string> {
    return this.#runOk('kubectl', args, input)
  }

  /** helm as the administrator, which has to succeed. @returns what it prints */
  helmOk(args: readonly string[]): Promise<string> {
    return this.#runOk('helm', args, undefined)
  }

  async #runOk(tool: 'kubectl' | 'helm', args: readonly string[], input: string | undefined): Promise<string> {
    const { stdout, stderr, code } = await this.#run(tool, args, input)
    // Helm tells there that it follows a link.
    const complaints = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('level=INFO'))
    if (code !== 0 || complaints.length > 0)
      throw new Error(`${tool} ${args.join(' ')} exited with ${code}: ${complaints.join('\n')}`)
    return stdout
  }

  async #run(tool: 'kubectl' | 'helm', args: readonly string[], input: string | undefined): Promise<Output> {
    const path = await kubernetesTool(tool)
    const kubeconfig = await this.kubeconfig('admin', this.adminToken)
    return await new Promise((resolve) => {
      const child = execFile(
        path,
        [...args],
        {
          env: { PATH: process.env['PATH'] ?? '', HOME: this.folder, KUBECONFIG: kubeconfig, TZ: 'UTC' },
          timeout: 60_000,
          maxBuffer: 1 << 26,
        },
        (error, stdout, stderr) => resolve({ stdout, stderr, code: error === null ? 0 : Number(error.code ?? 1) }),
      )
      child.stdin?.end(input ?? '')
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#caller?.[Symbol.dispose]()
    // Nobody waits for a graceful end: open watches would hold it for long.
    await this.#server?.stop('SIGKILL')
    await this.etcd[Symbol.asyncDispose]()
    await this.#authority[Symbol.asyncDispose]()
    await rm(this.folder, { recursive: true, force: true })
  }
}

/** A port of loopback that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('Cannot find a free port')
  return address.port
}
