/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The few kernel structures that the programs look into, with the members they read and nothing else: libbpf
 * relocates each access to where the running kernel has it (CO-RE), so no vmlinux.h is needed and no compiler
 * runs on the node.
 */
#ifndef SLUICE_KERNEL_H
#define SLUICE_KERNEL_H

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct net {
	__u64 net_cookie;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
};

struct dst_entry {
	struct net_device *dev;
};

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
};

struct tcp_sock {
	__u32 srtt_us; /* smoothed round trip, microseconds << 3 */
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned int len;
	unsigned int data_len;
	int skb_iif;
	unsigned long _skb_refdst;
	__be16 protocol;
	__u16 network_header;
	__u16 mac_header;
	unsigned char *head;
	unsigned char *data;
};

/* Only to ask the running kernel which numbers these have, if any. */
enum skb_drop_reason {
	SKB_CONSUMED = 1,
	SKB_DROP_REASON_NOT_SPECIFIED = 2,
	SKB_DROP_REASON_NO_SOCKET = 3,
	SKB_DROP_REASON_TCP_OLD_DATA = 4,
	SKB_DROP_REASON_TCP_RESET = 5,
	SKB_DROP_REASON_TCP_CLOSE = 6,
	SKB_DROP_REASON_QUEUE_PURGE = 7,
	SKB_DROP_REASON_TCP_OLD_SEQUENCE = 8,
	SKB_DROP_REASON_IPV6_NDISC_BAD_CODE = 9,
	SKB_DROP_REASON_TCP_INVALID_SEQUENCE = 10,
};

#pragma clang attribute pop

#endif
