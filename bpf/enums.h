/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Every number that crosses from the kernel to user space. scripts/gen-layouts.mjs turns each enum here into a
 * const object in model/layouts.gen.ts; numbers are never reused, only appended.
 */
#ifndef SLUICE_ENUMS_H
#define SLUICE_ENUMS_H

/* Kind of a ring record: header.type. L7 kinds carry a payload behind the fixed part. */
enum event_type {
	EVENT_NONE = 0,
	EVENT_FLOW = 1,  /* a packet, or what has come since the last record of its flow */
	EVENT_DROP = 2,  /* kfree_skb: the packet was dropped by the kernel */
	EVENT_DNS = 3,   /* payload: one DNS datagram, or the head of a TCP segment on a DNS port */
	EVENT_HTTP = 4,  /* payload: the head of a segment that starts an HTTP/1 request or response */
};

/* Why the kernel made a record. */
enum event_cause {
	CAUSE_NONE = 0,
	CAUSE_NEW = 1,         /* first packet of the flow */
	CAUSE_FIRST_REPLY = 2, /* first packet in the other direction */
	CAUSE_TCP_FLAG = 3,    /* SYN, FIN or RST not seen before in this direction */
	CAUSE_INTERVAL = 4,    /* aggregation interval passed since the last record of this direction */
	CAUSE_COUNTER = 5,     /* a counter came near the width of its field */
	CAUSE_CLOSE = 6,       /* the sweep took the flow out: idle or closed */
	CAUSE_DROP = 7,        /* kfree_skb */
	CAUSE_PACKET = 8,      /* aggregation "none": every packet */
	CAUSE_L7 = 9,          /* L7 payload */
	CAUSE_VERDICT = 10,    /* verdict other than the flow's last one */
};

/*
 * What a filter's consumers tell events apart by: bit k of "wants kind k". Each kind has one verdict, so that a test of
 * the verdict is a test of the kind.
 */
enum event_kind {
	KIND_FLOW = 0,     /* EVENT_FLOW without SYN, FIN or RST; FORWARDED */
	KIND_TCP_FLAG = 1, /* EVENT_FLOW of a TCP packet with SYN, FIN or RST; FORWARDED */
	KIND_DROP = 2,     /* EVENT_DROP; DROPPED */
	KIND_DNS = 3,      /* EVENT_DNS; FORWARDED */
	KIND_HTTP = 4,     /* EVENT_HTTP; FORWARDED */
	EVENT_KINDS = 8,   /* size of arrays; room for the verdicts of policies */
};

/* Bits of flow_event.consumers that are no consumer's. */
enum consumer_flag {
	CONSUMER_BIT_UNDECIDED = 30, /* the kernel could not tell: user space asks every consumer's filter itself */
	CONSUMER_BIT_SET = 31,       /* lowest bit of the generation of rules that judged it */
};

/* flow.proto Verdict. */
enum verdict {
	VERDICT_UNKNOWN = 0,
	VERDICT_FORWARDED = 1,
	VERDICT_DROPPED = 2,
	VERDICT_ERROR = 3,
	VERDICT_AUDIT = 4,
	VERDICT_REDIRECTED = 5,
	VERDICT_TRACED = 6,
	VERDICT_TRANSLATED = 7,
};

/* flow.proto TraceObservationPoint. */
enum observation_point {
	POINT_UNKNOWN = 0,
	POINT_TO_PROXY = 1,
	POINT_TO_HOST = 2,
	POINT_TO_STACK = 3,
	POINT_TO_OVERLAY = 4,
	POINT_FROM_ENDPOINT = 5,
	POINT_FROM_PROXY = 6,
	POINT_FROM_HOST = 7,
	POINT_FROM_STACK = 8,
	POINT_FROM_OVERLAY = 9,
	POINT_FROM_NETWORK = 10,
	POINT_TO_NETWORK = 11,
	POINT_FROM_CRYPTO = 12,
	POINT_TO_CRYPTO = 13,
	POINT_TO_ENDPOINT = 101,
};

/* Bits of flow_event.state. */
enum flow_state {
	STATE_REPLY = 1,       /* the packet travels against the opener's direction */
	STATE_REPLY_KNOWN = 2, /* STATE_REPLY means something */
	STATE_EGRESS = 4,      /* connection opened by the local endpoint (flow.proto EGRESS) */
	STATE_INGRESS = 8,     /* connection opened towards the local endpoint */
	STATE_FROM_POD = 16,   /* the packet was leaving the endpoint that it was seen at */
	STATE_GUESSED = 32,    /* opener taken from the port numbers: the flow was met mid-stream */
	STATE_ENCRYPTED = 64,
	STATE_FRAGMENT = 128,
};

/* flow.proto TraceReason. */
enum trace_reason {
	TRACE_REASON_UNKNOWN = 0,
	TRACE_REASON_NEW = 1,
	TRACE_REASON_ESTABLISHED = 2,
	TRACE_REASON_REPLY = 3,
	TRACE_REASON_RELATED = 4,
};

/* What stands behind an interface: endpoint_config.kind. */
enum endpoint_kind {
	ENDPOINT_NONE = 0,
	ENDPOINT_POD = 1,    /* host side of a pod's veth: tc ingress = from the pod */
	ENDPOINT_UPLINK = 2, /* device towards other nodes: tc ingress = from the network */
};

/* endpoint_config.flags and address_entry.flags. */
enum subject_flag {
	SUBJECT_LOCAL_POD = 1,   /* address_entry: a pod of this node */
	SUBJECT_ASK_ADDRESS = 2, /* endpoint_config: nobody knows whose device it is; the packet's own address may say */
};

/* Classes that every set of rules has: indices into filter_classes. */
enum filter_class_id {
	CLASS_WORLD = 0,     /* no address of the cluster */
	CLASS_HOST = 1,      /* link-scope addresses at a pod's interface */
	CLASS_UNDECIDED = 2, /* the table of classes was full: user space decides */
	CLASS_FIRST = 3,
};

/* Ids that every set of rules has: indices into filter_matches. */
enum filter_match_id {
	MATCH_NONE = 0,      /* not judged yet */
	MATCH_UNDECIDED = 1, /* for all consumers, marked CONSUMER_BIT_UNDECIDED */
	MATCH_FIRST = 2,
};

/* Sizes of the filter's tables. */
enum filter_limit {
	FILTER_LIMIT_RULES = 256,     /* a multiple of 64 */
	FILTER_LIMIT_CONSUMERS = 30,  /* bits of flow_event.consumers below enum consumer_flag */
	FILTER_LIMIT_CLASSES = 16384, /* of one set */
	FILTER_LIMIT_MATCH_BITS = 12,
	FILTER_LIMIT_MATCHES = 4096,  /* of one set: 1 << FILTER_LIMIT_MATCH_BITS */
	FILTER_LIMIT_PORTS = 16384,   /* of both sets together */
	FILTER_LIMIT_PREFIXES = 65536, /* of both sets together */
	FILTER_LIMIT_ADDRESSES = 131072,
	FILTER_LIMIT_NETWORKS = 16384,
};

/* What of filter_rules is in use: look-ups that no rule needs are not made. */
enum filter_use {
	FILTER_USES_PORTS = 1,
	FILTER_USES_PREFIXES = 2,
};

/*
 * Index into struct ledger.count: the kernel's half of the ledger. PACKETS_* count packets, EVENTS_* count
 * ring records.
 *
 *   packets seen   = PACKETS_FLOW + PACKETS_NON_IP + PACKETS_MALFORMED_* + PACKETS_TABLE_FULL + PACKETS_CLOSING
 *   PACKETS_FLOW   = packets in submitted records + packets waiting in the flow table + PACKETS_UNREPORTED
 *                    + PACKETS_FILTERED
 *   EVENTS_WANTED  = EVENTS_SUBMITTED + EVENTS_RING_FULL + EVENTS_FILTERED + EVENTS_L7_LIMITED
 */
enum ledger_counter {
	PACKETS_SEEN = 0,
	PACKETS_FLOW = 1,           /* added to a flow's entry */
	PACKETS_NON_IP = 2,         /* ARP, LLDP, ... */
	PACKETS_MALFORMED_L2 = 3,   /* shorter than its link header, more than two VLAN tags */
	PACKETS_MALFORMED_L3 = 4,   /* bad version or length field, truncated IP header */
	PACKETS_MALFORMED_EXT = 5,  /* IPv6 extension headers: truncated or more than the parser follows */
	PACKETS_MALFORMED_L4 = 6,   /* truncated TCP, UDP, ICMP or SCTP header */
	PACKETS_TABLE_FULL = 7,     /* no entry free in the flow table */
	PACKETS_CLOSING = 8,        /* met its flow in the instant that the sweep removed it */
	PACKETS_UNREPORTED = 9,     /* left the flow table without a record: ring full at the last chance */
	PACKETS_FRAGMENT = 10,      /* fragments seen; these are in PACKETS_FLOW too */
	PACKETS_FRAGMENT_UNKNOWN = 11, /* later fragments whose first one was not met; in PACKETS_FLOW with port 0 */
	PACKETS_VLAN = 12,          /* tagged packets; in PACKETS_FLOW too */
	PACKETS_DROPPED = 13,       /* kfree_skb of an endpoint's packet */
	PACKETS_DROPPED_UNPARSED = 14, /* of those: headers malformed or not there; a record only where the addresses were read */
	PACKETS_DROPPED_FOREIGN = 15,  /* kfree_skb of packets of nobody that is watched here */
	PACKETS_RETRANSMITTED = 16,
	PACKETS_REPORTED = 17,      /* packets carried out by submitted records */
	EVENTS_WANTED = 18,
	EVENTS_SUBMITTED = 19,
	EVENTS_RING_FULL = 20,
	EVENTS_FILTERED = 21,       /* no consumer wanted it */
	EVENTS_L7_LIMITED = 22,     /* L7 payload over the rate limit */
	FLOWS_CREATED = 23,
	FLOWS_REMOVED = 24,
	DROP_COUNTER_FULL = 25,     /* drops that found no room in drop_counters */
	FRAGMENT_TABLE_FULL = 26,
	BYTES_SEEN = 27,
	BYTES_FLOW = 28,
	BYTES_TABLE_FULL = 29,
	BYTES_CLOSING = 30,
	BYTES_UNREPORTED = 31,
	BYTES_REPORTED = 32,
	L7_TRUNCATED = 33,          /* L7 payloads cut at the capture length */
	PACKETS_DROPPED_CONSUMED = 34, /* kfree_skb of packets that had done their work: no drop, in none of the above */
	PACKETS_FILTERED = 35,      /* left the flow table without a record because no consumer wanted one */
	BYTES_FILTERED = 36,
	FILTER_MATCHES_FULL = 37,   /* judgements that found filter_matches full: user space decides those events */
	LEDGER_COUNTERS = 40,       /* size of the array; room to grow */
};

#endif
