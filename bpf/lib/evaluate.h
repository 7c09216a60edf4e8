/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Which rules accept a flow: from its two ends and its headers to a match in filter_matches. For the first event of each
 * direction after the rules or the ends of the flow changed; lib/filter.h remembers it.
 */
#ifndef SLUICE_EVALUATE_H
#define SLUICE_EVALUATE_H

#define MATCH_ID_MASK (FILTER_LIMIT_MATCHES - 1)
_Static_assert(1 << FILTER_LIMIT_MATCH_BITS == FILTER_LIMIT_MATCHES, "ids have FILTER_LIMIT_MATCH_BITS");

/* model/endpoint.ts */
#define IDENTITY_HOST 1
#define IDENTITY_WORLD 2

/* flow_event.ip_version of the flow's records */
static __always_inline int is_ipv4(const struct flow_key *key)
{
	return *(const __u64 *)key->a_ip == 0 && ((const __u32 *)key->a_ip)[2] == bpf_htonl(0xffff);
}

/* flow.proto TrafficDirection: 0 unknown, 1 INGRESS, 2 EGRESS */
static __always_inline __u32 traffic_direction(__u8 state)
{
	return state & STATE_EGRESS ? 2 : state & STATE_INGRESS ? 1 : 0;
}

/* Upper bits of flow_entry.filter[] as long as it holds. A connection that is opened again may change direction. */
static __always_inline __u32 filter_tag(__u32 generation, __u8 state)
{
	return (generation << 2 | traffic_direction(state)) << FILTER_LIMIT_MATCH_BITS;
}

static __always_inline void narrow(struct rule_mask *mask, const struct rule_mask *by)
{
	for (int i = 0; i < FILTER_WORDS; i++)
		mask->word[i] &= by->word[i];
}

/* Rules that are in all three. */
static __always_inline __u64 meet(const struct rule_mask *a, const struct rule_mask *b, const struct rule_mask *c)
{
	__u64 any = 0;

	for (int i = 0; i < FILTER_WORDS; i++)
		any |= a->word[i] & b->word[i] & c->word[i];
	return any;
}

/* 1 for everything but 0, without a branch: in a loop the verifier would walk both ways each time. */
static __always_inline __u32 nonzero(__u64 x)
{
	__u64 minus = -x;

	barrier_var(minus);
	return (x | minus) >> 63;
}

/* Consumers that have one of the rules that are in both of the first two. */
static __always_inline __u32 consumers_of(const struct rule_mask *rules, const struct rule_mask *of_kind,
					  const struct rule_mask *of_consumer)
{
	__u32 consumers = 0;

	for (__u32 c = 0; c < FILTER_LIMIT_CONSUMERS; c++) {
		/* each round anew, not a stack full of words and addresses */
		barrier_var(rules);
		barrier_var(of_kind);
		consumers |= nonzero(meet(rules, of_kind, &of_consumer[c])) << c;
	}
	return consumers;
}

/*
 * Consumers of each kind of event, from the rules of a match that is being made. @param index of filter_matches
 */
__noinline int build_match(__u32 index)
{
	__u32 set = index >> FILTER_LIMIT_MATCH_BITS;
	struct filter_match *match = bpf_map_lookup_elem(&filter_matches, &index);
	struct filter_rules *rules = bpf_map_lookup_elem(&filter_rules, &set);

	if (!match || !rules)
		return -1;
	for (__u32 kind = 0; kind < EVENT_KINDS; kind++) {
		const struct rule_mask *of_kind = &rules->kind[kind];
		__u32 wanted = rules->everything | consumers_of(&match->rules, of_kind, rules->include);

		wanted &= ~consumers_of(&match->rules, of_kind, rules->exclude);
		match->consumers[kind] = (wanted & rules->by_kind[kind]) | set << CONSUMER_BIT_SET;
	}
	return 0;
}

/*
 * @return id of the match of these rules; MATCH_UNDECIDED when the table is full, MATCH_NONE while another CPU makes it
 */
static __always_inline __u32 match_id(struct filter_match_key *key)
{
	__u32 set = key->set;
	struct filter_match *match;
	__u32 *known, *next, id = MATCH_NONE, index;
	struct ledger *l;

	known = bpf_map_lookup_elem(&filter_match_ids, key);
	if (known)
		return *known;
	l = ledger_of_cpu();
	next = bpf_map_lookup_elem(&filter_next, &set);
	if (!l || !next)
		return MATCH_NONE;
	if (*next >= FILTER_LIMIT_MATCHES - MATCH_FIRST) {
		count(l, FILTER_MATCHES_FULL, 1);
		return MATCH_UNDECIDED;
	}
	/* Its place first, its id when it is done: two CPUs that meet the same rules take no two ids. */
	if (bpf_map_update_elem(&filter_match_ids, key, &id, BPF_NOEXIST)) {
		known = bpf_map_lookup_elem(&filter_match_ids, key);
		return known ? *known : MATCH_NONE;
	}
	id = __sync_fetch_and_add(next, 1) + MATCH_FIRST;
	if (id < FILTER_LIMIT_MATCHES) {
		index = set << FILTER_LIMIT_MATCH_BITS | id;
		match = bpf_map_lookup_elem(&filter_matches, &index);
		if (!match)
			return MATCH_NONE;
		match->rules = key->rules;
		build_match(index);
	} else {
		count(l, FILTER_MATCHES_FULL, 1);
		id = MATCH_UNDECIDED;
	}
	known = bpf_map_lookup_elem(&filter_match_ids, key);
	/* an exchange orders it behind the match, also on arm64 */
	if (known)
		__sync_lock_test_and_set(known, id);
	return id;
}

/* Addresses that mean something on one link only; as isLinkScope() of collector/world.ts. */
static __always_inline int is_link_scope(const __u8 *ip, int ipv4)
{
	const __u32 *words = (const __u32 *)ip;
	__u32 top;

	if (ipv4) {
		top = bpf_ntohl(words[3]);
		return top == 0 || top == 0xffffffff || top >> 24 == 127 || top >> 16 == 0xa9fe || top >> 8 == 0xe00000;
	}
	top = bpf_ntohl(words[0]);
	if (top >> 22 == 0x3fa)
		return 1;
	if (top >> 24 == 0xff)
		return (top >> 16 & 0xf) <= 2;
	return !words[0] && !words[1] && !words[2];
}

/* Bits of a 64-bit half of an address that a prefix keeps, of which `before` are in the halves before it. */
static __always_inline __u64 kept_bits(__u32 length, __u32 before)
{
	if (length <= before)
		return 0;
	length -= before;
	return length >= 64 ? ~0ULL : ~(~0ULL >> length);
}

/*
 * The longest prefix of an address that there is, in a loop over the lengths that occur, of which there are few.
 * @param which index of filter_lengths @param map networks, or filter_prefixes with the number of the set in key
 * @param family 0 IPv4, 1 IPv6; as an index, since the verifier would walk the loop once for each side of a branch
 */
static __always_inline const void *longest_prefix(void *map, __u32 which, struct network_key *key, __u32 family)
{
	const struct prefix_lengths *in_use = bpf_map_lookup_elem(&filter_lengths, &which);
	__be64 *halves = (__be64 *)key->address;
	__u64 high = bpf_be64_to_cpu(halves[0]), low = bpf_be64_to_cpu(halves[1]);
	const void *known;

	if (!in_use)
		return NULL;
	for (__u32 i = 0; i < PREFIX_LENGTHS; i++) {
		__u32 length = in_use->lengths[family & 1][i];

		if (!length--)
			return NULL;
		key->prefix_length = length;
		halves[0] = bpf_cpu_to_be64(high & kept_bits(length, 0));
		halves[1] = bpf_cpu_to_be64(low & kept_bits(length, 64));
		known = bpf_map_lookup_elem(map, key);
		if (known)
			return known;
	}
	return NULL;
}

/* @param end 0 = a, 1 = b; without a branch, as above */
static __always_inline const __u8 *address_of(const struct flow_key *key, __u32 end)
{
	return key->a_ip + (end & 1) * (__builtin_offsetof(struct flow_key, b_ip) - __builtin_offsetof(struct flow_key, a_ip));
}

/*
 * There are 512 bytes of stack for a program, evaluate(), and what it calls: what these functions need is theirs while
 * they run. Those with loops are global functions, which the verifier walks once.
 *
 * Who has an address that is nobody's by itself. @param end 0 = a, 1 = b
 * @return the class; the identity goes to the entry
 */
__noinline __u32 class_of_network(struct flow_entry *entry, struct flow_key *key, __u32 end, __u32 set, __u32 family)
{
	struct network_key at __attribute__((aligned(8))) = {};
	__u32 identity = IDENTITY_WORLD, class = CLASS_WORLD;
	const struct address_entry *known;

	if (!entry || !key)
		return CLASS_UNDECIDED;
	copy16(at.address, address_of(key, end));
	known = longest_prefix(&networks, LENGTHS_NETWORKS, &at, family);
	if (known) {
		identity = known->identity;
		class = known->classes[set & 1];
	}
	*(end ? &entry->identity[1] : &entry->identity[0]) = identity;
	return class;
}

/* What find_class() says when the address's range has the answer. */
#define CLASS_OF_NETWORK 0xffffffff

/*
 * Who is at one end (0 = a, 1 = b), with the same answer as collector/stamp.ts: behind a pod's device its pod, and whoever
 * else has an address that means something on that link only is the node; else the address says it, then its range.
 * @return the class; the identity goes to the entry
 */
static __noinline __u32 find_class(struct flow_entry *entry, const struct flow_key *key,
				   const struct endpoint_config *config, __u32 end, __u32 set)
{
	__u8 ip[16] __attribute__((aligned(8)));
	const struct address_entry *known;
	__u32 identity = IDENTITY_WORLD, class = CLASS_OF_NETWORK;
	/* packets leave the endpoint in direction pod_dir: from a when it is 0 */
	int at_pod = config->kind == ENDPOINT_POD, is_own = at_pod && (key->pod_dir & 1) == end;

	if (is_own) {
		identity = config->identity;
		class = config->classes[set & 1];
		if (!(config->flags & SUBJECT_ASK_ADDRESS))
			goto found;
	}
	copy16(ip, end ? key->b_ip : key->a_ip);
	known = bpf_map_lookup_elem(&addresses, ip);
	if (known && (!is_own || known->flags & SUBJECT_LOCAL_POD)) {
		identity = known->identity;
		class = known->classes[set & 1];
	} else if (!is_own && is_link_scope(ip, is_ipv4(key))) {
		identity = at_pod ? IDENTITY_HOST : IDENTITY_WORLD;
		class = at_pod ? CLASS_HOST : CLASS_WORLD;
	}
found:
	*(end ? &entry->identity[1] : &entry->identity[0]) = identity;
	return class;
}

static __always_inline const struct filter_class *filter_class(__u32 set, __u32 class)
{
	__u32 index = set * FILTER_LIMIT_CLASSES + class;

	return class < FILTER_LIMIT_CLASSES ? bpf_map_lookup_elem(&filter_classes, &index) : NULL;
}

static __always_inline int has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

/* @param side 0 source, 1 destination */
static __noinline int narrow_by_port(struct filter_match_key *found, const struct filter_rules *rules, __u32 port,
				     __u32 side)
{
	struct filter_port_key key = { .port = port, .set = found->set };
	const struct filter_class *known = NULL;

	if (rules->uses & FILTER_USES_PORTS)
		known = bpf_map_lookup_elem(&filter_ports, &key);
	if (known)
		narrow(&found->rules, side ? &known->to : &known->from);
	else
		narrow(&found->rules, side ? &rules->other_port[1] : &rules->other_port[0]);
	return 0;
}

/* @return 1 when the address of an end is in a prefix, and what found holds is narrowed by it */
__noinline int narrow_by_prefix(struct filter_match_key *found, struct flow_key *key, __u32 side, __u32 end,
				 __u32 family)
{
	struct network_key at __attribute__((aligned(8))) = {};
	const struct filter_class *known;

	if (!found || !key)
		return 0;
	at.set = found->set;
	copy16(at.address, address_of(key, end));
	known = longest_prefix(&filter_prefixes, at.set, &at, family);
	if (!known)
		return 0;
	narrow(&found->rules, side ? &known->to : &known->from);
	return 1;
}

static __always_inline void narrow_by_side(struct filter_match_key *found, const struct filter_rules *rules,
					   struct flow_key *key, __u32 side, __u32 end)
{
	if (has_ports(key->protocol))
		narrow_by_port(found, rules, end ? key->b_port : key->a_port, side);
	if (!(rules->uses & FILTER_USES_PREFIXES) || !narrow_by_prefix(found, key, side, end, !is_ipv4(key)))
		narrow(&found->rules, &rules->no_prefix[side]);
}

/*
 * Finds the rules that accept a direction of a flow by all but the kind of event, and who its two ends are; both stay in
 * the entry. A function of its own, walked by the verifier once and not in each of its callers.
 *
 * @return id in filter_matches; when it is MATCH_UNDECIDED user space decides
 */
__noinline __u32 evaluate(struct flow_entry *entry, struct flow_key *key, __u32 dir, __u32 generation)
{
	struct filter_match_key found = {};
	const struct endpoint_config *config;
	const struct filter_class *from, *to;
	const struct filter_rules *rules;
	__u32 set = generation & 1, index, a, b, id = MATCH_UNDECIDED;
	__u8 state;

	if (!entry || !key)
		return MATCH_UNDECIDED;
	state = entry->state;
	dir &= 1;
	index = key->ifindex;
	config = bpf_map_lookup_elem(&endpoints, &index);
	if (!config)
		return MATCH_UNDECIDED; /* the device is not watched any more */
	a = find_class(entry, key, config, 0, set);
	b = find_class(entry, key, config, 1, set);
	if (a == CLASS_OF_NETWORK)
		a = class_of_network(entry, key, 0, set, !is_ipv4(key));
	if (b == CLASS_OF_NETWORK)
		b = class_of_network(entry, key, 1, set, !is_ipv4(key));
	index = set;
	rules = bpf_map_lookup_elem(&filter_rules, &index);
	from = filter_class(set, dir ? b : a);
	to = filter_class(set, dir ? a : b);
	if (a != CLASS_UNDECIDED && b != CLASS_UNDECIDED && rules && from && to) {
		found.set = set;
		found.rules = from->from;
		narrow(&found.rules, &to->to);
		narrow(&found.rules, &rules->protocol[key->protocol]);
		narrow(&found.rules, &rules->direction[traffic_direction(state)]);
		narrow(&found.rules, is_ipv4(key) ? &rules->ip_version[0] : &rules->ip_version[1]);
		if (!has_ports(key->protocol))
			narrow(&found.rules, &rules->no_ports);
		narrow_by_side(&found, rules, key, 0, dir);
		narrow_by_side(&found, rules, key, 1, !dir);
		id = match_id(&found) & MATCH_ID_MASK;
		if (id == MATCH_NONE)
			return MATCH_UNDECIDED; /* for this event */
	}
	/* one store: another CPU reads the old word or the new one */
	*(volatile __u32 *)(dir ? &entry->filter[1] : &entry->filter[0]) = filter_tag(generation, state) | id;
	return id;
}

#endif
