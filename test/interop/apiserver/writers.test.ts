import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { KubernetesResourceSource } from '../../../control/kubernetes-source.ts'
import type { Leadership } from '../../../control/leadership.ts'
import type { ResourceSink, ResourceStatus } from '../../../control/resource.ts'
import { customResourceDefinition } from '../../../filters/resources/crd.ts'
import { GROUP, resourceKind } from '../../../filters/resources/kinds.ts'
import { ApiClient, clusterAccess, LeaderElector } from '../../../kubernetes/index.ts'
import { eventually } from '../../helpers/eventually.ts'
import { Cluster } from './cluster.ts'
import { Gate } from './gate.ts'
import { buildPrograms, missing } from './programs.ts'

const LOGS = `/apis/${GROUP}/v1alpha1/containernetworklogs`
const LEASE = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/test'
const LEASE_MS = 2000

const ALWAYS: Leadership = { isLeader: true, onChange: () => ({ [Symbol.dispose]() {} }) }
const NOBODY: ResourceSink = { upsert() {}, remove() {}, synced() {}, trouble() {} }
const CONFIGURED: ResourceStatus = {
  state: 'CONFIGURED',
  reason: 'Configured',
  message: '1 filter in force: log 1',
  warnings: ['one', 'two'],
  observedGeneration: 1,
  filters: 1,
  timestamp: '2026-11-24T10:00:00Z',
  conditions: [],
}

describe.skipIf(missing)(`what one agent writes for all${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let cluster: Cluster
  const owned: (Disposable | AsyncDisposable)[] = []

  beforeAll(async () => {
    buildPrograms()
    cluster = await Cluster.start()
  })
  afterEach(async () => {
    for (const one of owned.splice(0).reverse()) {
      if (Symbol.asyncDispose in one) await one[Symbol.asyncDispose]()
      else one[Symbol.dispose]()
    }
  })
  afterAll(async () => await cluster?.[Symbol.asyncDispose]())

  async function clientAt(port: number): Promise<ApiClient> {
    const kubeconfig = await cluster.kubeconfig(`client-${port}`, cluster.adminToken, port)
    const client = new ApiClient(await clusterAccess({ kubeconfig }), { idleMs: 1000 })
    owned.push(client)
    return client
  }

  async function candidate(identity: string) {
    const gate = await Gate.open(Number(new URL(cluster.url).port))
    owned.push(gate)
    const client = await clientAt(gate.port)
    const times = { leaseMs: LEASE_MS, renewMs: 300, retryMs: 300 }
    const elector = new LeaderElector({ client, namespace: 'kube-system', name: 'test', identity, ...times })
    owned.push(elector)
    elector.start()
    return { elector, gate }
  }

  test('a leader that is cut off stops to be one before another takes over, and never are there two', async () => {
    const first = await candidate('first')
    await eventually('the first leads', () => first.elector.isLeader)
    const others = [await candidate('second'), await candidate('third')]
    const all = [first, ...others]
    let most = 0
    const watch = setInterval(() => {
      most = Math.max(most, all.filter(({ elector }) => elector.isLeader).length)
    }, 1)
    owned.push({ [Symbol.dispose]: () => clearInterval(watch) })
    await eventually('the others know it', () => others.every(({ elector }) => elector.holder === 'first'))
    first.gate.shut()
    await eventually('the first has stopped', () => !first.elector.isLeader)
    expect(others.some(({ elector }) => elector.isLeader)).toBe(false)
    await eventually('another leads', () => others.some(({ elector }) => elector.isLeader))
    first.gate.reopen()
    const leader = others.find(({ elector }) => elector.isLeader)!
    await eventually('the first knows it', () => first.elector.holder === leader.elector.holder)
    expect((await cluster.ok('GET', LEASE)).spec).toMatchObject({ leaseDurationSeconds: 2, leaseTransitions: 1 })
    // It is given up: nobody waits for its end.
    const begun = performance.now()
    await leader.elector[Symbol.asyncDispose]()
    await eventually('one of the rest leads', () =>
      all.some(({ elector }) => elector !== leader.elector && elector.isLeader),
    )
    expect(performance.now() - begun).toBeLessThan(LEASE_MS)
    expect(most).toBe(1)
  })

  test('a status is written once to a kind whose definition lacks fields, and lacks them', async () => {
    // As another product defines it: state and timestamp alone.
    const definition = structuredClone(customResourceDefinition(resourceKind('ContainerNetworkLog')!)) as Definition
    const { properties } = definition.spec.versions[0]!.schema.openAPIV3Schema
    properties.status = {
      type: 'object',
      properties: { state: { type: 'string' }, timestamp: { type: 'string', format: 'date-time' } },
    }
    await cluster.kubectlOk(['create', '-f', '-'], JSON.stringify(definition))
    await cluster.kubectlOk(['wait', '--for=condition=Established', 'crd', '--all'])
    const body = {
      apiVersion: `${GROUP}/v1alpha1`,
      kind: 'ContainerNetworkLog',
      metadata: { name: 'l' },
      spec: { includefilters: [{ protocol: ['tcp'] }] },
    }
    await cluster.ok('POST', LOGS, { body })
    const client = await clientAt(Number(new URL(cluster.url).port))
    const source = new KubernetesResourceSource({ client, leadership: ALWAYS })
    owned.push(source)
    await source.start(NOBODY, new AbortController().signal)
    expect(source.states().map(({ resource, absent }) => [resource, absent])).toEqual([
      ['containernetworkmetrics', true],
      ['containernetworklogs', false],
      ['retinanetworkflowlogs', true],
    ])
    const writes = async (): Promise<number> => {
      source.setStatus({ kind: 'ContainerNetworkLog', name: 'l' }, CONFIGURED)
      await new Promise((resolve) => setTimeout(resolve, 500))
      const stored = await cluster.ok('GET', `${LOGS}/l`)
      expect(stored.status).toEqual({ state: 'CONFIGURED', timestamp: '2026-11-24T10:00:00Z' })
      return Number(stored.metadata.resourceVersion)
    }
    const first = await writes()
    expect([await writes(), await writes()]).toEqual([first, first])
  })
})

interface Definition {
  readonly spec: {
    readonly versions: readonly { readonly schema: { readonly openAPIV3Schema: { properties: { status: object } } } }[]
  }
}
