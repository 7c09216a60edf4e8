/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Records: from a flow's entry into the ring, with everything counted since the last one. */
#ifndef SLUICE_RECORD_H
#define SLUICE_RECORD_H

/* What a caller knows beyond the entry. */
struct record_facts {
	__u8 dir;
	__u8 cause;
	__u8 point;
	__u8 trace_reason;
	__u16 l4_info;
	__u8 fragment;
	struct judgement judged;
	__u64 boot_ns; /* CLOCK_BOOTTIME where the caller has read it already, 0 else: it is the dearest helper */
};

/*
 * Takes what is unreported in one direction, as far as the record's fields are wide: a rest of bytes goes back.
 * @return packets << 40 | bytes, bytes below 2^32
 */
static __always_inline __u64 take_unreported(__u64 *unreported)
{
	__u64 taken = __sync_lock_test_and_set(unreported, 0);

	if ((taken & UNREPORTED_BYTES) > 0xffffffffULL) {
		__u64 rest = (taken & UNREPORTED_BYTES) - 0xffffffffULL;

		__sync_fetch_and_add(unreported, rest);
		taken -= rest;
	}
	return taken;
}

/* What is unreported in one direction leaves the table without a record: a loss, or what nobody wanted. */
static __always_inline void give_up(__u64 *unreported, int wanted, struct ledger *l)
{
	__u64 sum = __sync_lock_test_and_set(unreported, 0);

	count(l, wanted ? PACKETS_UNREPORTED : PACKETS_FILTERED, sum >> UNREPORTED_SHIFT);
	count(l, wanted ? BYTES_UNREPORTED : BYTES_FILTERED, sum & UNREPORTED_BYTES);
}

/*
 * There is no record now, and the sum comes near its width: it cannot wait for the next one. What nobody wants goes as
 * soon as it would have made a record, or each packet from there on would be judged.
 */
static __always_inline void spill_unreported(struct flow_entry *entry, int wanted, struct ledger *l)
{
	for (int dir = 0; dir < 2; dir++) {
		__u64 sum = entry->unreported[dir];
		__u64 limit = wanted ? UNREPORTED_LIMIT : UNREPORTED_SOON;
		__u64 bytes_limit = wanted ? UNREPORTED_BYTES_LIMIT : UNREPORTED_BYTES_SOON;

		if (sum >= limit || (sum & UNREPORTED_BYTES) >= bytes_limit)
			give_up(&entry->unreported[dir], wanted, l);
	}
}

static __always_inline __u8 state_of(const struct flow_entry *entry, __u8 dir)
{
	__u8 state = entry->state | STATE_REPLY_KNOWN;

	if (dir != entry->opener)
		state |= STATE_REPLY;
	if (dir == entry->pod_dir)
		state |= STATE_FROM_POD;
	return state;
}

/* Everything but counters: addresses in the packet's direction, what the entry knows. */
static __always_inline void fill_record(struct flow_event *e, const struct flow_key *key,
					const struct flow_entry *entry, const struct record_facts *facts)
{
	__u8 dir = facts->dir;

	e->time_ns = facts->boot_ns ? facts->boot_ns : bpf_ktime_get_boot_ns();
	e->size = sizeof(*e);
	e->type = EVENT_FLOW;
	e->version = EVENT_VERSION;
	e->cpu = bpf_get_smp_processor_id();
	e->vlan = entry->vlan;
	if (dir) {
		copy16(e->src_ip, key->b_ip);
		copy16(e->dst_ip, key->a_ip);
		copy6(e->src_mac, entry->mac_b);
		copy6(e->dst_mac, entry->mac_a);
		e->src_port = key->b_port;
		e->dst_port = key->a_port;
		e->src_identity = entry->identity[1];
		e->dst_identity = entry->identity[0];
	} else {
		copy16(e->src_ip, key->a_ip);
		copy16(e->dst_ip, key->b_ip);
		copy6(e->src_mac, entry->mac_a);
		copy6(e->dst_mac, entry->mac_b);
		e->src_port = key->a_port;
		e->dst_port = key->b_port;
		e->src_identity = entry->identity[0];
		e->dst_identity = entry->identity[1];
	}
	e->protocol = key->protocol;
	if (key->protocol == IPPROTO_ICMP || key->protocol == IPPROTO_ICMPV6) {
		/* in the key the echo identifier stood for them */
		e->src_port = 0;
		e->dst_port = 0;
	}
	e->ip_version = is_ipv4(key) ? 4 : 6;
	e->l4_info = facts->l4_info;
	e->ifindex = key->ifindex;
	e->verdict = VERDICT_FORWARDED;
	e->point = facts->point;
	e->cause = facts->cause;
	e->state = state_of(entry, dir) | (facts->fragment ? STATE_FRAGMENT : 0);
	e->drop_location = 0;
	e->drop_reason = 0;
	e->hubble_reason = 0;
	e->trace_reason = facts->trace_reason;
	e->rtt_us = entry->rtt_us;
	e->srtt_us = entry->srtt_us;
	e->retransmits = 0;
	e->drops = 0;
	e->consumers = facts->judged.consumers;
	e->rule = entry->rule;
	e->payload_len = 0;
	e->packets = 0;
	e->reply_packets = 0;
	e->bytes = 0;
	e->reply_bytes = 0;
}

/* What came of a record. But for SUBMITTED the packets stay in the entry and go with the next one. */
enum submission {
	SUBMITTED = 0,
	RING_FULL = 1,
	UNWANTED = 2, /* no consumer wants it */
};

/* @param facts judged */
static __always_inline enum submission submit_judged(struct flow_key *key, struct flow_entry *entry,
						     const struct record_facts *facts, struct ledger *l)
{
	struct flow_event *e;
	__u64 mine, other;
	__u32 n;

	count(l, EVENTS_WANTED, 1);
	count_judged(facts->judged);
	if (!is_wanted(facts->judged)) {
		count(l, EVENTS_FILTERED, 1);
		spill_unreported(entry, 0, l);
		return UNWANTED;
	}
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		count(l, EVENTS_RING_FULL, 1);
		spill_unreported(entry, 1, l);
		return RING_FULL;
	}
	fill_record(e, key, entry, facts);
	mine = take_unreported(&entry->unreported[facts->dir & 1]);
	other = take_unreported(&entry->unreported[!facts->dir]);
	e->packets = mine >> UNREPORTED_SHIFT;
	e->bytes = mine & UNREPORTED_BYTES;
	e->reply_packets = other >> UNREPORTED_SHIFT;
	e->reply_bytes = other & UNREPORTED_BYTES;
	count(l, PACKETS_REPORTED, e->packets + e->reply_packets);
	count(l, BYTES_REPORTED, (__u64)e->bytes + e->reply_bytes);
	if (entry->retransmits | entry->drops) {
		n = __sync_lock_test_and_set(&entry->retransmits, 0);
		e->retransmits = saturate16(n);
		n = __sync_lock_test_and_set(&entry->drops, 0);
		e->drops = saturate16(n);
	}
	/* The agent comes every 10 ms by itself; a wake-up for each record costs the sender microseconds. */
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	count(l, EVENTS_SUBMITTED, 1);
	return SUBMITTED;
}

static __always_inline enum submission submit_flow_record(struct flow_key *key, struct flow_entry *entry,
							  struct record_facts *facts, struct ledger *l)
{
	facts->judged = judge(entry, key, facts->dir, flow_kind(key, facts->l4_info));
	return submit_judged(key, entry, facts, l);
}

#endif
