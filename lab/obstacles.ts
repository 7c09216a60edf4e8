import type { PodPlan } from './layout.ts'
import type { LabSpec } from './spec.ts'

/** Routes of a node that lose packets: `ip -batch`. @param pods of this node */
export function routeCommands(spec: LabSpec, pods: ReadonlyMap<string, PodPlan>): string[] {
  return spec.routes.flatMap((route) => {
    if (route.kind !== 'stale') return [`route add ${route.kind} ${route.to}`]
    const pod = pods.get(route.pod!)
    return pod ? [`route add ${route.to} dev ${pod.device}`] : []
  })
}

/** Arguments of `tc`, one list per rate limit. @param pods of this node */
export function shapeCommands(spec: LabSpec, pods: ReadonlyMap<string, PodPlan>): string[][] {
  return spec.shape.flatMap((shape) => {
    const pod = pods.get(shape.pod)
    if (!pod) return []
    const limits = ['rate', shape.rate, 'burst', shape.burst, 'limit', shape.limit]
    return [['qdisc', 'add', 'dev', pod.device, 'root', 'tbf', ...limits]]
  })
}

/** Input of `nft -f -`, empty without rules: both families of both pods. */
export function firewallCommands(spec: LabSpec, pods: ReadonlyMap<string, PodPlan>): string {
  const rules = spec.deny.flatMap((rule) => {
    const from = pods.get(rule.from)
    const to = pods.get(rule.to)
    if (!from || !to) return []
    return [
      `ip saddr ${from.ip4} ip daddr ${to.ip4} ${rule.protocol} dport ${rule.port} counter drop`,
      `ip6 saddr ${from.ip6} ip6 daddr ${to.ip6} ${rule.protocol} dport ${rule.port} counter drop`,
    ]
  })
  if (rules.length === 0) return ''
  return [
    'table inet lab {',
    '  chain forward {',
    '    type filter hook forward priority filter; policy accept;',
    ...rules.map((rule) => `    ${rule}`),
    '  }',
    '}',
    '',
  ].join('\n')
}
