import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runSluice, sluiceCommand } from '../helpers/agent.ts'
import { extra, type FlowLog, type LoggedFlow, portsOf, readFlowLog } from '../helpers/flow-log.ts'
import { describeKernel } from '../helpers/privileged.ts'

/** What a demo makes on a machine, by the number of its process. */
function traces(pid: number) {
  const list = (path: string) => (existsSync(path) ? readdirSync(path) : [])
  const id = `demo-${pid}`
  return {
    namespaces: list('/run/netns').filter((name) => name.startsWith(`sluice-${id}.`)),
    labs: list('/run/sluice-lab').filter((name) => name === id),
    pins: list('/sys/fs/bpf/sluice').filter((name) => name === id),
    processes: list('/proc').filter((name) => {
      try {
        return readFileSync(`/proc/${name}/environ`, 'latin1').includes(`SLUICE_LAB=${id}\0`)
      } catch {
        return false
      }
    }),
  }
}
const NOTHING = { namespaces: [], labs: [], pins: [], processes: [] }

interface Demo {
  readonly pid: number
  /** From its start to its first flow on the screen, milliseconds. */
  readonly firstFlowMs: number
  readonly code: number
  readonly stdout: string
}

/** Runs a demo as a user does. @param onFlow called when the first flow is on the screen */
async function runDemo(flags: readonly string[], onFlow: (pid: number) => void = () => {}): Promise<Demo> {
  const started = performance.now()
  const [command, ...args] = [...sluiceCommand(), 'demo', ...flags]
  const child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let stdout = ''
  let firstFlowMs = Number.POSITIVE_INFINITY
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    if (firstFlowMs !== Number.POSITIVE_INFINITY || !/ (FORWARDED|DROPPED) /.test(stdout)) return
    firstFlowMs = performance.now() - started
    onFlow(child.pid!)
  })
  const [code] = await once(child, 'close')
  return { pid: child.pid!, firstFlowMs, code: code ?? -1, stdout }
}

describeKernel('the traffic of sluice demo', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-demo-e2e-'))
  let demo: Demo
  let log: FlowLog
  let devicesBefore: string[]

  beforeAll(async () => {
    devicesBefore = readdirSync('/sys/class/net')
    const logPath = join(directory, 'events.log')
    demo = await runDemo(['--for', '15s', '--log', logPath])
    log = readFlowLog(logPath)
  })
  afterAll(() => rmSync(directory, { recursive: true }))

  const some = (wanted: (flow: LoggedFlow) => unknown) => log.flows.filter(wanted).length

  test('is on the screen within 10 seconds, and its end is told with a ledger that closes', () => {
    expect(demo.code).toBe(0)
    expect(demo.firstFlowMs).toBeLessThan(10_000)
    expect(demo.stdout).toMatch(/The ledger closes\./)
    expect(log.torn).toEqual([])
    expect(log.lostEvents).toBe(0)
  })

  test('comes from at least 12 pods in 4 namespaces, all of them with names', () => {
    const pods = new Set(
      log.flows.flatMap(({ source, destination }) =>
        [source, destination].filter((end) => end?.pod_name).map((end) => `${end?.namespace}/${end?.pod_name}`),
      ),
    )
    expect(pods.size).toBeGreaterThanOrEqual(12)
    expect(new Set([...pods].map((pod) => pod.split('/')[0])).size).toBeGreaterThanOrEqual(4)
  })

  const kinds: [name: string, (flow: LoggedFlow) => unknown][] = [
    ['HTTP', (flow) => flow.l7?.http],
    ['DNS', (flow) => flow.l7?.dns],
    ['ICMPv4', (flow) => flow.l4?.['ICMPv4']],
    ['ICMPv6', (flow) => flow.l4?.['ICMPv6']],
    ['UDP', (flow) => flow.l4?.['UDP'] && portsOf(flow).includes(7000)],
    ['TCP over IPv6', (flow) => flow.IP?.ipVersion === 'IPv6' && flow.l4?.['TCP']],
    ['refused TCP', (flow) => flow.Summary?.includes('RST') && portsOf(flow).includes(22)],
    ['round trips', (flow) => extra(flow, 'rtt_us') > 0],
    ['retransmits', (flow) => extra(flow, 'retransmits') > 0],
    ['answers', (flow) => flow.is_reply === true],
    ['the world outside', (flow) => flow.destination?.labels?.includes('reserved:world')],
  ]
  test.each(kinds)('has %s', (_, wanted) => {
    expect(some(wanted)).toBeGreaterThan(0)
  })

  test('loses packets for at least five of the kernel’s reasons', () => {
    const reasons = new Set(
      log.flows
        .filter((flow) => flow.verdict === 'DROPPED')
        .map((flow) => String(flow.extensions?.value['kernel_drop_reason'])),
    )
    expect(reasons.size).toBeGreaterThanOrEqual(5)
    expect([...reasons]).toEqual(expect.arrayContaining(['NO_SOCKET', 'SOCKET_RCVBUFF']))
  })

  test('leaves no namespace, device, pin, process or listener behind', async () => {
    expect(traces(demo.pid)).toEqual(NOTHING)
    expect(readdirSync('/sys/class/net').filter((name) => !devicesBefore.includes(name))).toEqual([])
    const address = /gRPC +(\S+)/.exec(demo.stdout)?.[1]
    expect((await runSluice(['status', '--server', address!])).code).toBe(1)
  })

  test('leaves something after kill -9, which `sluice lab sweep` takes away', async () => {
    const killed = await runDemo(['--log', join(directory, 'killed.log')], (pid) => process.kill(pid, 'SIGKILL'))
    expect(traces(killed.pid).namespaces.length).toBeGreaterThanOrEqual(14)
    const { code, stdout } = await runSluice(['lab', 'sweep'])
    expect([code, stdout]).toEqual([0, expect.stringContaining(`demo-${killed.pid}`)])
    await expect.poll(() => traces(killed.pid), { timeout: 5000 }).toEqual(NOTHING)
  })
})
