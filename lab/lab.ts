import { closeSync, openSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { SluiceError } from '../base/errors.ts'
import { configureNetns, inNetns, ipBatch, runCommand } from './commands.ts'
import { LabHost } from './host.ts'
import {
  LabLayout,
  type NodePlan,
  nodeCommands,
  type PodPlan,
  podCommands,
  podLinkCommands,
  podNodeCommands,
  worldCommands,
  worldDevice,
} from './layout.ts'
import { labMetadata, writeMetadata } from './metadata.ts'
import { firewallCommands, routeCommands, shapeCommands } from './obstacles.ts'
import { workloadProgram } from './paths.ts'
import { type LabInput, type LabSpec, loadLabSpec, type PodInput, parseLabSpec, parsePodSpec } from './spec.ts'
import { recordLab, removeNetns, STATE_DIR, sweepLabs } from './state.ts'
import { startWorkload } from './workload.ts'

/** A node: a namespace that forwards for its pods. An agent runs outside and looks at `netnsPath`. */
export class LabNode extends LabHost {
  readonly name: string
  readonly ips: readonly string[]
  /** Device towards other nodes and the world. */
  readonly uplink = 'eth0'

  constructor(plan: NodePlan) {
    super(plan.netns)
    this.name = plan.name
    this.ips = [plan.ip4, plan.ip6]
  }
}

export class LabPod extends LabHost {
  /** `namespace/name` */
  readonly ref: string
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly nodeName: string
  /** IPv4, then IPv6. */
  readonly ips: readonly [string, string]
  /** Node's side of the pod's link, and its index there. */
  readonly device: string
  readonly ifindex: number

  constructor(plan: PodPlan, ifindex: number) {
    super(plan.netns)
    this.ref = plan.ref
    this.namespace = plan.spec.namespace
    this.name = plan.spec.name
    this.uid = plan.uid
    this.nodeName = plan.node.name
    this.ips = [plan.ip4, plan.ip6]
    this.device = plan.device
    this.ifindex = ifindex
  }
}

export interface LabOptions {
  /** Names the lab on this machine. Default: `lab-<pid>-<number>`. */
  readonly id?: string
  /** false: pods stay empty. Default true. */
  readonly workloads?: boolean
  /** Where labs are recorded. Default /run/sluice-lab. */
  readonly stateDir?: string
}

let labsOfProcess = 0

/**
 * Nodes and pods made of network namespaces, with real processes in them. Needs root. What a killed process left
 * behind is removed when the next lab comes up.
 *
 * @example
 * await using lab = await Lab.up({ pods: [{ namespace: 'shop', name: 'web' }] })
 * await lab.pod('shop/web').exec('ping', ['-c1', lab.node().ips[0]])
 */
export class Lab implements AsyncDisposable {
  readonly id: string
  readonly spec: LabSpec
  /** Holds the metadata file and the workloads' messages; removed with the lab. */
  readonly directory: string
  /** What a cluster would tell: the agent's static metadata file. Follows addPod and removePod. */
  readonly metadataPath: string
  /** What was left out because this machine lacks a tool. */
  readonly warnings: readonly string[]
  readonly world: LabHost
  readonly #layout: LabLayout
  readonly #nodes = new Map<string, LabNode>()
  readonly #pods = new Map<string, LabPod>()
  readonly #plans = new Map<string, PodPlan>()
  readonly #warnings: string[] = []
  #program: Promise<string> | undefined
  #log: number
  #down: Promise<void> | undefined

  private constructor(layout: LabLayout, directory: string) {
    this.id = layout.id
    this.spec = layout.spec
    this.directory = directory
    this.metadataPath = join(directory, 'metadata.yaml')
    this.warnings = this.#warnings
    this.#layout = layout
    this.#log = openSync(join(directory, 'workloads.log'), 'a')
    this.world = new LabHost(layout.worldNetns)
  }

  /**
   * Builds a lab.
   *
   * @param source a description, or the path of a lab file
   * @throws SluiceError SLUICE_LAB; nothing is left behind then
   */
  static async up(source: LabInput | string, options: LabOptions = {}): Promise<Lab> {
    const spec = typeof source === 'string' ? loadLabSpec(source) : parseLabSpec(source)
    if (process.getuid?.() !== 0) {
      throw new SluiceError('SLUICE_LAB', 'Cannot build a lab: this process is not root')
    }
    await sweepLabs(options.stateDir)
    const layout = new LabLayout(options.id ?? `lab-${process.pid}-${++labsOfProcess}`, spec)
    const source_ = typeof source === 'string' ? source : 'code'
    const lab = new Lab(layout, recordLab(layout.id, source_, options.stateDir ?? STATE_DIR))
    try {
      await lab.#build()
      if (options.workloads !== false) await lab.startWorkloads()
    } catch (error) {
      await lab.down().catch(() => {})
      throw error
    }
    return lab
  }

  get nodes(): readonly LabNode[] {
    return [...this.#nodes.values()]
  }

  get pods(): readonly LabPod[] {
    return [...this.#pods.values()]
  }

  /** @param name default: the first node */
  node(name?: string): LabNode {
    const node = name === undefined ? this.nodes[0] : this.#nodes.get(name)
    if (!node) throw new SluiceError('SLUICE_LAB', `No node "${name}" in lab "${this.id}"`)
    return node
  }

  /** @param ref `namespace/name` */
  pod(ref: string): LabPod {
    const pod = this.#pods.get(ref)
    if (!pod) throw new SluiceError('SLUICE_LAB', `No pod "${ref}" in lab "${this.id}"`)
    return pod
  }

  /** Makes one more pod. Its process starts if the description gives it one. */
  async addPod(input: PodInput): Promise<LabPod> {
    const [pod] = await this.addPods([input])
    return pod!
  }

  /** Makes pods side by side: much faster than one after another. */
  async addPods(inputs: readonly PodInput[]): Promise<LabPod[]> {
    const specs = inputs.map(parsePodSpec)
    for (const spec of specs) {
      if (this.#plans.has(`${spec.namespace}/${spec.name}`)) {
        throw new SluiceError('SLUICE_LAB', `Pod "${spec.namespace}/${spec.name}" is in lab "${this.id}" already`)
      }
    }
    const plans = specs.map((spec) => this.#layout.place(spec))
    for (const plan of plans) this.#plans.set(plan.ref, plan)
    await ipBatch([...plans.map((plan) => `netns add ${plan.netns}`), ...plans.flatMap(podLinkCommands)])
    await this.#connect(plans)
    this.#writeMetadata()
    for (const plan of plans) if (plan.spec.run.length > 0) await this.#start(plan)
    return plans.map((plan) => this.pod(plan.ref))
  }

  /** Ends a pod's processes and deletes its namespace; its link and routes go with it. */
  async removePod(ref: string): Promise<void> {
    const pod = this.pod(ref)
    const plan = this.#plans.get(ref)!
    await pod.stop()
    // The kernel takes a deleted namespace apart when it finds the time; its link is to be gone now, as with a CNI.
    await this.node(pod.nodeName).exec('ip', ['link', 'delete', pod.device])
    await removeNetns([pod.netns])
    this.#pods.delete(ref)
    this.#plans.delete(ref)
    this.#layout.release(plan)
    this.#writeMetadata()
  }

  /** Starts the processes of all pods and of the world. */
  async startWorkloads(): Promise<void> {
    const withWork = [...this.#plans.values()].filter((plan) => plan.spec.run.length > 0)
    const worldRuns = this.spec.world.flatMap((host) => host.run)
    if (worldRuns.length > 0) {
      await startWorkload(this.world, await this.#programPath(), this.#owner, {
        name: 'world',
        namespace: '',
        addresses: this.spec.world.flatMap((host) => host.ips),
        dnsServer: this.#layout.dnsServer(this.#plans.values()),
        zone: {},
        runs: worldRuns,
      })
    }
    await Promise.all(withWork.map((plan) => this.#start(plan)))
  }

  /** Ends everything that runs in the lab; namespaces stay. */
  async stopWorkloads(): Promise<void> {
    await Promise.all([this.world, ...this.nodes, ...this.pods].map((host) => host.stop()))
  }

  /** Ends all processes and removes all namespaces and files. Again: the same promise. */
  down(): Promise<void> {
    this.#down ??= this.#remove()
    return this.#down
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.down()
  }

  async #remove(): Promise<void> {
    try {
      await this.stopWorkloads()
    } finally {
      const { nodes, worldNetns } = this.#layout
      await removeNetns([
        ...Array.from(this.#plans.values(), (plan) => plan.netns),
        ...nodes.map((node) => node.netns),
        worldNetns,
      ])
      closeSync(this.#log)
      rmSync(this.directory, { recursive: true, force: true })
    }
  }

  async #build(): Promise<void> {
    const { nodes, worldNetns } = this.#layout
    const plans = this.spec.pods.map((spec) => this.#layout.place(spec))
    for (const plan of plans) this.#plans.set(plan.ref, plan)
    for (const node of nodes) this.#nodes.set(node.name, new LabNode(node))
    await ipBatch([
      ...[worldNetns, ...nodes.map((node) => node.netns), ...plans.map((plan) => plan.netns)].map(
        (name) => `netns add ${name}`,
      ),
      ...nodes.map(
        (node) => `link add name ${worldDevice(node)} netns ${worldNetns} type veth peer name eth0 netns ${node.netns}`,
      ),
      ...plans.flatMap(podLinkCommands),
    ])
    const forwarding = { 'net/ipv4/ip_forward': '1', 'net/ipv6/conf/all/forwarding': '1', ...NO_NODE_FILTER }
    await configureNetns(this.world.netnsPath, forwarding, worldCommands(this.#layout))
    await Promise.all(
      nodes.map((node) => configureNetns(this.node(node.name).netnsPath, forwarding, nodeCommands(node))),
    )
    await this.#connect(plans)
    await this.#obstruct()
    this.#writeMetadata()
  }

  /** Addresses and routes of pods whose namespaces and links are there, inside them and on their nodes. */
  async #connect(plans: readonly PodPlan[]): Promise<void> {
    for (const node of this.#layout.nodes) {
      const own = plans.filter((plan) => plan.node === node)
      if (own.length === 0) continue
      const host = this.node(node.name)
      // A pod must not send with another's address: strict reverse path filter, as CNIs have it.
      const settings = Object.fromEntries(own.map((plan) => [`net/ipv4/conf/${plan.device}/rp_filter`, '1']))
      await configureNetns(host.netnsPath, settings, own.flatMap(podNodeCommands))
      const links = await linkIndexes(host)
      for (const plan of own) this.#pods.set(plan.ref, new LabPod(plan, links.get(plan.device) ?? 0))
    }
    await Promise.all(
      plans.map((plan) => configureNetns(this.pod(plan.ref).netnsPath, POD_SETTINGS, podCommands(plan))),
    )
  }

  /** Routes, firewall rules and rate limits that lose packets on purpose. */
  async #obstruct(): Promise<void> {
    for (const node of this.#layout.nodes) {
      const host = this.node(node.name)
      const own = new Map([...this.#plans].filter(([, plan]) => plan.node === node))
      await configureNetns(host.netnsPath, {}, routeCommands(this.spec, own))
      for (const args of shapeCommands(this.spec, own)) {
        const { code, stderr } = await host.exec('tc', args)
        if (code !== 0) this.#warnings.push(`no rate limit: tc ${args.join(' ')}: ${stderr.trim()}`)
      }
      const rules = firewallCommands(this.spec, this.#plans)
      if (rules === '') continue
      const [command, args] = inNetns(host.netnsPath, 'nft', ['-f', '-'])
      const { code, stderr } = await runCommand(command, args, { input: rules })
      if (code !== 0) this.#warnings.push(`no firewall rules (Debian: nftables): ${stderr.trim()}`)
    }
  }

  async #start(plan: PodPlan): Promise<void> {
    await startWorkload(this.pod(plan.ref), await this.#programPath(), this.#owner, {
      name: plan.ref,
      namespace: plan.spec.namespace,
      addresses: [plan.ip4, plan.ip6, ...plan.serviceIps],
      dnsServer: this.#layout.dnsServer(this.#plans.values()),
      zone: plan.spec.run.some((run) => run.kind === 'dns-server') ? this.#layout.zone(this.#plans) : {},
      runs: plan.spec.run,
    })
  }

  get #owner() {
    return { labId: this.id, logFd: this.#log }
  }

  #programPath(): Promise<string> {
    this.#program ??= workloadProgram(this.directory)
    return this.#program
  }

  #writeMetadata(): void {
    writeMetadata(this.metadataPath, labMetadata(this.#layout, this.#plans.values()))
  }
}

const NO_NODE_FILTER = { 'net/ipv4/conf/all/rp_filter': '0', 'net/ipv4/conf/default/rp_filter': '0' }
/** Links are up at once and quiet: no router solicitations, no filter beside the node's. */
const POD_SETTINGS = { 'net/ipv4/conf/all/rp_filter': '0', 'net/ipv6/conf/eth0/accept_ra': '0' }

async function linkIndexes(host: LabHost): Promise<Map<string, number>> {
  const { stdout } = await host.exec('ip', ['-json', 'link', 'show'])
  const links: { ifname: string; ifindex: number }[] = JSON.parse(stdout)
  return new Map(links.map((link) => [link.ifname, link.ifindex]))
}
