import type { GetLedgerResponse } from '../../api/gen/sluice/v1/agent.ts'
import { Lab, type LabPod, type PodInput } from '../../lab/index.ts'
import { TestAgent } from '../../test/helpers/agent.ts'

/** A lab of one node with empty pods `bench/pod-1` and on: traffic is made by the benchmark. */
export async function emptyLab(name: string, pods: number): Promise<Lab> {
  const inputs = Array.from(
    { length: pods },
    (_, i): PodInput => ({
      namespace: 'bench',
      name: `pod-${i + 1}`,
      labels: { app: `app-${i % 20}` },
      workload: { name: `app-${i % 20}`, kind: 'Deployment' },
    }),
  )
  return Lab.up({ pods: inputs }, { id: `bench-${name}-${process.pid}`, workloads: false })
}

export function benchPod(lab: Lab, number: number): LabPod {
  return lab.pod(`bench/pod-${number}`)
}

/** NETNS=ADDRESS, as commands of the traffic program want a pod. */
export function endOf(pod: LabPod): string {
  return `${pod.netnsPath}=${pod.ips[0]}`
}

/**
 * A classic BPF program: load the EtherType; IPv4 returns TC_ACT_STOLEN, which consumes a packet without dropping it, all
 * else TC_ACT_UNSPEC: neighbours must be found.
 */
const STOLEN = '4,40 0 0 12,21 0 1 2048,6 0 0 4,6 0 0 4294967295'

/**
 * Makes a pod swallow what arrives, in silence: traffic of bare headers must not be answered by its stack, and a packet
 * that is dropped would be a flow of its own.
 */
export async function swallow(...pods: readonly LabPod[]): Promise<void> {
  for (const pod of pods) {
    await must(pod, 'tc', ['qdisc', 'add', 'dev', 'eth0', 'clsact'])
    await must(pod, 'tc', ['filter', 'add', 'dev', 'eth0', 'ingress', 'bpf', 'da', 'bytecode', STOLEN])
  }
}

async function must(pod: LabPod, command: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await pod.exec(command, args)
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} in ${pod.ref}: ${stderr}`)
}

/** The agent as a user has it, on a lab's node, with default settings but for places of files and sockets. */
export function agentOn(
  lab: Lab,
  name: string,
  settings: Readonly<Record<string, string | number | boolean>> = {},
): Promise<TestAgent> {
  return TestAgent.start({
    name: `bench-${name}`,
    settings: { 'node.netns': lab.node().netnsPath, 'metadata.file': lab.metadataPath, ...settings },
  })
}

/** Kernel's counters of the ledger and losses of all stages. */
export interface LedgerSummary {
  readonly kernel: Readonly<Record<string, number>>
  /** Accepted of each stage. */
  readonly accepted: Readonly<Record<string, number>>
  readonly delivered: Readonly<Record<string, number>>
  /** `stage.reason` to count, zeros left out: the kernel's table and ring too. */
  readonly lost: Readonly<Record<string, number>>
  /** Flows in the kernel's table. */
  readonly liveFlows: number
}

/** Reads a ledger. @throws Error when it does not close */
export async function closedLedger(agent: TestAgent): Promise<LedgerSummary> {
  const ledger = await agent.ledger()
  if (!ledger.closes) throw new Error(`The ledger does not close: ${describe(ledger)}`)
  const kernel = Object.fromEntries(ledger.kernel.map(({ name, value }) => [name, Number(value)]))
  const lost: Record<string, number> = {}
  for (const name of ['events_ring_full', 'packets_table_full', 'packets_unreported', 'packets_closing']) {
    if ((kernel[name] ?? 0) > 0) lost[`kernel.${name}`] = kernel[name]!
  }
  for (const stage of ledger.stages) {
    if (stage.stage === 'kernel') continue
    for (const [reason, count] of Object.entries(stage.lost)) {
      if (count > 0n) lost[`${stage.stage}.${reason}`] = Number(count)
    }
  }
  return {
    kernel,
    lost,
    accepted: Object.fromEntries(ledger.stages.map(({ stage, accepted }) => [stage, Number(accepted)])),
    delivered: Object.fromEntries(ledger.stages.map(({ stage, delivered }) => [stage, Number(delivered)])),
    liveFlows: kernel['flows_created']! - kernel['flows_removed']!,
  }
}

/** Waits until everything that the kernel made is delivered: what the history has, the log has. */
export async function settledLedger(agent: TestAgent, withinMs = 15_000): Promise<LedgerSummary> {
  const deadline = performance.now() + withinMs
  for (;;) {
    const ledger = await closedLedger(agent)
    const { accepted, delivered, kernel } = ledger
    const isRead = accepted['decode']! >= kernel['events_submitted']!
    if (isRead && (delivered['json-log'] ?? 0) >= (accepted['history'] ?? 0)) return ledger
    if (performance.now() > deadline)
      throw new Error(`Not delivered in time: ${JSON.stringify({ accepted, delivered })}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

function describe(ledger: GetLedgerResponse): string {
  return [
    ...ledger.equations
      .filter(({ difference }) => difference !== 0n)
      .map(({ text, difference }) => `${text}: ${difference}`),
    ...ledger.stages
      .filter(({ difference }) => difference !== 0n)
      .map(({ stage, difference }) => `${stage}: ${difference}`),
  ].join('; ')
}
