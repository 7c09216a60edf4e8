/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Who wants an event: the consumers' filters, judged here so that what nobody wants never leaves the kernel. The tables
 * are described in maps.h. An event whose flow was judged before under the same rules costs a comparison, a look-up in
 * an array and an addition; evaluate() is for the first event of each direction after the rules or its ends changed.
 */
#ifndef SLUICE_FILTER_H
#define SLUICE_FILTER_H

#define CONSUMER_FLAGS (1U << CONSUMER_BIT_UNDECIDED | 1U << CONSUMER_BIT_SET)

/* What judge() found. */
struct judgement {
	__u32 consumers; /* flow_event.consumers */
	__u32 counted;   /* where count_judged() counts: 0, or index of filter_counts and kind + 1 */
};

/* @return whether any consumer wants the event, flags aside */
static __always_inline int is_wanted(struct judgement j)
{
	return (j.consumers & ~CONSUMER_FLAGS) != 0;
}

/* Kind of a flow record, as user space tells it from the record: by protocol and flags. */
static __always_inline enum event_kind flow_kind(const struct flow_key *key, __u16 l4_info)
{
	return key->protocol == IPPROTO_TCP && l4_info & (TCP_SYN | TCP_FIN | TCP_RST) ? KIND_TCP_FLAG : KIND_FLOW;
}

/* @return generation | enabled << 32, read at once */
static __always_inline __u64 read_filter_state(void)
{
	__u32 zero = 0;
	struct filter_state *state = bpf_map_lookup_elem(&filter_state, &zero);

	return state ? *(volatile __u64 *)state : 0;
}

static __always_inline int is_enabled(__u64 state)
{
	return state >> 32 != 0;
}

/* Who wants an event of the entry's flow in this direction. Counts nothing: see count_judged(). */
static __always_inline struct judgement judge(struct flow_entry *entry, struct flow_key *key, __u8 dir,
					      enum event_kind kind)
{
	struct judgement j = { .consumers = default_consumers };
	__u64 state = read_filter_state();
	__u32 generation = state, word, id, index;
	struct filter_match *match;

	if (!is_enabled(state))
		return j;
	word = *(volatile __u32 *)(dir & 1 ? &entry->filter[1] : &entry->filter[0]);
	id = word & MATCH_ID_MASK;
	if (id == MATCH_NONE || (word ^ filter_tag(generation, entry->state)) >> FILTER_LIMIT_MATCH_BITS)
		id = evaluate(entry, key, dir, generation) & MATCH_ID_MASK;
	index = (generation & 1) << FILTER_LIMIT_MATCH_BITS | id;
	match = bpf_map_lookup_elem(&filter_matches, &index);
	if (match) {
		j.consumers = match->consumers[kind & (EVENT_KINDS - 1)];
		j.counted = index << 8 | (kind + 1);
	}
	return j;
}

/* Once an event that was judged, whether it was kept or left out. */
static __always_inline void count_judged(struct judgement j)
{
	__u32 index = j.counted >> 8, kind = (j.counted & 0xff) - 1;
	struct filter_count *c;

	if (!j.counted)
		return;
	c = bpf_map_lookup_elem(&filter_counts, &index);
	/* atomically, as the ledger's: a tracepoint may come in between on the same CPU */
	if (c && kind < EVENT_KINDS)
		__sync_fetch_and_add(&c->events[kind & (EVENT_KINDS - 1)], 1);
}

#endif
