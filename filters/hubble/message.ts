/**
 * flow.FlowFilter with its proto field names, as decoders give it: every field may be missing, and missing, undefined
 * and empty mean the same, no constraint. Enums are numbers.
 */
export interface FlowFilterMessage {
  readonly uuid?: readonly string[] | undefined
  readonly source_ip?: readonly string[] | undefined
  readonly source_ip_xlated?: readonly string[] | undefined
  readonly source_pod?: readonly string[] | undefined
  readonly source_fqdn?: readonly string[] | undefined
  readonly source_label?: readonly string[] | undefined
  readonly source_service?: readonly string[] | undefined
  readonly source_workload?: readonly WorkloadMessage[] | undefined
  readonly source_cluster_name?: readonly string[] | undefined
  readonly source_identity?: readonly number[] | undefined
  readonly source_port?: readonly string[] | undefined
  readonly destination_ip?: readonly string[] | undefined
  readonly destination_pod?: readonly string[] | undefined
  readonly destination_fqdn?: readonly string[] | undefined
  readonly destination_label?: readonly string[] | undefined
  readonly destination_service?: readonly string[] | undefined
  readonly destination_workload?: readonly WorkloadMessage[] | undefined
  readonly destination_cluster_name?: readonly string[] | undefined
  readonly destination_identity?: readonly number[] | undefined
  readonly destination_port?: readonly string[] | undefined
  readonly traffic_direction?: readonly number[] | undefined
  readonly verdict?: readonly number[] | undefined
  readonly drop_reason_desc?: readonly number[] | undefined
  readonly interface?: readonly InterfaceMessage[] | undefined
  readonly event_type?: readonly EventTypeMessage[] | undefined
  readonly http_status_code?: readonly string[] | undefined
  readonly protocol?: readonly string[] | undefined
  readonly reply?: readonly boolean[] | undefined
  readonly dns_query?: readonly string[] | undefined
  readonly http_method?: readonly string[] | undefined
  readonly http_path?: readonly string[] | undefined
  readonly http_url?: readonly string[] | undefined
  readonly http_header?: readonly HttpHeaderMessage[] | undefined
  readonly tcp_flags?: readonly TcpFlagsMessage[] | undefined
  readonly node_name?: readonly string[] | undefined
  readonly node_labels?: readonly string[] | undefined
  readonly ip_version?: readonly number[] | undefined
  readonly trace_id?: readonly string[] | undefined
  readonly ip_trace_id?: readonly (bigint | number | string)[] | undefined
  readonly encrypted?: readonly boolean[] | undefined
  readonly experimental?: { readonly cel_expression?: readonly string[] | undefined } | undefined
}

export interface WorkloadMessage {
  readonly name?: string | undefined
  readonly kind?: string | undefined
}

export interface InterfaceMessage {
  readonly index?: number | undefined
  readonly name?: string | undefined
}

export interface EventTypeMessage {
  readonly type?: number | undefined
  readonly match_sub_type?: boolean | undefined
  readonly sub_type?: number | undefined
}

export interface HttpHeaderMessage {
  readonly key?: string | undefined
  readonly value?: string | undefined
}

export interface TcpFlagsMessage {
  readonly FIN?: boolean | undefined
  readonly SYN?: boolean | undefined
  readonly RST?: boolean | undefined
  readonly PSH?: boolean | undefined
  readonly ACK?: boolean | undefined
  readonly URG?: boolean | undefined
  readonly ECE?: boolean | undefined
  readonly CWR?: boolean | undefined
  readonly NS?: boolean | undefined
}

/** Name of a field of FlowFilter. */
export type FlowFilterField = keyof FlowFilterMessage
