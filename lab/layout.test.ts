import { describe, expect, test } from 'vitest'
import { LabLayout, netnsPrefix, nodeCommands, podCommands, podNodeCommands, worldCommands } from './layout.ts'
import { firewallCommands, routeCommands, shapeCommands } from './obstacles.ts'
import { type LabInput, parseLabSpec } from './spec.ts'

const layoutOf = (input: LabInput, id = 't') => new LabLayout(id, parseLabSpec(input))
const placeAll = (layout: LabLayout) => new Map(layout.spec.pods.map((pod) => layout.place(pod)).map((p) => [p.ref, p]))

describe('LabLayout', () => {
  test('gives nodes and pods addresses of both families', () => {
    const layout = layoutOf({
      nodes: [{ name: 'a' }, { name: 'b' }],
      pods: [
        { namespace: 'x', name: 'p' },
        { namespace: 'x', name: 'q', node: 'b' },
        { namespace: 'x', name: 'r' },
      ],
    })
    expect(layout.nodes.map(({ netns, ip4, ip6, podCidr4 }) => [netns, ip4, ip6, podCidr4])).toEqual([
      ['sluice-t.node.a', '10.240.0.1', 'fd00:240::1', '10.244.1.0/24'],
      ['sluice-t.node.b', '10.240.0.2', 'fd00:240::2', '10.244.2.0/24'],
    ])
    expect([...placeAll(layout).values()].map(({ netns, ip4, ip6 }) => [netns, ip4, ip6])).toEqual([
      ['sluice-t.pod.x.p', '10.244.1.10', 'fd00:244:1::a'],
      ['sluice-t.pod.x.q', '10.244.2.10', 'fd00:244:2::a'],
      ['sluice-t.pod.x.r', '10.244.1.11', 'fd00:244:1::b'],
    ])
  })

  test('device names fit the kernel and are the same for the same pod', () => {
    const [pod] = placeAll(layoutOf({ pods: [{ namespace: 'n'.repeat(60), name: 'p'.repeat(200) }] })).values()
    expect(pod!.device).toMatch(/^lxc[0-9a-f]{12}$/)
    expect(pod!.device.length).toBeLessThanOrEqual(15)
    expect(pod!.uid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  })

  test('hands a released address out again, and says so when a node is full', () => {
    const layout = layoutOf({})
    const pod = (i: number) => ({ ...parseLabSpec({ pods: [{ namespace: 'x', name: `p-${i}` }] }).pods[0]! })
    const plans = Array.from({ length: 245 }, (_, i) => layout.place(pod(i)))
    expect(plans.at(-1)!.ip4).toBe('10.244.1.254')
    expect(() => layout.place(pod(245))).toThrow('has 245 pods, which is the most')
    layout.release(plans[7]!)
    expect(layout.place(pod(245)).ip4).toBe(plans[7]!.ip4)
  })

  test.each(['', 'A', 'a.b', 'a/b', '-a', 'x'.repeat(41)])('refuses the id "%s"', (id) => {
    expect(() => layoutOf({}, id)).toThrow(`Cannot name a lab "${id}"`)
  })

  test('no prefix of namespaces begins that of another lab', () => {
    expect('sluice-a-b.node.x'.startsWith(netnsPrefix('a'))).toBe(false)
  })

  test('its DNS zone knows services by address or by pods, and hosts of the world', () => {
    const layout = layoutOf({
      pods: [{ namespace: 'x', name: 'p', run: [{ kind: 'dns-server' }] }],
      services: [
        { namespace: 'x', name: 'dns', ip: '10.96.0.10', pods: ['x/p'] },
        { namespace: 'x', name: 'headless', pods: ['x/p'] },
      ],
      world: [{ name: 'api.example.com', ips: ['203.0.113.1', '2001:db8::1'] }],
    })
    const pods = placeAll(layout)
    expect(layout.zone(pods)).toEqual({
      'dns.x.svc.cluster.local': ['10.96.0.10'],
      'headless.x.svc.cluster.local': ['10.244.1.10', 'fd00:244:1::a'],
      'api.example.com': ['203.0.113.1', '2001:db8::1'],
    })
    expect(layout.dnsServer(pods.values())).toBe('10.96.0.10')
  })
})

describe('commands', () => {
  const layout = layoutOf({
    nodes: [{ name: 'a' }, { name: 'b' }],
    pods: [
      {
        namespace: 'x',
        name: 'p',
        run: [{ kind: 'udp-client', to: '1.2.3.4', port: 1, everyMs: 1000, from: '192.0.2.1' }],
      },
      { namespace: 'x', name: 'q', node: 'b' },
    ],
    services: [{ namespace: 'x', name: 's', ip: '10.96.0.1', pods: ['x/q'] }],
    world: [{ name: 'w', ips: ['203.0.113.1'] }],
    routes: [
      { kind: 'blackhole', to: '10.99.0.0/24' },
      { kind: 'stale', to: '10.97.0.1', pod: 'x/p' },
    ],
    deny: [{ from: 'x/p', to: 'x/q', protocol: 'tcp', port: 80 }],
    shape: [{ pod: 'x/p', rate: '1mbit' }],
  })
  const pods = placeAll(layout)
  const [p, q] = [pods.get('x/p')!, pods.get('x/q')!]

  test('a pod has both addresses, both default routes, its service and forged addresses on lo', () => {
    expect(podCommands(p)).toContain('address add 192.0.2.1/32 dev lo')
    expect(podCommands(q)).toContain('address add 10.96.0.1/32 dev lo')
    expect(podCommands(q)).toContain('route add default via 169.254.1.1 dev eth0 src 10.244.2.10')
    expect(podCommands(q)).toContain('route add ::/0 via fe80::1 dev eth0 src fd00:244:2::a')
  })

  test('a node routes each pod and service to its link, and ends its range in a black hole', () => {
    expect(podNodeCommands(q)).toContain(`route add 10.244.2.10/32 dev ${q.device} scope link src 10.240.0.2`)
    expect(podNodeCommands(q)).toContain(`route add 10.96.0.1/32 dev ${q.device} scope link src 10.240.0.2`)
    expect(nodeCommands(layout.nodes[1]!)).toContain('route add blackhole 10.244.2.0/24')
  })

  test('the world routes pod ranges and services to their nodes', () => {
    expect(worldCommands(layout)).toEqual(
      expect.arrayContaining([
        'address add 203.0.113.1/32 dev lo',
        'route add 10.244.1.0/24 via 10.240.0.1 dev n1 onlink',
        'route add 10.96.0.1/32 via 10.240.0.2 dev n2 onlink',
      ]),
    )
  })

  test('obstacles go to the node of their pod', () => {
    expect(routeCommands(layout.spec, new Map([['x/p', p]]))).toEqual([
      'route add blackhole 10.99.0.0/24',
      `route add 10.97.0.1 dev ${p.device}`,
    ])
    expect(routeCommands(layout.spec, new Map([['x/q', q]]))).toEqual(['route add blackhole 10.99.0.0/24'])
    expect(shapeCommands(layout.spec, new Map([['x/q', q]]))).toEqual([])
    expect(shapeCommands(layout.spec, pods)[0]!.slice(0, 5)).toEqual(['qdisc', 'add', 'dev', p.device, 'root'])
    expect(firewallCommands(layout.spec, pods)).toContain(
      'ip saddr 10.244.1.10 ip daddr 10.244.2.10 tcp dport 80 counter drop',
    )
    expect(firewallCommands(parseLabSpec({}), pods)).toBe('')
  })
})
