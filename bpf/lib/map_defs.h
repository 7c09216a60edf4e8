/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The maps themselves; their keys and values are in maps.h. (c) = size set from the configuration before load. */
#ifndef SLUICE_MAP_DEFS_H
#define SLUICE_MAP_DEFS_H

/* Records on their way out. (c) 16 MiB hold 123,000 records: two seconds of 60,000 a second while nobody reads. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} events SEC(".maps");

/*
 * Flows, one entry per interface that sees them. (c) 262,144 entries of 180 bytes and a bucket pointer: 57 MB of
 * kernel memory. A plain hash, preallocated: see ARCHITECTURE.md for why not an LRU hash.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__type(key, struct flow_key);
	__type(value, struct flow_entry);
} flows SEC(".maps");

/* Watched devices by ifindex. (c) 4,096 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct endpoint_config);
} endpoints SEC(".maps");

/* Network namespace cookie of a pod to the ifindex of its host-side device. (c) 4,096 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u32);
} netns SEC(".maps");

/* Exact packet counters, index = endpoint_config.slot; slot 0 takes devices without a slot. (c) 4,096 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct endpoint_counters);
} endpoint_counters SEC(".maps");

/* Exact drop counters. (c) 16,384 pairs of endpoint and reason; more are counted in DROP_COUNTER_FULL. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct drop_key);
	__type(value, struct drop_value);
} drop_counters SEC(".maps");

/* The kernel's half of the ledger. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ledger);
} ledger SEC(".maps");

/* Ports of fragmented datagrams; the oldest go first, a miss is PACKETS_FRAGMENT_UNKNOWN. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct fragment_key);
	__type(value, struct fragment_value);
} fragments SEC(".maps");

/*
 * Port to enum l7_kind, two bits each, 32 ports to a word: 16 KB. Asked twice for every new flow, where a hash look-up
 * costs 30 ns and this two.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536 / L7_PORTS_PER_WORD);
	__type(key, __u32);
	__type(value, __u64);
} l7_ports SEC(".maps");

/* Token bucket for L7 payloads, one per CPU. */
struct l7_bucket {
	__u64 refilled_ns;
	__u64 tokens;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct l7_bucket);
} l7_tokens SEC(".maps");

/*
 * Filters: see maps.h. What user space alone writes and is rarely large has no memory before it is there
 * (BPF_F_NO_PREALLOC); the maps of matches, which programs write, have theirs from the start.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct filter_state);
} filter_state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct filter_rules);
} filter_rules SEC(".maps");

/* Index: set * FILTER_LIMIT_CLASSES + class. 2 MB */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * FILTER_LIMIT_CLASSES);
	__type(key, __u32);
	__type(value, struct filter_class);
} filter_classes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FILTER_LIMIT_ADDRESSES);
	__type(key, __u8[16]);
	__type(value, struct address_entry);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FILTER_LIMIT_NETWORKS);
	__type(key, struct network_key);
	__type(value, struct address_entry);
} networks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FILTER_LIMIT_PORTS);
	__type(key, struct filter_port_key);
	__type(value, struct filter_class);
} filter_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FILTER_LIMIT_PREFIXES);
	__type(key, struct network_key);
	__type(value, struct filter_class);
} filter_prefixes SEC(".maps");

/* Of the prefixes of each set, and of networks: LENGTHS_NETWORKS. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, struct prefix_lengths);
} filter_lengths SEC(".maps");

/* Rules to id; MATCH_NONE while a CPU makes the match. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * FILTER_LIMIT_MATCHES);
	__type(key, struct filter_match_key);
	__type(value, __u32);
} filter_match_ids SEC(".maps");

/* Index: set * FILTER_LIMIT_MATCHES + id. 512 KB, and as much for the counts on each CPU */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * FILTER_LIMIT_MATCHES);
	__type(key, __u32);
	__type(value, struct filter_match);
} filter_matches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * FILTER_LIMIT_MATCHES);
	__type(key, __u32);
	__type(value, struct filter_count);
} filter_counts SEC(".maps");

/* Ids given away in each set, not counting the fixed ones. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} filter_next SEC(".maps");

/*
 * Too big for the stack: an entry being made; a dropped packet, and an entry for it where its flow has none (a drop may come
 * in the middle of making another); the key of a flow that the sweep tells of; an L7 record being filled. And when this
 * CPU met the table full.
 */
struct scratch {
	struct flow_entry entry;
	struct flow_entry dropped_entry;
	struct packet dropped;
	struct flow_key swept;
	__u64 table_full_ns; /* CLOCK_MONOTONIC_COARSE */
	struct flow_event event;
	__u8 payload[L7_PAYLOAD_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

#endif
