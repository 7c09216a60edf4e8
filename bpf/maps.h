/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Every map, once. Sizes marked (c) are set from the configuration before load. All are pinned below
 * /sys/fs/bpf/sluice/<instance>/ under the name they have here, so that a restart finds them as they were.
 */
#ifndef SLUICE_MAPS_H
#define SLUICE_MAPS_H

#include "enums.h"
#include "events.h"

/* Normalised five-tuple at one interface: address a is the lower one (memcmp, then port). */
struct flow_key {
	__u8 a_ip[16];
	__u8 b_ip[16];
	__u16 a_port;          /* ICMP echo: the identifier on both; other ICMP: 0 */
	__u16 b_port;
	__u32 ifindex;         /* node device; each endpoint's view of a flow is an entry of its own */
	__u8 protocol;
	/*
	 * Direction (0: a to b, 1: b to a) in which packets leave the endpoint. The same for a packet and its answer;
	 * another one where the same five-tuple also travels the other way: multicast from ::, hairpins, forged sources.
	 */
	__u8 pod_dir;
	__u8 reserved[2];
};
_Static_assert(sizeof(struct flow_key) == 44, "flow_key");

/* flow_entry.phase: the sweep removes an entry in two passes, so that no program still adds to it. */
enum flow_phase {
	PHASE_LIVE = 0,
	PHASE_DYING = 1,       /* marked by one sweep; any packet makes it LIVE again */
	PHASE_DEAD = 2,        /* being removed; packets that meet it count as PACKETS_CLOSING */
};

/*
 * Index 0 = packets from a to b, 1 = from b to a. unreported[] packs packets << 40 | bytes, so that one atomic add
 * counts both and one exchange takes both.
 */
struct flow_entry {
	__u64 unreported[2];
	__u64 last_seen_ns;      /* CLOCK_MONOTONIC_COARSE */
	__u64 last_report_ns[2]; /* CLOCK_MONOTONIC_COARSE; 0 = no record yet in this direction */
	__u64 syn_ns;            /* CLOCK_BOOTTIME of the SYN while the handshake runs, 0 else */
	__u32 phase;             /* enum flow_phase */
	__u32 slot;              /* index into endpoint_counters */
	__u32 filter[2];         /* per direction: generation of the rules << 2 | TrafficDirection, low 20 bits, <<
				  FILTER_LIMIT_MATCH_BITS | id in filter_matches; 0 = not judged */
	__u8 flags_seen[2];      /* TCP flags, low 8 bits, per direction; SCTP: bit per kind of control chunk */
	__u8 opener;             /* 0 = a opened, 1 = b opened */
	__u8 state;              /* STATE_GUESSED | STATE_EGRESS | STATE_INGRESS */
	__u8 closed;             /* bit 0/1: FIN from a/b; bit 2: RST */
	__u8 l7_kind;            /* L7_DNS, L7_HTTP or 0 */
	__u8 verdict;            /* last one reported */
	__u8 pod_dir;            /* flow_key.pod_dir */
	__u64 first_seen_ns;     /* CLOCK_BOOTTIME */
	__u32 rtt_us;
	__u32 srtt_us;
	__u32 retransmits;       /* since the last record */
	__u32 drops;             /* dropped packets whose own record found no room; carried by the next record */
	__u32 identity[2];       /* of a, of b; 0 = not looked up */
	__u32 l7_seq[2];         /* per direction: TCP sequence number behind the last captured head; of ICMP and
				  SCTP, which have none, l4_info of the last message */
	__u8 mac_a[6];
	__u8 mac_b[6];
	__u16 rule;
	__u16 vlan;
};
_Static_assert(sizeof(struct flow_entry) == 128, "flow_entry");

/* Word of l7_ports: two bits of enum l7_kind for each of 32 ports, the lowest port lowest. */
#define L7_PORTS_PER_WORD 32

/* Values in l7_ports and of flow_entry.l7_kind. */
enum l7_kind {
	L7_NONE = 0,
	L7_DNS = 1,
	L7_HTTP = 2,
};

/* In and out of the program flow_sweep; run by the agent every second. Times in nanoseconds. */
struct sweep_args {
	__u64 tcp_idle_ns;       /* TCP without FIN or RST */
	__u64 other_idle_ns;     /* UDP, ICMP, SCTP, ... */
	__u64 closed_idle_ns;    /* after both FINs or a RST */
	__u64 keep_unreported;   /* 1 = a flow that the full ring had no room for stays until it has; 0 = it goes, counted */
	__u64 refresh_slots;     /* 1 = a device may have another slot than its flows remember */
	__u64 entries;           /* out: flows in the table after the sweep */
	__u64 open_packets;      /* out: packets in the table that no record has carried out yet */
	__u64 open_bytes;
	__u64 removed;           /* out: flows taken out by this sweep */
	__u64 reported;          /* out: records made by this sweep */
};

/* Where a fragment belongs: later fragments carry no ports. */
struct fragment_key {
	__u8 src_ip[16];
	__u8 dst_ip[16];
	__u32 id;
	__u8 protocol;
	__u8 reserved[3];
};

struct fragment_value {
	__u16 src_port;
	__u16 dst_port;
	__u16 l4_info;           /* ICMP: type << 8 | code of the first fragment */
	__u16 reserved;
};

/* What is known of one of the node's devices; written by the collector before it attaches. */
struct endpoint_config {
	__u32 slot;              /* index into endpoint_counters */
	__u32 endpoint_id;       /* Hubble's node-local endpoint id */
	__u32 identity;          /* security identity of the pod behind it, 0 = not known */
	__u16 classes[2];        /* in each set of rules: index into filter_classes */
	__u8 kind;               /* enum endpoint_kind */
	__u8 flags;              /* enum subject_flag */
	__u8 reserved[6];
};

/* Exact and independent of the flow table. Index: slot. */
struct endpoint_counters {
	__u64 ingress_packets;   /* towards the endpoint, or from the network for an uplink */
	__u64 ingress_bytes;
	__u64 egress_packets;    /* from the endpoint */
	__u64 egress_bytes;
};

struct drop_key {
	__u32 slot;
	__u16 reason;            /* as flow_event.drop_reason */
	__u8 direction;          /* 0 unknown, 1 towards the endpoint, 2 from it */
	__u8 reserved;
};

struct drop_value {
	__u64 packets;
	__u64 bytes;
};

/*
 * Filters. Every rule in force has a bit. There are two sets of tables, the one in force and the one that is written next;
 * the lowest bit of the generation says which. A program reads the generation once an event, so that no event is
 * judged by half a set. What of a flow's two ends and headers decides does not change while it lives: the rules that this
 * half accepts are found once for each direction (`filter_match`), the entry keeps its id. What changes from event to event
 * is its kind, and for each kind the match holds the consumers that want it.
 *
 *   address -> class -> rules whose from, to accepts it      endpoint_config, addresses, networks; filter_classes
 *   & protocol, direction, IP version, ports, prefixes       filter_rules, filter_ports, filter_prefixes (filter_class; of
 *                                                            the longest prefix alone, with what wider ones accept)
 *   = rules that may match -> id -> consumers by kind        filter_match_ids, filter_matches, filter_counts
 */
#define FILTER_WORDS (FILTER_LIMIT_RULES / 64)
#define FILTER_CONSUMERS 32 /* size of arrays: FILTER_LIMIT_CONSUMERS and two flags */

/* Bit r % 64 of word r / 64: rule r. */
struct rule_mask {
	__u64 word[FILTER_WORDS];
};

/* One value, written at once. */
struct filter_state {
	__u32 generation;
	__u32 enabled;           /* 0: every consumer wants everything, nothing is judged */
};

/* One set of rules. A rule without a test of some kind has its bit in every mask of that kind. */
struct filter_rules {
	__u32 consumers;                 /* those in force: what an undecided event is for */
	__u32 everything;                /* of those, which have no include rule */
	__u32 by_kind[EVENT_KINDS];      /* consumers that a kind of event concerns at all */
	__u32 uses;                      /* enum filter_use */
	__u32 reserved;
	struct rule_mask include[FILTER_CONSUMERS];
	struct rule_mask exclude[FILTER_CONSUMERS];
	struct rule_mask kind[EVENT_KINDS];
	struct rule_mask protocol[256];  /* IPPROTO_* */
	struct rule_mask direction[4];   /* flow.proto TrafficDirection */
	struct rule_mask ip_version[2];  /* 4, 6 */
	struct rule_mask other_port[2];  /* source, destination: a port that filter_ports does not have */
	struct rule_mask no_ports;       /* protocols other than TCP, UDP and SCTP */
	struct rule_mask no_prefix[2];   /* source, destination: an address in no prefix of filter_prefixes */
};

/* Rules that a class of endpoints is accepted by. */
struct filter_class {
	struct rule_mask from;
	struct rule_mask to;
};

/* Who is behind an address (16 bytes, IPv4 mapped) or a range. */
struct address_entry {
	__u32 identity;          /* security identity */
	__u16 classes[2];        /* in each set of rules: index into filter_classes */
	__u32 flags;             /* enum subject_flag */
	__u32 reserved;
};
_Static_assert(sizeof(struct address_entry) == 16, "address_entry");

/*
 * Longest-prefix matches are made in hashes, one look-up for each length that occurs: the kernel offers its tries to
 * tc programs, but not to the sweep, which may be preempted.
 */
struct network_key {
	__u8 address[16];        /* zero behind the prefix */
	__u32 prefix_length;     /* 96 + n for IPv4 */
	__u32 set;               /* of filter_prefixes; 0 in networks */
};

#define PREFIX_LENGTHS 132 /* 0 to 128, an end, and alignment */

/* Lengths that occur, each + 1, the longest first; 0 = no more. [0] of IPv4, [1] of IPv6. */
struct prefix_lengths {
	__u8 lengths[2][PREFIX_LENGTHS];
};

/* Index into filter_lengths; 0 and 1: filter_prefixes of each set. */
#define LENGTHS_NETWORKS 2

/* Value: struct filter_class: as a source's port, as a destination's. */
struct filter_port_key {
	__u16 port;
	__u16 set;
};

struct filter_match_key {
	struct rule_mask rules;
	__u32 set;
	__u32 reserved;
};

/* Index set * FILTER_LIMIT_MATCHES + id. */
struct filter_match {
	struct rule_mask rules;          /* accepted by everything but the kind of event */
	__u32 consumers[EVENT_KINDS];    /* with the flags of enum consumer_flag */
};

/* Events judged by a match, kept and left out, by kind. */
struct filter_count {
	__u64 events[EVENT_KINDS];
};

struct ledger {
	__u64 count[LEDGER_COUNTERS]; /* enum ledger_counter */
	/* Not counters: this CPU's last reading of CLOCK_MONOTONIC_COARSE, and the tick that it was read in. */
	__u64 tick;
	__u64 tick_ns;
};

#endif
