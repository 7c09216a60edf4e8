/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Programs of somebody else, for tests and benchmarks: what the agent must live beside, and what an empty program
 * costs. Not part of the agent's object.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define NEXT -1
#define SHOT 2
/* Where drop_port_9 looks: IPv4 without options behind Ethernet. */
#define PROTOCOL_AT 23
#define DST_PORT_AT 36

/* Device that to_peer sends to. */
const volatile __u32 target_ifindex = 0;

/* Runs of each program below, by its number. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} runs SEC(".maps");

static __always_inline void ran(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&runs, &which);

	if (n)
		__sync_fetch_and_add(n, 1);
}

SEC("tc")
int empty(struct __sk_buff *skb)
{
	return NEXT;
}

SEC("tc")
int count_all(struct __sk_buff *skb)
{
	ran(1);
	return NEXT;
}

SEC("tc")
int drop_port_9(struct __sk_buff *skb)
{
	__be16 port = 0;
	__u8 protocol = 0;

	ran(2);
	if (skb->protocol != bpf_htons(0x0800) || bpf_skb_load_bytes(skb, PROTOCOL_AT, &protocol, 1) ||
	    bpf_skb_load_bytes(skb, DST_PORT_AT, &port, 2))
		return NEXT;
	return (protocol == IPPROTO_UDP || protocol == IPPROTO_TCP) && port == bpf_htons(9) ? SHOT : NEXT;
}

SEC("tc")
int to_peer(struct __sk_buff *skb)
{
	ran(3);
	return bpf_redirect_peer(target_ifindex, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
