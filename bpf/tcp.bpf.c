/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What only the local socket knows: segments sent again, and the smoothed round trip, read when the connection is
 * established and when it changes state again, never per packet.
 */

static __always_inline int tcp_key_of(const struct sock *sk, struct flow_key *key, __u8 *dir)
{
	struct packet p __attribute__((aligned(8))) = {};
	__u64 cookie = BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie);
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	__u32 *ifindex = bpf_map_lookup_elem(&netns, &cookie);

	if (!ifindex)
		return -1;
	p.key.protocol = IPPROTO_TCP;
	if (family == AF_INET) {
		mapped_address(p.src_ip, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		mapped_address(p.dst_ip, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	} else if (family == AF_INET6) {
		BPF_CORE_READ_INTO(&p.src_ip, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&p.dst_ip, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	} else {
		return -1;
	}
	normalise(&p, BPF_CORE_READ(sk, __sk_common.skc_num), bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport)));
	*key = p.key;
	key->ifindex = *ifindex;
	key->pod_dir = p.dir; /* the socket is the endpoint's */
	*dir = p.dir;
	return 0;
}

static __always_inline __u32 srtt_of(const struct sock *sk)
{
	return BPF_CORE_READ((const struct tcp_sock *)sk, srtt_us) >> 3;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(segment_retransmitted, const struct sock *sk)
{
	struct flow_key key __attribute__((aligned(8)));
	struct flow_entry *entry;
	struct ledger *l;
	__u8 dir;

	if (tcp_key_of(sk, &key, &dir))
		return 0;
	entry = bpf_map_lookup_elem(&flows, &key);
	if (!entry)
		return 0;
	__sync_fetch_and_add(&entry->retransmits, 1);
	entry->srtt_us = srtt_of(sk);
	l = ledger_of_cpu();
	if (l)
		count(l, PACKETS_RETRANSMITTED, 1);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state_changed, const struct sock *sk, int old_state, int new_state)
{
	struct flow_key key __attribute__((aligned(8)));
	struct flow_entry *entry;
	__u32 srtt;
	__u8 dir;

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP || tcp_key_of(sk, &key, &dir))
		return 0;
	srtt = srtt_of(sk);
	if (!srtt)
		return 0;
	entry = bpf_map_lookup_elem(&flows, &key);
	if (entry)
		entry->srtt_us = srtt;
	return 0;
}
