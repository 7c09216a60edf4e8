import { describe, expect, test } from 'vitest'
import { missingTools } from '../helpers/kubernetes-tools.ts'
import { EVERYTHING, hostPaths, type Rendered, render, type Values } from './chart.ts'

const THREE = ['BPF', 'NET_ADMIN', 'PERFMON']
const skipped = missingTools === undefined ? '' : ` (skipped: ${missingTools})`

describe.skipIf(missingTools !== undefined)(`rights of the pods${skipped}`, () => {
  test('are three capabilities for the agent by default, and no other', async () => {
    const { agent } = await render()
    expect(agent.securityContext).toEqual({
      runAsUser: 0,
      runAsGroup: 0,
      privileged: false,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'], add: THREE },
    })
  })

  test('grow by what is asked for alone', async () => {
    const added = async (capabilities: Values) =>
      (await render({ capabilities })).agent.securityContext.capabilities.add
    expect(await added({ sysAdmin: true })).toEqual([...THREE, 'SYS_ADMIN'])
    expect(await added({ syslog: true })).toEqual([...THREE, 'SYSLOG'])
  })

  test('of a user other than root come from the file it runs, and its directories are made its own', async () => {
    const { spec } = (await render({ runAsUser: 10001 })).pods[0]!
    expect(spec.containers[0].securityContext).toMatchObject({
      runAsUser: 10001,
      runAsGroup: 10001,
      runAsNonRoot: true,
      privileged: false,
      allowPrivilegeEscalation: true,
      capabilities: { drop: ['ALL'], add: THREE },
    })
    expect(spec.initContainers.map(({ command }: Rendered) => command)).toEqual([
      [
        ...['chown', '--recursive', '--no-dereference', '10001:10001'],
        ...['/bpffs', '/var/log/acns/hubble', '/var/run/sluice'],
      ],
    ])
    expect(spec.initContainers[0].securityContext).toEqual({
      runAsUser: 0,
      runAsGroup: 0,
      privileged: false,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'], add: ['CHOWN', 'DAC_READ_SEARCH'] },
    })
    expect((await render({ runAsUser: 10001, chownHostDirectories: 'never' })).pods[0]!.spec).not.toHaveProperty(
      'initContainers',
    )
  })

  test('reach the node through its network and these directories only', async () => {
    const { spec } = (await render()).pods[0]!
    expect(spec.hostNetwork).toBe(true)
    expect(spec.dnsPolicy).toBe('ClusterFirstWithHostNet')
    expect(spec).not.toHaveProperty('hostPID')
    expect(spec).not.toHaveProperty('hostIPC')
    expect(hostPaths(spec)).toEqual(['/sys/fs/bpf/sluice', '/var/log/acns/hubble', '/var/run/sluice'])
    expect(hostPaths((await render({ capabilities: { sysAdmin: true } })).pods[0]!.spec)).toEqual([
      '/run/netns',
      '/sys/fs/bpf/sluice',
      '/var/log/acns/hubble',
      '/var/run/sluice',
    ])
  })

  test('are none for relay and ui', async () => {
    const others = (await render(EVERYTHING)).pods.filter(({ name }) => name !== 'sluice')
    expect(others.map(({ name }) => name)).toEqual(['hubble-relay', 'hubble-ui'])
    for (const { spec } of others) {
      expect(spec.hostNetwork).toBeUndefined()
      expect(hostPaths(spec)).toEqual([])
      expect(spec.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } })
      for (const { securityContext } of spec.containers) {
        expect(securityContext).toMatchObject({
          privileged: false,
          allowPrivilegeEscalation: false,
          capabilities: { drop: ['ALL'] },
        })
        expect(securityContext.capabilities).not.toHaveProperty('add')
      }
    }
  })

  test('keep the runtime’s seccomp profile, and take other profiles where they are given', async () => {
    expect((await render()).pods[0]!.spec.securityContext).toEqual({ seccompProfile: { type: 'RuntimeDefault' } })
    expect((await render(EVERYTHING)).pods[0]!.spec.securityContext).toEqual({
      seccompProfile: { type: 'RuntimeDefault' },
      appArmorProfile: { type: 'RuntimeDefault' },
      seLinuxOptions: { type: 'spc_t' },
    })
  })
})

describe.skipIf(missingTools !== undefined)(`roles of the agents${skipped}`, () => {
  const READ: Rights = {
    'core/pods': ['list', 'watch'],
    'core/namespaces': ['list', 'watch'],
    'core/nodes': ['list', 'watch'],
    'core/services': ['list', 'watch'],
    'discovery.k8s.io/endpointslices': ['list', 'watch'],
    'apps/replicasets': ['list', 'watch'],
    'batch/jobs': ['list', 'watch'],
    'acn.azure.com/containernetworkmetrics': ['list', 'watch'],
    'acn.azure.com/containernetworklogs': ['list', 'watch'],
    'acn.azure.com/retinanetworkflowlogs': ['list', 'watch'],
  }

  test('allow exactly this', async () => {
    const release = await render()
    expect(rights(release.get('ClusterRole', 'sluice'))).toEqual({
      ...READ,
      'acn.azure.com/containernetworkmetrics': ['list', 'watch', 'get'],
      'acn.azure.com/containernetworklogs': ['list', 'watch', 'get'],
      'acn.azure.com/retinanetworkflowlogs': ['list', 'watch', 'get'],
      'acn.azure.com/containernetworkmetrics/status': ['patch'],
      'acn.azure.com/containernetworklogs/status': ['patch'],
      'acn.azure.com/retinanetworkflowlogs/status': ['patch'],
    })
    expect(rights(release.get('Role', 'sluice'))).toEqual({
      'coordination.k8s.io/leases': ['create'],
      'coordination.k8s.io/leases/=sluice-agent': ['get', 'update'],
      'core/configmaps': ['create'],
      'core/configmaps/=sluice-dynamic-metrics-config': ['get', 'patch'],
      'core/configmaps/=sluice-flowlog-config': ['get', 'patch'],
    })
  })

  test('write nothing with kubernetes.writeStatus: false', async () => {
    const release = await render({ config: { kubernetes: { writeStatus: false } } })
    expect(rights(release.get('ClusterRole', 'sluice'))).toEqual(READ)
    expect(release.of('Role')).toEqual([])
  })

  test('are none, and the pod has no token, with kubernetes.enabled: false', async () => {
    const release = await render({ config: { kubernetes: { enabled: false } } })
    expect(release.objects.filter(({ kind }) => /Role/.test(kind))).toEqual([])
    expect(release.pods[0]!.spec.automountServiceAccountToken).toBe(false)
  })

  test('on Lease and ConfigMaps are where kubernetes.namespace says', async () => {
    const release = await render({ config: { kubernetes: { namespace: 'elsewhere' } } })
    expect(release.get('Role', 'sluice').metadata.namespace).toBe('elsewhere')
    const { metadata, subjects } = release.get('RoleBinding', 'sluice')
    expect([metadata.namespace, subjects[0].namespace]).toEqual(['elsewhere', 'net'])
  })

  test('never hold a wildcard, nor what reads secrets', async () => {
    for (const { rules } of [...(await render(EVERYTHING)).of('ClusterRole'), ...(await render()).of('Role')]) {
      const words = rules.flatMap((rule: Rendered) => [...rule.apiGroups, ...rule.resources, ...rule.verbs])
      expect(words).not.toContain('*')
      expect(words).not.toContain('secrets')
    }
  })

  test('are bound to the service account that the pods have', async () => {
    const release = await render({ serviceAccount: { create: false, name: 'mine' } })
    expect(release.of('ServiceAccount')).toEqual([])
    expect(release.pods[0]!.spec.serviceAccountName).toBe('mine')
    expect(release.get('ClusterRoleBinding', 'sluice').subjects).toEqual([
      { kind: 'ServiceAccount', name: 'mine', namespace: 'net' },
    ])
  })
})

type Rights = Readonly<Record<string, readonly string[]>>

/** Verbs by `group/resource`, with the name where a rule is for one object. */
function rights(role: Rendered): Rights {
  const found: Record<string, string[]> = {}
  for (const { apiGroups, resources, verbs, resourceNames = [] } of role.rules) {
    for (const group of apiGroups) {
      for (const resource of resources) {
        const key = `${group === '' ? 'core' : group}/${resource}`
        for (const name of resourceNames.length === 0 ? [''] : resourceNames.map((name: string) => `/=${name}`)) {
          found[key + name] = [...(found[key + name] ?? []), ...verbs]
        }
      }
    }
  }
  return found
}
