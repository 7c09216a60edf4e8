/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The sweep: run by the agent every second, it walks the flow table in the kernel. Flows with something unreported and
 * an interval gone by are told; idle and closed ones are marked in one sweep and removed in the next. The agent waits out
 * a grace period before each sweep, so that no program can still be adding to an entry that it found before the mark.
 */

struct bpf_map;

struct sweep {
	__u64 tcp_idle_ns;
	__u64 other_idle_ns;
	__u64 closed_idle_ns;
	struct ledger *l;
	struct scratch *scratch;
	__u64 keep_unreported;
	__u64 refresh_slots;
	__u64 ring_full_before;  /* EVENTS_RING_FULL of this CPU when the sweep began */
	__u64 now;
	__u64 filter_state;
	__u64 entries;
	__u64 open_packets;
	__u64 open_bytes;
	__u64 removed;
	__u64 reported;
};

static __always_inline __u64 idle_limit(const struct sweep *s, const struct flow_key *key,
					const struct flow_entry *entry)
{
	if (entry->closed & 4 || entry->closed == 3)
		return s->closed_idle_ns;
	return key->protocol == IPPROTO_TCP ? s->tcp_idle_ns : s->other_idle_ns;
}

/*
 * What a record says of packets that came in part long ago. TCP: SYN, FIN and RST were told when they came, so what came
 * since then had none of them, unless SYNs are all that ever came. ICMP and SCTP: the last message of this direction.
 */
static __always_inline __u16 last_l4_info(const struct flow_key *key, const struct flow_entry *entry, __u8 dir)
{
	__u8 flags = dir ? entry->flags_seen[1] : entry->flags_seen[0];
	__u8 told = TCP_SYN | TCP_FIN | TCP_RST;

	if (key->protocol == IPPROTO_TCP)
		return flags & ~told ? flags & ~told : flags;
	return dir ? entry->l7_seq[1] : entry->l7_seq[0];
}

/*
 * Whether the ring was found full since the sweep began: the rest need not try. By the counter, as older
 * verifiers (6.1's) take a flag in struct sweep, 0 at the start, for 0 in each call, and remove the branch.
 */
static __always_inline int ring_is_full(const struct sweep *s)
{
	return s->l->count[EVENTS_RING_FULL] != s->ring_full_before;
}

static __always_inline __u64 last_report(const struct flow_entry *entry)
{
	return entry->last_report_ns[0] > entry->last_report_ns[1] ? entry->last_report_ns[0]
								   : entry->last_report_ns[1];
}

/*
 * What the entry remembers of rules that are no longer in force goes: their number comes again after 2^18 others. All of
 * it while nothing is judged, as the next rules may be numbered anew.
 */
static __always_inline void forget_stale(const struct sweep *s, struct flow_entry *entry)
{
	__u32 tag = filter_tag(s->filter_state, entry->state);

	for (int dir = 0; dir < 2; dir++) {
		__u32 word = entry->filter[dir];

		if (word && (!is_enabled(s->filter_state) || (word ^ tag) >> FILTER_LIMIT_MATCH_BITS))
			entry->filter[dir] = 0;
	}
}

/* @return SUBMITTED also when there was nothing to tell */
static __always_inline enum submission report(struct sweep *s, const struct flow_key *in_map, struct flow_entry *entry,
					      __u8 cause)
{
	struct record_facts facts = { .cause = cause };
	struct flow_key *key = &s->scratch->swept; /* a copy: no function takes a pointer into a map's keys */
	__u64 told = last_report(entry);
	enum submission done;
	__u8 dir = entry->opener & 1;

	if (!entry->unreported[dir])
		dir ^= 1;
	if (!entry->unreported[dir] && !entry->drops && !entry->retransmits)
		return SUBMITTED;
	*key = *in_map;
	facts.dir = dir;
	if (entry->state & (STATE_EGRESS | STATE_INGRESS))
		facts.point = dir == entry->pod_dir ? POINT_TO_STACK : POINT_TO_ENDPOINT;
	else
		facts.point = dir == entry->pod_dir ? POINT_TO_NETWORK : POINT_FROM_NETWORK;
	facts.l4_info = last_l4_info(key, entry, dir);
	facts.trace_reason = dir == entry->opener ? TRACE_REASON_ESTABLISHED : TRACE_REASON_REPLY;
	facts.judged = judge(entry, key, dir, flow_kind(key, facts.l4_info));
	if (is_wanted(facts.judged) && s->keep_unreported && ring_is_full(s))
		return RING_FULL;
	entry->last_report_ns[dir] = s->now;
	/* What nobody wants stays unreported: where nothing new has come there would have been no event. */
	if (!is_wanted(facts.judged) && entry->last_seen_ns <= told)
		return UNWANTED;
	done = submit_judged(key, entry, &facts, s->l);
	if (done == SUBMITTED)
		s->reported++;
	return done;
}

/* @return 0 when the flow stays: a packet revived it, or it has something to tell and the ring no room */
static __always_inline int remove_flow(struct sweep *s, struct bpf_map *map, struct flow_key *key,
				       struct flow_entry *entry)
{
	enum submission done;

	if (entry->phase != PHASE_DEAD) {
		if (__sync_val_compare_and_swap(&entry->phase, PHASE_DYING, PHASE_DEAD) != PHASE_DYING)
			return 0;
		done = report(s, key, entry, CAUSE_CLOSE);
		if (done == RING_FULL && s->keep_unreported) {
			entry->phase = PHASE_DYING;
			return 0;
		}
		/* nobody wants it; or a loss: the ring is full, or it is more than a record can carry */
		give_up(&entry->unreported[0], done != UNWANTED, s->l);
		give_up(&entry->unreported[1], done != UNWANTED, s->l);
	}
	/* refused only when the bucket is locked on this very CPU: the next sweep finds it dead and tries again */
	if (!bpf_map_delete_elem(map, key)) {
		count(s->l, FLOWS_REMOVED, 1);
		s->removed++;
	}
	return 1;
}

static long sweep_flow(struct bpf_map *map, struct flow_key *key, struct flow_entry *entry, struct sweep *s)
{
	__u64 idle = s->now - entry->last_seen_ns;

	s->entries++;
	forget_stale(s, entry);
	if (s->refresh_slots) {
		__u32 slot = slot_of(key->ifindex);

		if (entry->slot != slot)
			entry->slot = slot;
	}
	if ((__s64)idle < 0)
		idle = 0;
	if (entry->phase != PHASE_LIVE && remove_flow(s, map, key, entry))
		return 0;
	if (idle > idle_limit(s, key, entry)) {
		__sync_val_compare_and_swap(&entry->phase, PHASE_LIVE, PHASE_DYING);
	} else if (entry->unreported[0] | entry->unreported[1]) {
		if ((__s64)(s->now - last_report(entry)) >= (__s64)aggregation_interval_ns)
			report(s, key, entry, CAUSE_INTERVAL);
	}
	s->open_packets += (entry->unreported[0] >> UNREPORTED_SHIFT) + (entry->unreported[1] >> UNREPORTED_SHIFT);
	s->open_bytes += (entry->unreported[0] & UNREPORTED_BYTES) + (entry->unreported[1] & UNREPORTED_BYTES);
	return 0;
}

SEC("syscall")
int flow_sweep(struct sweep_args *args)
{
	struct sweep s = {};

	s.tcp_idle_ns = args->tcp_idle_ns;
	s.other_idle_ns = args->other_idle_ns;
	s.closed_idle_ns = args->closed_idle_ns;
	s.keep_unreported = args->keep_unreported;
	s.refresh_slots = args->refresh_slots;
	s.l = ledger_of_cpu();
	s.scratch = scratch_of_cpu();
	s.now = bpf_ktime_get_ns(); /* the coarse clock, of the same base, is not offered to syscall programs */
	s.filter_state = read_filter_state();
	if (!s.l || !s.scratch)
		return -1;
	s.ring_full_before = s.l->count[EVENTS_RING_FULL];
	bpf_for_each_map_elem(&flows, sweep_flow, &s, 0);
	args->entries = s.entries - s.removed;
	args->open_packets = s.open_packets;
	args->open_bytes = s.open_bytes;
	args->removed = s.removed;
	args->reported = s.reported;
	return 0;
}
