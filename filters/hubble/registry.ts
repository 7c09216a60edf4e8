import type { FilterField } from './field.ts'
import { celExpression } from './fields/cel-expression.ts'
import { clusterName } from './fields/cluster-name.ts'
import { dnsQuery } from './fields/dns-query.ts'
import { dropReasonDesc } from './fields/drop-reason-desc.ts'
import { encrypted } from './fields/encrypted.ts'
import { eventType } from './fields/event-type.ts'
import { fqdn } from './fields/fqdn.ts'
import { httpHeader, httpMethod, httpPath, httpStatusCode, httpUrl } from './fields/http.ts'
import { identity } from './fields/identity.ts'
import { ip, ipXlated } from './fields/ip.ts'
import { ipVersion } from './fields/ip-version.ts'
import { label, nodeLabels } from './fields/label.ts'
import { networkInterface } from './fields/network-interface.ts'
import { nodeName } from './fields/node-name.ts'
import { pod } from './fields/pod.ts'
import { port } from './fields/port.ts'
import { protocol } from './fields/protocol.ts'
import { reply } from './fields/reply.ts'
import { service } from './fields/service.ts'
import { tcpFlags } from './fields/tcp-flags.ts'
import { ipTraceId, traceId } from './fields/trace-id.ts'
import { trafficDirection } from './fields/traffic-direction.ts'
import { uuid } from './fields/uuid.ts'
import { verdict } from './fields/verdict.ts'
import { workload } from './fields/workload.ts'

/** Every field of FlowFilter; built in this order, so the first fault of a filter is reported. */
export const FILTER_FIELDS: readonly FilterField[] = [
  uuid,
  eventType,
  verdict,
  dropReasonDesc,
  reply,
  encrypted,
  identity,
  protocol,
  ip,
  ipXlated,
  pod,
  workload,
  service,
  fqdn,
  dnsQuery,
  label,
  nodeLabels,
  port,
  httpStatusCode,
  httpMethod,
  httpPath,
  httpUrl,
  httpHeader,
  tcpFlags,
  nodeName,
  clusterName,
  ipVersion,
  traceId,
  trafficDirection,
  celExpression,
  networkInterface,
  ipTraceId,
]
