import { spawnSync } from 'node:child_process'
import { chownSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ComponentState } from '../../api/gen/sluice/v1/agent.ts'
import { Lab, packageRoot } from '../../lab/index.ts'
import { runSluice, TEST_PIN_ROOT, TestAgent } from '../helpers/agent.ts'
import { eventually } from '../helpers/eventually.ts'
import { extra, type LoggedFlow, portsOf, readFlowLog } from '../helpers/flow-log.ts'
import { describeKernel } from '../helpers/privileged.ts'
import { Traffic } from '../helpers/traffic.ts'

const UID = 1000
const CAPABILITIES = '-all,+bpf,+net_admin,+perfmon'

/** Runs a command as a user who has these capabilities and no other, and can get no other. */
const AS_USER = [
  ...['setpriv', '--reuid', String(UID), '--regid', String(UID), '--clear-groups', '--no-new-privs'],
  ...['--inh-caps', CAPABILITIES, '--ambient-caps', CAPABILITIES, '--bounding-set', CAPABILITIES, '--'],
]

/** The log takes everything all the same. */
const FILTER = `
apiVersion: acn.azure.com/v1alpha1
kind: ContainerNetworkMetric
metadata: {name: container-network-metric}
spec:
  filters:
    - metric: flow
      includeFilters:
        - to: {namespacedPod: [shop/echo], port: [7009]}
`

describeKernel('an agent as uid 1000 with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON alone', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-user-'))
  const pinRoot = `${TEST_PIN_ROOT}-user`
  const socket = join(directory, 'hubble.sock')
  let lab: Lab
  let agent: TestAgent
  let flows: readonly LoggedFlow[]

  beforeAll(async () => {
    chownSync(directory, UID, UID)
    mkdirSync(join(directory, 'filters'))
    writeFileSync(join(directory, 'filters', 'metric.yaml'), FILTER)
    // On a node this is done once, by an init container or tmpfiles.d: a directory on the bpffs that is the user's.
    mkdirSync(pinRoot, { recursive: true })
    chownSync(pinRoot, UID, UID)
    lab = await Lab.up({
      pods: [
        { namespace: 'shop', name: 'echo', run: [{ kind: 'udp-echo', port: 7000 }] },
        { namespace: 'shop', name: 'client' },
      ],
      routes: [{ kind: 'unreachable', to: '10.99.0.0/24' }],
    })
    agent = new TestAgent({
      name: 'user',
      pinRoot,
      // Entering another namespace needs CAP_SYS_ADMIN: the agent is started in the node's, as a DaemonSet's is.
      wrapper: ['nsenter', `--net=${lab.node().netnsPath}`, '--', ...AS_USER],
      settings: {
        'metadata.file': lab.metadataPath,
        'log.path': join(directory, 'events.log'),
        'log.enabled': true,
        'filters.directory': join(directory, 'filters'),
        'api.listen': `unix://${socket}`,
      },
      ...readableCommand(directory),
    })
    chownSync(agent.directory, UID, UID)
    await agent.start()
    const to = lab.pod('shop/echo').ips[0]
    const wanted = [
      [to, 7000],
      [to, 7009],
      ['10.99.0.1', 7010],
    ] as const
    for (const [to, port] of wanted) {
      const config = { to, port, perSecond: 100, bytes: 10, sockets: 1, count: 1 }
      await (await Traffic.start(lab.pod('shop/client'), config)).ended()
    }
    await eventually('both packets, the answer and the drop are in the log', () => {
      flows = readFlowLog(agent.logPath).flows
      const ports = flows.filter((flow) => flow.l4?.['UDP']).map(portsOf)
      const seen = (port: number) => ports.filter((each) => each.includes(port)).length
      return seen(7000) >= 4 && seen(7009) >= 2 && seen(7010) >= 2
    })
  })

  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]()
    await lab?.down()
    rmSync(pinRoot, { recursive: true, force: true })
    rmSync(directory, { recursive: true, force: true })
  })

  /** An HTTP request from inside the node's namespace, where the agent listens. */
  const get = async (url: string) => {
    const script = `fetch(${JSON.stringify(url)}).then(async (r) => console.log(r.status + '\\n' + (await r.text())))`
    const { stdout } = await lab.node().exec(process.execPath, ['-e', script])
    const [status, ...lines] = stdout.split('\n')
    return { status: Number(status), text: lines.join('\n') }
  }

  test('sees the flows of its pods with their names, directions and answers', () => {
    const shapes = flows
      .filter((flow) => portsOf(flow).includes(7000))
      .map(
        (flow) => `${flow.source?.pod_name} ${flow.destination?.pod_name} ${flow.traffic_direction} ${flow.is_reply}`,
      )
    expect(shapes.sort()).toEqual([
      'client echo EGRESS false',
      'client echo INGRESS false',
      'echo client EGRESS true',
      'echo client INGRESS true',
    ])
  })

  test('sees what the kernel drops on the node, with the reason; what it drops inside a pod is counted only', async () => {
    const drops = flows.filter((flow) => flow.verdict === 'DROPPED')
    expect(drops.map((flow) => [flow.source?.pod_name, portsOf(flow)[1], extra(flow, 'drops')])).toEqual([
      ['client', 7010, 1],
    ])
    expect(drops[0]!.extensions?.value['kernel_drop_reason']).toMatch(/^[A-Z_]+$/)
    // Where the kernel lies is hidden from this user, and not told by the log either.
    expect(drops[0]!.extensions?.value).not.toHaveProperty('drop_location')
    using client = await agent.client()
    const { kernel } = await client.ledger()
    expect(Number(kernel.find(({ name }) => name === 'packets_dropped_foreign')?.value)).toBeGreaterThan(0)
  })

  test('has its filters decided in the kernel', async () => {
    const { text } = await get(agent.metricsUrl)
    const value = (name: string) => Number(new RegExp(`^${name}(?:{[^}]*})? (\\S+)$`, 'm').exec(text)?.[1])
    expect(value('sluice_filter_kernel_enabled')).toBe(1)
    expect(value('sluice_filter_kernel_applied_total')).toBeGreaterThanOrEqual(1)
    expect(value('sluice_filter_kernel_failures_total')).toBe(0)
    expect(value('sluice_filter_kernel_pending')).toBe(0)
    expect(value('sluice_filter_kernel_addresses')).toBeGreaterThanOrEqual(2)
    // One packet to that port, seen by both pods.
    const rule = /^sluice_filter_rule_kept_total{[^}]*consumer="metric\/flow"[^}]*} (\S+)$/m
    expect(Number(rule.exec(text)?.[1])).toBe(2)
  })

  test('is ready, and says what it cannot do and what that needs', async () => {
    const { status, text } = await get(`http://${agent.health}/readyz`)
    expect([status, text]).toEqual([200, expect.stringMatching(/^ok {3}kernel: .*CAP_SYS_ADMIN/m)])
    const { code, stdout } = await runSluice(['status', '--server', `unix://${socket}`, '-o', 'wide'])
    expect(code).toBe(0)
    expect(stdout).toMatch(/kernel +degraded +.*namespaces of 2 pods could not be entered \(CAP_SYS_ADMIN\)/)
    expect(stdout).toMatch(/kernel +degraded +.*without their place: .* \(CAP_SYSLOG\)/)
    using client = await agent.client()
    const { components } = await client.agentStatus()
    expect(components.filter(({ state }) => state === ComponentState.COMPONENT_STATE_FAILED)).toEqual([])
  })

  test('answers scrapes and closes its ledger', async () => {
    const { status, text } = await get(agent.metricsUrl)
    expect(status).toBe(200)
    expect(text).toMatch(/^hubble_flows_processed_total\{.*source="shop\/client".*\} [1-9]/m)
    expect((await runSluice(['ledger', '--server', `unix://${socket}`])).code).toBe(0)
  })

  test('stops when told to, and starts again on its pins', async () => {
    expect(await agent.stop()).toBe(0)
    await agent.start()
    expect(agent.ownLog.some(({ msg }) => msg === 'took over the maps of a former agent')).toBe(true)
  })
})

/** A copy of the build when the user may not read this one, for instance below /root. */
function readableCommand(directory: string): { command?: string[] } {
  const root = packageRoot()
  const probe = spawnSync(AS_USER[0]!, [...AS_USER.slice(1), 'cat', join(root, 'package.json')])
  if (probe.status === 0) return {}
  const copy = join(directory, 'sluice')
  for (const part of ['bin', 'dist', 'bpf/build', 'native/build/Release', 'package.json', 'node_modules']) {
    cpSync(join(root, part), join(copy, part), { recursive: true })
  }
  return { command: [process.execPath, join(copy, 'bin', 'sluice.js')] }
}
