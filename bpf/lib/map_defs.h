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

/* Too big for the stack: an entry being made, and an L7 record being filled. And when this CPU met the table full. */
struct scratch {
	struct flow_entry entry;
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
