import { DROP_REASONS } from '../../model/drop-reasons.ts'
import { L7_TYPE_NAMES, OBSERVATION_POINT_NAMES, TRAFFIC_DIRECTION_NAMES, VERDICT_NAMES } from '../../model/names.ts'

type Names = Readonly<Record<number, string>>

/** Enums of flow.proto that fields of a flow have. Name of the enum, then name by number. */
const ENUMS: Readonly<Record<string, Names>> = {
  Verdict: VERDICT_NAMES,
  TrafficDirection: TRAFFIC_DIRECTION_NAMES,
  L7FlowType: L7_TYPE_NAMES,
  TraceObservationPoint: OBSERVATION_POINT_NAMES,
  DropReason: Object.fromEntries(Object.entries(DROP_REASONS).map(([number, row]) => [number, row.name])),
  FlowType: ['UNKNOWN_TYPE', 'L3_L4', 'L7', 'SOCK'],
  IPVersion: ['IP_NOT_USED', 'IPv4', 'IPv6'],
  AuthType: ['DISABLED', 'SPIRE', 'TEST_ALWAYS_FAIL'],
  TraceReason: [
    'TRACE_REASON_UNKNOWN',
    'NEW',
    'ESTABLISHED',
    'REPLY',
    'RELATED',
    'REOPENED',
    'SRV6_ENCAP',
    'SRV6_DECAP',
    'ENCRYPT_OVERLAY',
  ],
  DebugCapturePoint: {
    0: 'DBG_CAPTURE_POINT_UNKNOWN',
    4: 'DBG_CAPTURE_DELIVERY',
    5: 'DBG_CAPTURE_FROM_LB',
    6: 'DBG_CAPTURE_AFTER_V46',
    7: 'DBG_CAPTURE_AFTER_V64',
    8: 'DBG_CAPTURE_PROXY_PRE',
    9: 'DBG_CAPTURE_PROXY_POST',
    10: 'DBG_CAPTURE_SNAT_PRE',
    11: 'DBG_CAPTURE_SNAT_POST',
  },
  SocketTranslationPoint: [
    'SOCK_XLATE_POINT_UNKNOWN',
    'SOCK_XLATE_POINT_PRE_DIRECTION_FWD',
    'SOCK_XLATE_POINT_POST_DIRECTION_FWD',
    'SOCK_XLATE_POINT_PRE_DIRECTION_REV',
    'SOCK_XLATE_POINT_POST_DIRECTION_REV',
  ],
  'Tunnel.Protocol': ['UNKNOWN', 'VXLAN', 'GENEVE'],
}

const CONSTANTS = new Map(
  Object.entries(ENUMS).flatMap(([name, names]) =>
    Object.entries(names).map(([number, value]): [string, bigint] => [`${name}.${value}`, BigInt(number)]),
  ),
)

/** Number of an enum constant. @param name `Verdict.DROPPED`, also `flow.Verdict.DROPPED`, with or without a leading dot */
export function enumConstant(name: string): bigint | undefined {
  if (name.startsWith('.flow.')) return CONSTANTS.get(name.slice('.flow.'.length))
  if (name.startsWith('flow.')) return CONSTANTS.get(name.slice('flow.'.length))
  return CONSTANTS.get(name)
}
