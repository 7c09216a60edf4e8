/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * tc programs, on the host side of each pod's veth and on uplinks, both directions. Attached first in the chain, they
 * only look: every packet goes on with TCX_NEXT, whatever was found.
 *
 *   1. parse (lib/parse.h); what is not a good IP packet is counted by class and left alone
 *   2. find or make the flow's entry, add the packet to it
 *   3. decide whether this packet is worth a record; if so, submit what has come since the last one
 *   4. DNS and HTTP flows: capture the payload (lib/l7.h)
 */

/*
 * The parser as a function of its own: the verifier walks its many paths once, by themselves, and not each of them
 * together with all that follows: a fifth of the instructions, of which older kernels find many more than new ones.
 */
__noinline int parse_packet(struct __sk_buff *skb, struct packet *p, __u32 has_ethernet)
{
	if (!p)
		return PACKETS_MALFORMED_L2;
	return parse_frame(skb, p, has_ethernet);
}

/* Where a program is attached; constant in each SEC() function, so that its branches vanish. */
struct hook {
	__u8 kind;         /* enum endpoint_kind */
	__u8 outward;      /* 1: the packet leaves the endpoint (pod), or the node (uplink) */
	__u8 has_ethernet;
	__u8 point;        /* enum observation_point */
};

static __always_inline void count_endpoint(__u32 slot, const struct hook *hook, __u32 length)
{
	struct endpoint_counters *c = bpf_map_lookup_elem(&endpoint_counters, &slot);

	if (!c)
		return;
	if (hook->outward) {
		c->egress_packets++;
		c->egress_bytes += length;
	} else {
		c->ingress_packets++;
		c->ingress_bytes += length;
	}
}

static __always_inline __u32 slot_of(__u32 ifindex)
{
	struct endpoint_config *config = bpf_map_lookup_elem(&endpoints, &ifindex);

	return config ? config->slot : 0;
}

/*
 * Who opened the flow, from its first packet: 0 = the sender did, 1 = the receiver, so this is a reply. A SYN or an
 * echo request says it; met mid-stream, the side with the port that servers have is taken for the responder.
 */
static __always_inline int opened_by_receiver(const struct packet *p, __u8 *guessed)
{
	__u8 protocol = p->key.protocol;

	if (p->fragment == 2) {
		*guessed = 1;
		return 0;
	}
	if (protocol == IPPROTO_TCP) {
		if ((p->l4_info & (TCP_SYN | TCP_ACK)) == TCP_SYN)
			return 0;
		if ((p->l4_info & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK))
			return 1;
		*guessed = 1;
		return p->src_port < p->dst_port && (p->src_port < 1024 || p->dst_port >= 32768);
	}
	if (protocol == IPPROTO_ICMP)
		return (p->l4_info >> 8) == 0;
	if (protocol == IPPROTO_ICMPV6)
		return (p->l4_info >> 8) == 129;
	/* The first datagram is the opener's, unless it comes from a well-known port to one that clients get. */
	if (p->src_port && p->src_port < 1024 && p->dst_port >= 1024) {
		*guessed = 1;
		return 1;
	}
	return 0;
}

/* CLOCK_BOOTTIME, read once a packet at most. */
static __always_inline __u64 boot_time(__u64 *known)
{
	if (!*known)
		*known = bpf_ktime_get_boot_ns();
	return *known;
}

/* Fills the entry for a first packet, in this CPU's scratch. */
static __always_inline void prepare_flow(struct __sk_buff *skb, struct flow_entry *entry, const struct packet *p,
					 const struct hook *hook, __u32 slot, __u64 boot_ns)
{
	struct cursor c = { .skb = skb };
	__u8 guessed = 0, mac[12];

	__builtin_memset(entry, 0, sizeof(*entry));
	entry->first_seen_ns = boot_ns;
	entry->slot = slot;
	entry->opener = p->dir ^ opened_by_receiver(p, &guessed);
	entry->pod_dir = p->key.pod_dir;
	if (guessed)
		entry->state |= STATE_GUESSED;
	if (hook->kind == ENDPOINT_POD)
		entry->state |= entry->opener == entry->pod_dir ? STATE_EGRESS : STATE_INGRESS;
	entry->verdict = VERDICT_FORWARDED;
	entry->vlan = p->vlan;
	entry->l7_kind = l7_kind_of_flow(p);
	if (hook->has_ethernet && !read_at(&c, 0, mac, sizeof(mac))) {
		__builtin_memcpy(p->dir ? entry->mac_a : entry->mac_b, mac, 6);
		__builtin_memcpy(p->dir ? entry->mac_b : entry->mac_a, mac + 6, 6);
	}
}

/* A SYN on a connection that has ended: the ports are used again, and this is a new flow in the old entry. */
static __always_inline void reopen(struct flow_entry *entry, const struct packet *p, const struct hook *hook,
				   __u64 boot_ns)
{
	entry->flags_seen[0] = 0;
	entry->flags_seen[1] = 0;
	entry->closed = 0;
	entry->rtt_us = 0;
	entry->srtt_us = 0;
	entry->syn_ns = 0;
	entry->l7_seq[0] = 0;
	entry->l7_seq[1] = 0;
	entry->last_report_ns[0] = 0;
	entry->last_report_ns[1] = 0;
	entry->opener = p->dir;
	entry->first_seen_ns = boot_ns;
	entry->state = 0;
	if (hook->kind == ENDPOINT_POD)
		entry->state = entry->opener == entry->pod_dir ? STATE_EGRESS : STATE_INGRESS;
}

/* SYN to the ACK that answers its SYN-ACK: the whole round trip, wherever between the two ends it is looked at. */
static __always_inline void time_handshake(struct flow_entry *entry, const struct packet *p, __u64 *boot_ns)
{
	if (p->l4_info & TCP_SYN) {
		if (!(p->l4_info & TCP_ACK))
			entry->syn_ns = boot_time(boot_ns);
		return;
	}
	if (entry->syn_ns && p->dir == entry->opener && (entry->flags_seen[!p->dir] & TCP_SYN)) {
		__u64 rtt = boot_time(boot_ns) - entry->syn_ns;

		entry->rtt_us = rtt < 1000 ? 1 : rtt / 1000 > 0xffffffffULL ? 0xffffffff : rtt / 1000;
		entry->syn_ns = 0;
	}
}

/* Control chunks of SCTP play the part of TCP's flags. */
static __always_inline __u8 sctp_flag(__u16 chunk)
{
	switch (chunk) {
	case 1:
		return 0x02; /* INIT */
	case 2:
		return 0x40; /* INIT ACK */
	case 6:
		return 0x04; /* ABORT */
	case 7:
		return 0x01; /* SHUTDOWN */
	case 8:
		return 0x20; /* SHUTDOWN ACK */
	case 14:
		return 0x08; /* SHUTDOWN COMPLETE */
	}
	return 0;
}

/*
 * Two CPUs may do so at the same time, as both FINs of a connection or the segments of a burst come. Each flag is new
 * for one of them only, and no bit is lost: at the width of four bytes, the least that an atomic operation has.
 * @return flags that this direction had not shown before
 */
static __always_inline __u8 show_flags(struct flow_entry *entry, __u8 dir, __u8 flags)
{
	__u32 shift = dir ? 8 : 0;
	__u32 before = __sync_fetch_and_or((__u32 *)entry->flags_seen, (__u32)flags << shift);

	return flags & ~(before >> shift);
}
_Static_assert(__builtin_offsetof(struct flow_entry, flags_seen) % 4 == 0, "flags_seen begins a word");

static __always_inline void close_flow(struct flow_entry *entry, __u32 how)
{
	__sync_fetch_and_or((__u32 *)&entry->closed, how);
}
_Static_assert(__builtin_offsetof(struct flow_entry, closed) % 4 == 0, "closed begins a word");

/* @return flags of this packet, folded to 8 bits, that its direction had not shown before */
static __always_inline __u8 new_flags(struct flow_entry *entry, const struct packet *p, const struct hook *hook,
				      __u64 *boot_ns)
{
	__u8 dir = p->dir & 1, flags, fresh;

	if (p->key.protocol == IPPROTO_SCTP) {
		flags = sctp_flag(p->l4_info);
		fresh = flags & ~entry->flags_seen[dir];
		if (fresh)
			fresh = show_flags(entry, dir, flags);
		if (flags & 0x0c)
			close_flow(entry, 4);
		entry->l7_seq[dir] = p->l4_info;
		return fresh ? 0x07 : 0; /* any new control chunk is told */
	}
	if (p->key.protocol != IPPROTO_TCP) {
		if (p->l4_info)
			entry->l7_seq[dir] = p->l4_info;
		return 0;
	}
	flags = p->l4_info;
	if (flags & (TCP_SYN | TCP_FIN | TCP_RST)) {
		if ((flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && (entry->closed & 4 || entry->closed == 3))
			reopen(entry, p, hook, boot_time(boot_ns));
		if (flags & TCP_FIN)
			close_flow(entry, 1 << dir);
		if (flags & TCP_RST)
			close_flow(entry, 4);
	}
	if ((flags & TCP_SYN) || entry->syn_ns)
		time_handshake(entry, p, boot_ns);
	fresh = flags & ~entry->flags_seen[dir];
	return fresh ? show_flags(entry, dir, flags) : 0;
}

static __always_inline __u8 cause_of(const struct flow_entry *entry, const struct packet *p, __u8 fresh, __u64 sum,
				     __u64 now)
{
	__u64 last = entry->last_report_ns[p->dir & 1];

	if (!last)
		return entry->last_report_ns[!p->dir] ? CAUSE_FIRST_REPLY : CAUSE_NEW;
	if (fresh & report_flags)
		return CAUSE_TCP_FLAG;
	/* signed: the sweep's exact clock may be ahead of the coarse one */
	if ((__s64)(now - last) >= (__s64)aggregation_interval_ns)
		return CAUSE_INTERVAL;
	if (sum >= UNREPORTED_SOON || (sum & UNREPORTED_BYTES) >= UNREPORTED_BYTES_SOON)
		return CAUSE_COUNTER;
	return per_packet ? CAUSE_PACKET : CAUSE_NONE;
}

/*
 * While the table is full the entry goes first and its record later: a record that is reserved and then discarded takes
 * its room in the ring all the same, and a flood of new flows would fill the ring with nothing. What follows finds the
 * entry in the table, or does not.
 */
static __always_inline void insert_bare(struct packet *p, struct scratch *s, struct ledger *l, __u64 now)
{
	s->entry.last_seen_ns = now;
	if (bpf_map_update_elem(&flows, &p->key, &s->entry, BPF_NOEXIST))
		s->table_full_ns = now;
	else
		count_tc(l, FLOWS_CREATED, 1);
}

/*
 * A flow's first packet: counted in the entry, and told, before the entry is in the table. That saves what the ordinary
 * path would pay once more: a look-up, and atomic operations on memory that no cache has.
 * @return 0, or -1 when the table is full or another CPU was first; then nothing was counted
 */
static __always_inline int insert_flow(struct packet *p, struct scratch *s, struct record_facts *facts,
				       struct ledger *l, __u32 length, __u64 now)
{
	struct flow_entry *entry = &s->entry;
	struct flow_event *e = NULL;

	entry->last_seen_ns = now;
	entry->last_report_ns[p->dir & 1] = now;
	facts->judged = judge(entry, &p->key, p->dir, flow_kind(&p->key, facts->l4_info));
	if (is_wanted(facts->judged))
		e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (e) {
		fill_record(e, &p->key, entry, facts);
		e->packets = 1;
		e->bytes = length;
	} else {
		entry->unreported[p->dir & 1] = (1ULL << UNREPORTED_SHIFT) + length;
	}
	if (bpf_map_update_elem(&flows, &p->key, entry, BPF_NOEXIST)) {
		s->table_full_ns = now;
		if (e)
			bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		return -1;
	}
	count(l, EVENTS_WANTED, 1);
	count_judged(facts->judged);
	if (e) {
		bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
		count(l, EVENTS_SUBMITTED, 1);
		count(l, PACKETS_REPORTED, 1);
		count(l, BYTES_REPORTED, length);
	} else {
		count(l, is_wanted(facts->judged) ? EVENTS_RING_FULL : EVENTS_FILTERED, 1);
	}
	count_tc(l, FLOWS_CREATED, 1);
	return 0;
}

/* @return 1 when the packet may be added to the entry, 0 when the sweep is removing it */
static __always_inline int keep_alive(struct flow_entry *entry)
{
	if (entry->phase == PHASE_LIVE)
		return 1;
	if (entry->phase == PHASE_DYING &&
	    __sync_val_compare_and_swap(&entry->phase, PHASE_DYING, PHASE_LIVE) == PHASE_DYING)
		return 1;
	return entry->phase == PHASE_LIVE;
}

static __always_inline void count_class(struct ledger *l, struct packet *p)
{
	if (p->fragment) {
		count_tc(l, PACKETS_FRAGMENT, 1);
		if (p->fragment == 2)
			count_tc(l, PACKETS_FRAGMENT_UNKNOWN, 1);
		if (p->fragment_lost)
			count_tc(l, FRAGMENT_TABLE_FULL, 1);
	}
	if (p->vlan)
		count_tc(l, PACKETS_VLAN, 1);
}

static __always_inline int observe(struct __sk_buff *skb, const struct hook hook)
{
	struct ledger *l = ledger_of_cpu();
	struct packet p __attribute__((aligned(8))) = {};
	struct record_facts facts = {};
	struct flow_entry *entry;
	__u32 slot, length = skb->len;
	__u64 now, sum;
	__u8 fresh;
	__u32 wrong;

	if (!l)
		return TCX_NEXT;
	count_tc(l, PACKETS_SEEN, 1);
	count_tc(l, BYTES_SEEN, length);
	wrong = parse_packet(skb, &p, hook.has_ethernet);
	if (wrong) {
		count_endpoint(slot_of(skb->ifindex), &hook, length);
		/* one register for the check and the index, which the verifier wants to see */
		barrier_var(wrong);
		if (wrong < LEDGER_COUNTERS)
			count_tc(l, wrong, 1);
		return TCX_NEXT;
	}
	p.key.ifindex = skb->ifindex;
	p.key.pod_dir = hook.outward ? p.dir : !p.dir;
	if (p.fragment || p.vlan)
		count_class(l, &p);

	facts.dir = p.dir;
	facts.point = hook.point;
	facts.l4_info = p.l4_info;
	facts.fragment = p.fragment;
	now = coarse_now(l);
	entry = bpf_map_lookup_elem(&flows, &p.key);
	if (!entry) {
		struct scratch *s = scratch_of_cpu();

		if (!s)
			return TCX_NEXT;
		slot = slot_of(skb->ifindex);
		count_endpoint(slot, &hook, length);
		prepare_flow(skb, &s->entry, &p, &hook, slot, boot_time(&facts.boot_ns));
		new_flags(&s->entry, &p, &hook, &facts.boot_ns);
		facts.cause = CAUSE_NEW;
		facts.trace_reason = p.icmp_error ? TRACE_REASON_RELATED : TRACE_REASON_NEW;
		if (s->table_full_ns == now) {
			insert_bare(&p, s, l, now);
		} else if (!insert_flow(&p, s, &facts, l, length, now)) {
			count_tc(l, PACKETS_FLOW, 1);
			count_tc(l, BYTES_FLOW, length);
			entry = &s->entry;
			goto payload;
		}
		/* ours, without the packet; or another CPU was first, and its entry is as good */
		entry = bpf_map_lookup_elem(&flows, &p.key);
		if (!entry) {
			count_tc(l, PACKETS_TABLE_FULL, 1);
			count_tc(l, BYTES_TABLE_FULL, length);
			return TCX_NEXT;
		}
	} else {
		count_endpoint(entry->slot, &hook, length);
	}
	if (!keep_alive(entry)) {
		count_tc(l, PACKETS_CLOSING, 1);
		count_tc(l, BYTES_CLOSING, length);
		return TCX_NEXT;
	}
	if (entry->last_seen_ns != now)
		entry->last_seen_ns = now;
	sum = __sync_fetch_and_add(&entry->unreported[p.dir & 1], (1ULL << UNREPORTED_SHIFT) + length);
	count_tc(l, PACKETS_FLOW, 1);
	count_tc(l, BYTES_FLOW, length);
	fresh = new_flags(entry, &p, &hook, &facts.boot_ns);

	facts.cause = cause_of(entry, &p, fresh, sum, now);
	facts.trace_reason = p.icmp_error			       ? TRACE_REASON_RELATED
			     : facts.cause == CAUSE_NEW		       ? TRACE_REASON_NEW
			     : p.dir == entry->opener		       ? TRACE_REASON_ESTABLISHED
								       : TRACE_REASON_REPLY;
	if (facts.cause) {
		/* also when the ring is full: the next chance is the next interval, not the next packet */
		entry->last_report_ns[p.dir & 1] = now;
		submit_flow_record(&p.key, entry, &facts, l);
	}
payload:
	if (entry->l7_kind)
		capture_l7(skb, &p, entry, &facts, l, now);
	return TCX_NEXT;
}

#define HOOK(name, kind_, outward_, ethernet_, point_)                                                                 \
	SEC("tc")                                                                                                      \
	int name(struct __sk_buff *skb)                                                                                \
	{                                                                                                              \
		const struct hook hook = {                                                                             \
			.kind = kind_, .outward = outward_, .has_ethernet = ethernet_, .point = point_                 \
		};                                                                                                     \
		return observe(skb, hook);                                                                             \
	}

HOOK(pod_egress, ENDPOINT_POD, 1, 1, POINT_TO_STACK)      /* tc ingress of the host side: from the pod */
HOOK(pod_ingress, ENDPOINT_POD, 0, 1, POINT_TO_ENDPOINT)  /* tc egress of the host side: to the pod */
HOOK(uplink_ingress, ENDPOINT_UPLINK, 0, 1, POINT_FROM_NETWORK)
HOOK(uplink_egress, ENDPOINT_UPLINK, 1, 1, POINT_TO_NETWORK)
HOOK(uplink_ingress_l3, ENDPOINT_UPLINK, 0, 0, POINT_FROM_NETWORK) /* devices without a link header */
HOOK(uplink_egress_l3, ENDPOINT_UPLINK, 1, 0, POINT_TO_NETWORK)
