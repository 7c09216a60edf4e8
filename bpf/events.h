/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Every record that leaves the kernel. Fixed-width types, widest first within a group, explicit reserved
 * members, sizes asserted. Raise EVENT_VERSION on any change: user space refuses records of another version.
 * Ports and lengths are in host byte order; addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d.
 */
#ifndef SLUICE_EVENTS_H
#define SLUICE_EVENTS_H

#define EVENT_VERSION 1

/* Largest L7 payload behind a record; a DNS datagram or an HTTP head is cut there (bytes). */
#define L7_PAYLOAD_MAX 1024

/*
 * The record. EVENT_FLOW and EVENT_DROP are exactly this; EVENT_DNS and EVENT_HTTP are followed by `payload_len`
 * bytes of payload. `packets`.. `reply_bytes` are what has come since the previous record of this flow, on either
 * direction: adding them up over the records of a flow gives its totals, no packet twice.
 *
 *    0 time_ns        8 size type version  12 cpu vlan
 *   16 src_ip[16]    32 dst_ip[16]
 *   48 ports         52 proto family l4_info   56 ifindex   60 verdict point cause state
 *   64 packets reply_packets bytes reply_bytes
 *   80 drop_location drop_reason hubble_reason trace_reason  88 rtt_us srtt_us
 *   96 retransmits drops  100 consumers  104 src_identity dst_identity
 *  112 src_mac dst_mac  124 rule
 */
struct flow_event {
	__u64 time_ns;         /* CLOCK_BOOTTIME */
	__u16 size;            /* bytes of the whole record, payload included */
	__u8 type;             /* enum event_type */
	__u8 version;          /* EVENT_VERSION */
	__u16 cpu;
	__u16 vlan;            /* outermost VLAN id, 0 = untagged */
	__u8 src_ip[16];       /* of the packet that caused the record */
	__u8 dst_ip[16];
	__u16 src_port;        /* 0 for ICMP */
	__u16 dst_port;
	__u8 protocol;         /* IPPROTO_*; after IPv6 extension headers */
	__u8 ip_version;       /* 4 or 6 */
	__u16 l4_info;         /* TCP: flags, FIN=1 SYN=2 RST=4 PSH=8 ACK=16 URG=32 ECE=64 CWR=128 NS=256;
				  ICMP: type << 8 | code; SCTP: first chunk's type */
	__u32 ifindex;         /* of the node's device where it was seen */
	__u8 verdict;          /* enum verdict */
	__u8 point;            /* enum observation_point */
	__u8 cause;            /* enum event_cause */
	__u8 state;            /* bits of enum flow_state */
	__u32 packets;         /* in the record's direction, src_ip to dst_ip */
	__u32 reply_packets;   /* in the other direction */
	__u32 bytes;           /* link-layer length, as interface counters count */
	__u32 reply_bytes;
	__u32 drop_location;   /* where the kernel freed it: address minus kernel_base, 0 = none */
	__u16 drop_reason;     /* kernel's skb_drop_reason, subsystem in bits 12-15; 0 = none */
	__u8 hubble_reason;    /* flow.proto DropReason where our own programs dropped it; 0 = map drop_reason */
	__u8 trace_reason;     /* enum trace_reason */
	__u32 rtt_us;          /* TCP handshake: SYN to the ACK that completes it, 0 = unknown */
	__u32 srtt_us;         /* the kernel's smoothed RTT of the local socket, 0 = unknown */
	__u16 retransmits;     /* TCP segments sent again by the local socket since the last record, saturating */
	__u16 drops;           /* packets of this flow that the kernel dropped since the last record, saturating */
	__u32 consumers;       /* bit per consumer that wants the record (filters/) */
	__u32 src_identity;    /* security identity as the kernel's ipcache had it, 0 = not looked up */
	__u32 dst_identity;
	__u8 src_mac[6];
	__u8 dst_mac[6];
	__u16 rule;            /* policy rule that decided the verdict, 0 = none */
	__u16 payload_len;     /* bytes of L7 payload behind the record */
};
_Static_assert(sizeof(struct flow_event) == 128, "flow_event");

/*
 * What the collector adds when it admits a record to the history. A history slot is a flow_event followed by a
 * flow_stamp; this half never exists in the kernel, it stands here so that one file holds every layout.
 */
struct flow_stamp {
	__u64 unix_ns;         /* wall clock, unique on this node */
	__u32 src_endpoint;    /* EndpointTable reference */
	__u32 dst_endpoint;
	__u32 src_names;       /* NameTable reference: DNS names of src_ip, 0 = none */
	__u32 dst_names;
	__u16 src_service;     /* ServiceTable reference, 0 = none */
	__u16 dst_service;
	__u32 l7;              /* L7Store reference, 0 = none */
};
_Static_assert(sizeof(struct flow_stamp) == 32, "flow_stamp");

struct flow_slot {
	struct flow_event event;
	struct flow_stamp stamp;
};
_Static_assert(sizeof(struct flow_slot) == 160, "flow_slot");

#endif
