/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * tp_btf/kfree_skb: every packet the kernel drops, with its reason and the place. The tracepoint fires for the whole
 * machine; a drop belongs to us when its device is one that is watched, or when it happened in the network namespace
 * of a pod that is.
 */

struct dropped {
	__u32 ifindex;   /* node device of the endpoint */
	__u32 slot;
	__u8 direction;  /* 0 unknown, 1 towards the endpoint, 2 from it */
	__u8 kind;
};

/* Kernel numbers subsystem << 16 | reason; a record has 16 bits: subsystem in the top four. */
static __always_inline __u16 fold_reason(__u32 reason)
{
	return ((reason >> 16) & 0xf) << 12 | (reason & 0xfff);
}

/*
 * Drops behind the socket's look-up have no device: TCP has cleared skb->dev by then, and UDP keeps other things in it.
 * From 6.11 on the tracepoint's fourth argument is the socket that the packet was for.
 */
extern void sk_skb_reason_drop(struct sock *sk, struct sk_buff *skb, enum skb_drop_reason reason) __ksym __weak;

static __always_inline __u64 cookie_of_device(const struct net_device *dev)
{
	return dev ? BPF_CORE_READ(dev, nd_net.net, net_cookie) : 0;
}

static __always_inline __u64 cookie_of_socket(const struct sock *sk)
{
	return sk ? BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie) : 0;
}

/*
 * Before 6.11: the route by which a received packet came to its socket is over its namespace's own device. Other things
 * are kept in its place on TCP's send queues; what is read by those is no cookie that we know.
 */
#define DST_NOT_COUNTED 1UL

static __always_inline __u64 cookie_of_route(const struct sk_buff *skb)
{
	const struct dst_entry *route = (const void *)(skb->_skb_refdst & ~DST_NOT_COUNTED);

	return route ? BPF_CORE_READ(route, dev, nd_net.net, net_cookie) : 0;
}

/*
 * Whether the stack of skb->dev's namespace received the packet, rather than made it. Just across a veth a packet has
 * no skb_iif yet, but also lost its socket and its route, which what is sent has.
 */
static __always_inline int was_received(const struct sk_buff *skb)
{
	return skb->skb_iif || (!skb->sk && !skb->_skb_refdst);
}

/* @return 1 when the packet belongs to an endpoint, filled into d */
static __always_inline int owner_of(struct sk_buff *skb, const struct sock *rx_sk, struct dropped *d)
{
	struct net_device *dev = skb->dev;
	struct endpoint_config *config;
	__u64 cookie = cookie_of_device(dev);
	__u32 *known;

	if (cookie && cookie == node_netns_cookie) {
		d->ifindex = BPF_CORE_READ(dev, ifindex);
		/* the host side received it from the pod, unless it was on its way out of that device */
		if (skb->skb_iif)
			d->direction = skb->skb_iif == d->ifindex ? 2 : 1;
		else
			d->direction = was_received(skb) ? 2 : 1;
	} else {
		d->direction = was_received(skb) ? 1 : 2;
		if (!cookie)
			cookie = cookie_of_socket(rx_sk);
		if (!cookie)
			cookie = cookie_of_socket(skb->sk);
		if (!cookie)
			cookie = cookie_of_route(skb);
		known = bpf_map_lookup_elem(&netns, &cookie);
		if (!known)
			return 0;
		d->ifindex = *known;
	}
	config = bpf_map_lookup_elem(&endpoints, &d->ifindex);
	if (!config)
		return 0;
	d->slot = config->slot;
	d->kind = config->kind;
	if (d->kind == ENDPOINT_UPLINK)
		d->direction = d->direction == 2 ? 1 : 2;
	return 1;
}

static __always_inline void count_drop(const struct dropped *d, __u16 reason, __u32 length, struct ledger *l)
{
	struct drop_key key = { .slot = d->slot, .reason = reason, .direction = d->direction };
	struct drop_value fresh = { .packets = 1, .bytes = length }, *known;

	known = bpf_map_lookup_elem(&drop_counters, &key);
	if (known) {
		__sync_fetch_and_add(&known->packets, 1);
		__sync_fetch_and_add(&known->bytes, length);
		return;
	}
	if (!bpf_map_update_elem(&drop_counters, &key, &fresh, BPF_NOEXIST))
		return;
	/* no room, or another CPU was first */
	known = bpf_map_lookup_elem(&drop_counters, &key);
	if (!known) {
		count(l, DROP_COUNTER_FULL, 1);
		return;
	}
	__sync_fetch_and_add(&known->packets, 1);
	__sync_fetch_and_add(&known->bytes, length);
}

/* A flow that no tc program has met: dropped before it came so far. What can be said of it, without an entry. */
static __always_inline void unknown_flow(struct flow_entry *entry, const struct packet *p, const struct dropped *d)
{
	__u8 guessed = 0;

	__builtin_memset(entry, 0, sizeof(*entry));
	entry->opener = p->dir ^ opened_by_receiver(p, &guessed);
	entry->pod_dir = p->key.pod_dir;
	if (d->kind == ENDPOINT_POD)
		entry->state = entry->opener == entry->pod_dir ? STATE_EGRESS : STATE_INGRESS;
	if (guessed)
		entry->state |= STATE_GUESSED;
}

/* @param known whether entry is in the map and outlives this call */
static __always_inline void submit_drop(struct packet *p, struct flow_entry *entry, int known, const struct dropped *d,
					__u16 reason, __u32 location, struct ledger *l)
{
	struct record_facts facts = { .dir = p->dir, .cause = CAUSE_DROP, .l4_info = p->l4_info,
				      .fragment = p->fragment };
	struct flow_event *e;

	count(l, EVENTS_WANTED, 1);
	facts.judged = judge(entry, &p->key, p->dir, KIND_DROP);
	count_judged(facts.judged);
	if (!is_wanted(facts.judged)) {
		count(l, EVENTS_FILTERED, 1);
		return;
	}
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		count(l, EVENTS_RING_FULL, 1);
		if (known)
			__sync_fetch_and_add(&entry->drops, 1);
		return;
	}
	if (d->kind == ENDPOINT_UPLINK)
		facts.point = d->direction == 1 ? POINT_FROM_NETWORK : POINT_TO_NETWORK;
	else
		facts.point = d->direction == 1 ? POINT_TO_ENDPOINT : POINT_FROM_ENDPOINT;
	fill_record(e, &p->key, entry, &facts);
	e->type = EVENT_DROP;
	e->verdict = VERDICT_DROPPED;
	e->drops = 1;
	e->drop_reason = reason;
	e->drop_location = location;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	count(l, EVENTS_SUBMITTED, 1);
}

#define HAS_REASON(name) bpf_core_enum_value_exists(enum skb_drop_reason, name)
#define IS_REASON(number, name)                                                                                        \
	(HAS_REASON(name) &&                                                                                           \
	 (number) == bpf_core_enum_value(enum skb_drop_reason, name))

/*
 * The kernel also frees by kfree_skb what did its work: the last segments of a connection, an echo reply whose copy went
 * to a raw socket, listener reports, keep-alive probes. With every closing connection told as a drop, nobody would find the real ones.
 */
static __always_inline int was_consumed(const struct packet *p, __u32 reason)
{
	if (p->key.protocol == IPPROTO_TCP) {
		/* acknowledged, and left unread when its socket was closed */
		if (IS_REASON(reason, SKB_DROP_REASON_QUEUE_PURGE))
			return 1;
		if (p->l4_info & TCP_SYN || !p->payload || p->payload < p->end)
			return 0;
		/* older kernels (6.1) have one reason for numbers too old, as of the probes below, and too far ahead */
		if (!HAS_REASON(SKB_DROP_REASON_TCP_OLD_SEQUENCE) &&
		    IS_REASON(reason, SKB_DROP_REASON_TCP_INVALID_SEQUENCE))
			return 1;
		/* a keep-alive probe is a sequence number too old on purpose */
		return IS_REASON(reason, SKB_DROP_REASON_NOT_SPECIFIED) ||
		       IS_REASON(reason, SKB_DROP_REASON_TCP_OLD_SEQUENCE) ||
		       IS_REASON(reason, SKB_DROP_REASON_TCP_OLD_DATA) ||
		       IS_REASON(reason, SKB_DROP_REASON_TCP_RESET) || IS_REASON(reason, SKB_DROP_REASON_TCP_CLOSE);
	}
	if (p->key.protocol == IPPROTO_ICMP)
		return p->l4_info >> 8 == 0 && IS_REASON(reason, SKB_DROP_REASON_NO_SOCKET);
	if (p->key.protocol == IPPROTO_ICMPV6) {
		if (IS_REASON(reason, SKB_DROP_REASON_NO_SOCKET))
			return p->l4_info >> 8 == 129;
		if (!IS_REASON(reason, SKB_DROP_REASON_NOT_SPECIFIED))
			return 0;
		/* Kernels without that reason (6.1) free so each echo request and neighbour message that they dealt with. */
		return p->dst_ip[0] == 0xff ||
		       (p->l4_info >> 8 >= 128 && !HAS_REASON(SKB_DROP_REASON_IPV6_NDISC_BAD_CODE));
	}
	return 0;
}

SEC("tp_btf/kfree_skb")
int packet_dropped(unsigned long long *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	void *location = (void *)ctx[1];
	__u32 reason = ctx[2];
	const struct sock *rx_sk = NULL;
	struct scratch *s;
	struct packet *p;
	struct dropped d = {};
	struct cursor c = {};
	struct flow_entry *entry;
	struct ledger *l;
	__u32 length, offset;
	__u16 folded;
	int wrong;

	/* From 6.3 on consume_skb passes here with a reason of its own on some paths: that is no drop. */
	if (IS_REASON(reason, SKB_CONSUMED))
		return 0;
	l = ledger_of_cpu();
	s = scratch_of_cpu();
	if (!l || !s)
		return 0;
	if (sk_skb_reason_drop)
		rx_sk = (void *)ctx[3];
	if (!owner_of(skb, rx_sk, &d)) {
		count(l, PACKETS_DROPPED_FOREIGN, 1);
		return 0;
	}
	folded = fold_reason(reason);
	/* from the IP header on: how much of the link header is still there depends on where it was dropped */
	length = skb->len + (__u32)(skb->data - skb->head) - skb->network_header;
	c.memory = skb->head + skb->network_header;
	p = &s->dropped;
	__builtin_memset(p, 0, sizeof(*p));
	/* behind that, in the buffer, is what earlier packets left: the rest of this one is in its pages */
	c.size = length - skb->data_len;
	wrong = skb->network_header == 0xffff || parse_ip(&c, p, skb->protocol, 0, length);
	if (!wrong && was_consumed(p, reason)) {
		count(l, PACKETS_DROPPED_CONSUMED, 1);
		return 0;
	}
	count(l, PACKETS_DROPPED, 1);
	count_drop(&d, folded, length, l);
	if (wrong) {
		count(l, PACKETS_DROPPED_UNPARSED, 1);
		if (!p->ip_version)
			return 0;
		/* what is wrong with it may be why it was dropped: told with its addresses, without ports */
		p->src_port = 0;
		p->dst_port = 0;
		p->l4_info = 0;
		normalise(p, 0, 0);
	}
	p->key.ifindex = d.ifindex;
	p->key.pod_dir = d.direction == 2 ? p->dir : !p->dir;
	offset = (__u64)location - kernel_base;
	entry = bpf_map_lookup_elem(&flows, &p->key);
	if (entry) {
		submit_drop(p, entry, 1, &d, folded, offset, l);
	} else {
		unknown_flow(&s->dropped_entry, p, &d);
		submit_drop(p, &s->dropped_entry, 0, &d, folded, offset, l);
	}
	return 0;
}
