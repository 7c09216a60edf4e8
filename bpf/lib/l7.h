/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* DNS messages and HTTP/1 heads: captured whole or cut at l7_payload bytes, at most l7_rate_per_cpu a second. */
#ifndef SLUICE_L7_H
#define SLUICE_L7_H

static __always_inline __u8 l7_kind_of_port(__u16 port)
{
	__u32 at = port / L7_PORTS_PER_WORD;
	__u64 *word = bpf_map_lookup_elem(&l7_ports, &at);

	return word ? *word >> (port % L7_PORTS_PER_WORD * 2) & 3 : L7_NONE;
}

/* Asked once, when the flow is made. */
static __always_inline __u8 l7_kind_of_flow(const struct packet *p)
{
	__u8 kind;

	if (p->key.protocol != IPPROTO_TCP && p->key.protocol != IPPROTO_UDP)
		return L7_NONE;
	kind = l7_kind_of_port(p->dst_port);
	if (!kind)
		kind = l7_kind_of_port(p->src_port);
	return kind == L7_HTTP && p->key.protocol != IPPROTO_TCP ? L7_NONE : kind;
}

static __always_inline int take_token(__u64 now)
{
	__u32 zero = 0;
	struct l7_bucket *b = bpf_map_lookup_elem(&l7_tokens, &zero);
	__u64 fresh;

	if (!b)
		return 0;
	/* a tenth of a second's worth at a time, so that a burst may be as large as that */
	if (now - b->refilled_ns >= 100000000ULL) {
		fresh = l7_rate_per_cpu / 10;
		b->tokens = fresh ? fresh : 1;
		b->refilled_ns = now;
	}
	if (!b->tokens)
		return 0;
	b->tokens--;
	return 1;
}

/* Methods and the response line start with these four bytes; bodies and TLS do not. */
static __always_inline int starts_http(__u32 first)
{
	switch (bpf_ntohl(first)) {
	case 0x47455420: /* GET_ */
	case 0x504f5354: /* POST */
	case 0x50555420: /* PUT_ */
	case 0x48454144: /* HEAD */
	case 0x44454c45: /* DELE */
	case 0x4f505449: /* OPTI */
	case 0x50415443: /* PATC */
	case 0x434f4e4e: /* CONN */
	case 0x54524143: /* TRAC */
	case 0x48545450: /* HTTP */
		return 1;
	}
	return 0;
}

static __always_inline void capture_l7(struct __sk_buff *skb, struct packet *p, struct flow_entry *entry,
				       struct record_facts *facts, struct ledger *l, __u64 now)
{
	struct scratch *s;
	__u32 length, first;

	if (!p->payload || p->payload >= p->end || p->end > skb->len)
		return;
	length = p->end - p->payload;
	if (entry->l7_kind == L7_HTTP) {
		if (length < 16 || bpf_skb_load_bytes(skb, p->payload, &first, 4) || !starts_http(first))
			return;
	} else if (length < 12) {
		return;
	}
	if (p->key.protocol == IPPROTO_TCP) {
		/* a segment sent again carries nothing new */
		__u32 seen = entry->l7_seq[p->dir & 1];

		if (seen && (__s32)(p->tcp_seq - seen) < 0)
			return;
		entry->l7_seq[p->dir & 1] = p->tcp_seq + length;
	}
	count(l, EVENTS_WANTED, 1);
	facts->judged = judge(entry, &p->key, p->dir, entry->l7_kind == L7_DNS ? KIND_DNS : KIND_HTTP);
	count_judged(facts->judged);
	if (!is_wanted(facts->judged)) {
		count(l, EVENTS_FILTERED, 1);
		return;
	}
	if (!take_token(now)) {
		count(l, EVENTS_L7_LIMITED, 1);
		return;
	}
	s = scratch_of_cpu();
	if (!s)
		return;
	if (length > l7_payload) {
		length = l7_payload;
		count(l, L7_TRUNCATED, 1);
	}
	if (length > L7_PAYLOAD_MAX)
		length = L7_PAYLOAD_MAX;
	if (length < 4 || bpf_skb_load_bytes(skb, p->payload, s->payload, length)) {
		count(l, EVENTS_FILTERED, 1);
		return;
	}
	fill_record(&s->event, &p->key, entry, facts);
	s->event.type = entry->l7_kind == L7_DNS ? EVENT_DNS : EVENT_HTTP;
	s->event.cause = CAUSE_L7;
	s->event.l4_info = p->l4_info;
	s->event.size = sizeof(s->event) + length;
	s->event.payload_len = length;
	/* event and payload lie side by side in scratch */
	if (bpf_ringbuf_output(&events, &s->event, sizeof(s->event) + length, BPF_RB_NO_WAKEUP))
		count(l, EVENTS_RING_FULL, 1);
	else
		count(l, EVENTS_SUBMITTED, 1);
}

#endif
