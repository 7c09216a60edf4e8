/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Headers of one packet, from link to transport. The same walk serves tc programs, which read the packet directly,
 * and kfree_skb, which reads kernel memory: `struct cursor` hides the difference behind one bounded copy.
 */
#ifndef SLUICE_PARSE_H
#define SLUICE_PARSE_H

/* Deepest offset that headers are looked for at; keeps the verifier's ranges small. */
#define HEADER_LIMIT 512
/* IPv6 extension headers that are followed; a packet with more is counted as PACKETS_MALFORMED_EXT. */
#define IPV6_EXTENSIONS 6

#define NEXT_HOP 0
#define NEXT_ROUTING 43
#define NEXT_FRAGMENT 44
#define NEXT_AUTH 51
#define NEXT_NONE 59
#define NEXT_DEST 60
#define NEXT_MOBILITY 135

/* Where bytes come from: a tc context, or a kernel address. Exactly one is set; the other branch is not compiled in. */
struct cursor {
	struct __sk_buff *skb;
	const void *memory;
	__u32 size; /* bytes at memory */
};

static __always_inline int read_at(const struct cursor *c, __u32 offset, void *to, __u32 size)
{
	if (c->skb) {
		const void *data = (const void *)(long)c->skb->data;
		const void *end = (const void *)(long)c->skb->data_end;

		/* Straight from the packet where it is linear; the helper walks the fragments otherwise. */
		if (offset <= HEADER_LIMIT && data + offset + size <= end) {
			/*
			 * Untrue, but x86 and arm64 load from anywhere, and the compiler would take the header apart
			 * into single bytes otherwise.
			 */
			__builtin_memcpy(to, __builtin_assume_aligned(data + offset, 8), size);
			return 0;
		}
		return bpf_skb_load_bytes(c->skb, offset, to, size);
	}
	if (offset > c->size || size > c->size - offset)
		return -1;
	return bpf_probe_read_kernel(to, size, c->memory + offset);
}

struct ipv4_header {
	__u8 version_ihl;
	__u8 tos;
	__be16 total_length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 check;
	__be32 src;
	__be32 dst;
};

struct ipv6_header {
	__be32 version_class_flow;
	__be16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	__u8 src[16];
	__u8 dst[16];
};

struct tcp_header {
	__be16 src_port;
	__be16 dst_port;
	__be32 seq;
	__be32 ack;
	__u8 offset_ns;
	__u8 flags;
	__be16 window;
};

/* Sorts the two ends into the key and remembers which way the packet goes. */
static __always_inline void normalise(struct packet *p, __u16 src_port, __u16 dst_port)
{
	const __be64 *s = (const __be64 *)p->src_ip;
	const __be64 *d = (const __be64 *)p->dst_ip;
	__u64 s0 = bpf_be64_to_cpu(s[0]), d0 = bpf_be64_to_cpu(d[0]);
	__u64 s1 = bpf_be64_to_cpu(s[1]), d1 = bpf_be64_to_cpu(d[1]);
	int swap;

	if (s0 != d0)
		swap = s0 > d0;
	else if (s1 != d1)
		swap = s1 > d1;
	else
		swap = src_port > dst_port;
	if (swap) {
		copy16(p->key.a_ip, p->dst_ip);
		copy16(p->key.b_ip, p->src_ip);
		p->key.a_port = dst_port;
		p->key.b_port = src_port;
	} else {
		copy16(p->key.a_ip, p->src_ip);
		copy16(p->key.b_ip, p->dst_ip);
		p->key.a_port = src_port;
		p->key.b_port = dst_port;
	}
	p->dir = swap;
}

static __always_inline void mapped_address(__u8 *to, __be32 address)
{
	__u32 *words = (__u32 *)to;

	words[0] = 0;
	words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = address;
}

/* @return 0, or the ledger counter of what is wrong */
static __always_inline int parse_tcp(const struct cursor *c, struct packet *p, __u32 at)
{
	struct tcp_header h __attribute__((aligned(8)));
	__u32 length;

	if (at + 20 > p->end || read_at(c, at, &h, sizeof(h)))
		return PACKETS_MALFORMED_L4;
	length = (h.offset_ns >> 4) * 4;
	if (length < 20 || at + length > p->end)
		return PACKETS_MALFORMED_L4;
	p->src_port = bpf_ntohs(h.src_port);
	p->dst_port = bpf_ntohs(h.dst_port);
	p->l4_info = h.flags | ((h.offset_ns & 1) << 8);
	p->tcp_seq = bpf_ntohl(h.seq);
	p->payload = at + length;
	return 0;
}

static __always_inline int parse_ports(const struct cursor *c, struct packet *p, __u32 at, __u32 header)
{
	struct {
		__be16 src_port;
		__be16 dst_port;
		__be16 length;
		__be16 check;
	} h;

	if (at + header > p->end || read_at(c, at, &h, sizeof(h)))
		return PACKETS_MALFORMED_L4;
	p->src_port = bpf_ntohs(h.src_port);
	p->dst_port = bpf_ntohs(h.dst_port);
	if (p->key.protocol == IPPROTO_UDP && bpf_ntohs(h.length) < 8 && bpf_ntohs(h.length) != 0)
		return PACKETS_MALFORMED_L4;
	p->payload = at + header;
	return 0;
}

/* SCTP: twelve bytes of common header, then chunks; the first one's type tells what the packet is for. */
static __always_inline int parse_sctp(const struct cursor *c, struct packet *p, __u32 at)
{
	__u8 chunk;

	if (parse_ports(c, p, at, 12))
		return PACKETS_MALFORMED_L4;
	if (at + 13 > p->end || read_at(c, at + 12, &chunk, 1))
		return PACKETS_MALFORMED_L4;
	p->l4_info = chunk;
	return 0;
}

/* Echo messages are told apart by their identifier, which stands for both ports in the key only. */
static __always_inline int parse_icmp(const struct cursor *c, struct packet *p, __u32 at, __u16 *echo_id)
{
	struct {
		__u8 type;
		__u8 code;
		__be16 check;
		__be16 id;
		__be16 sequence;
	} h;

	if (at + sizeof(h) > p->end || read_at(c, at, &h, sizeof(h)))
		return PACKETS_MALFORMED_L4;
	p->l4_info = h.type << 8 | h.code;
	if (p->key.protocol == IPPROTO_ICMP) {
		if (h.type == 8 || h.type == 0)
			*echo_id = bpf_ntohs(h.id);
		p->icmp_error = h.type == 3 || h.type == 11 || h.type == 12 || h.type == 5;
	} else {
		if (h.type == 128 || h.type == 129)
			*echo_id = bpf_ntohs(h.id);
		p->icmp_error = h.type < 128;
	}
	return 0;
}

static __always_inline int parse_transport(const struct cursor *c, struct packet *p, __u32 at)
{
	__u16 echo_id = 0;
	int wrong = 0;

	switch (p->key.protocol) {
	case IPPROTO_TCP:
		wrong = parse_tcp(c, p, at);
		break;
	case IPPROTO_UDP:
		wrong = parse_ports(c, p, at, 8);
		break;
	case IPPROTO_SCTP:
		wrong = parse_sctp(c, p, at);
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		wrong = parse_icmp(c, p, at, &echo_id);
		break;
	}
	if (wrong)
		return wrong;
	normalise(p, echo_id ? echo_id : p->src_port, echo_id ? echo_id : p->dst_port);
	return 0;
}

/* Remembers a first fragment's ports; finds them again for a later one. */
static __always_inline void fragment_ports(struct packet *p, int first)
{
	struct fragment_key key = {};
	struct fragment_value value = {}, *known;

	copy16(key.src_ip, p->src_ip);
	copy16(key.dst_ip, p->dst_ip);
	key.id = p->id;
	key.protocol = p->key.protocol;
	if (first) {
		/* as the key has them: an echo's identifier stands for both */
		value.src_port = p->dir ? p->key.b_port : p->key.a_port;
		value.dst_port = p->dir ? p->key.a_port : p->key.b_port;
		if (p->key.protocol == IPPROTO_ICMP || p->key.protocol == IPPROTO_ICMPV6)
			value.l4_info = p->l4_info;
		if (bpf_map_update_elem(&fragments, &key, &value, BPF_ANY))
			p->fragment_lost = 1;
		return;
	}
	known = bpf_map_lookup_elem(&fragments, &key);
	if (known) {
		p->src_port = known->src_port;
		p->dst_port = known->dst_port;
		p->l4_info = known->l4_info;
	} else {
		p->fragment = 2;
	}
	normalise(p, p->src_port, p->dst_port);
}

static __always_inline int parse_ipv4(const struct cursor *c, struct packet *p, __u32 at, __u32 length)
{
	struct ipv4_header h __attribute__((aligned(8)));
	__u32 header, total;
	__u16 fragment;
	int wrong;

	if (read_at(c, at, &h, sizeof(h)))
		return PACKETS_MALFORMED_L3;
	header = (h.version_ihl & 15) * 4;
	total = bpf_ntohs(h.total_length);
	if (h.version_ihl >> 4 != 4)
		return PACKETS_MALFORMED_L3;
	p->ip_version = 4;
	p->key.protocol = h.protocol;
	mapped_address(p->src_ip, h.src);
	mapped_address(p->dst_ip, h.dst);
	/* total == 0 is a large offloaded packet (BIG TCP) */
	if (header < 20 || (total && (total < header || total > length)))
		return PACKETS_MALFORMED_L3;
	p->end = at + (total ? total : length);
	fragment = bpf_ntohs(h.fragment);
	if (fragment & 0x3fff) {
		p->fragment = 1;
		p->id = bpf_ntohs(h.id);
		if (fragment & 0x1fff) {
			fragment_ports(p, 0);
			return 0;
		}
	}
	wrong = parse_transport(c, p, at + header);
	if (!wrong && p->fragment)
		fragment_ports(p, 1);
	return wrong;
}

/* Where a walk over extension headers stands. */
struct extension_walk {
	__u32 offset;
	__u8 next;   /* kind of the header at offset */
	__u8 later;  /* a later fragment: what follows is payload */
};

static __always_inline int is_extension(__u8 next)
{
	return next == NEXT_HOP || next == NEXT_ROUTING || next == NEXT_DEST || next == NEXT_FRAGMENT ||
	       next == NEXT_AUTH || next == NEXT_MOBILITY;
}

/* Steps over one header. @return 0 = go on, 1 = there is none, or nothing behind it to look at, -1 = malformed */
static __always_inline int step_over(const struct cursor *c, struct packet *p, struct extension_walk *w)
{
	struct {
		__u8 next;
		__u8 length;
		__be16 fragment;
		__be32 id;
	} ext __attribute__((aligned(8)));

	if (!is_extension(w->next))
		return 1;
	if (w->offset > HEADER_LIMIT || w->offset + sizeof(ext) > p->end || read_at(c, w->offset, &ext, sizeof(ext)))
		return -1;
	if (w->next == NEXT_FRAGMENT) {
		p->fragment = 1;
		p->id = bpf_ntohl(ext.id);
		w->later = (bpf_ntohs(ext.fragment) & 0xfff8) != 0;
		w->offset += 8;
	} else if (w->next == NEXT_AUTH) {
		w->offset += (ext.length + 2) * 4;
	} else {
		w->offset += (ext.length + 1) * 8;
	}
	w->next = ext.next;
	return w->later;
}

/*
 * At most IPV6_EXTENSIONS headers. Written out, because clang does not unroll the loop, and the verifier of 6.1 takes it
 * for an endless one. @return 0, or -1 when malformed
 */
static __always_inline int step_over_all(const struct cursor *c, struct packet *p, struct extension_walk *w)
{
	int stop = step_over(c, p, w);

	if (!stop)
		stop = step_over(c, p, w);
	if (!stop)
		stop = step_over(c, p, w);
	if (!stop)
		stop = step_over(c, p, w);
	if (!stop)
		stop = step_over(c, p, w);
	if (!stop)
		stop = step_over(c, p, w);
	if (stop < 0 || (!stop && is_extension(w->next)) || w->offset > p->end)
		return -1;
	return 0;
}
_Static_assert(IPV6_EXTENSIONS == 6, "step_over_all");

static __always_inline int parse_ipv6(const struct cursor *c, struct packet *p, __u32 at, __u32 length)
{
	struct ipv6_header h __attribute__((aligned(8)));
	struct extension_walk w = { .offset = at + sizeof(h) };
	int wrong;

	if (read_at(c, at, &h, sizeof(h)))
		return PACKETS_MALFORMED_L3;
	if (bpf_ntohl(h.version_class_flow) >> 28 != 6)
		return PACKETS_MALFORMED_L3;
	p->ip_version = 6;
	p->key.protocol = h.next_header;
	__builtin_memcpy(p->src_ip, h.src, 16);
	__builtin_memcpy(p->dst_ip, h.dst, 16);
	/* 0 = jumbogram or BIG TCP */
	if (h.payload_length && bpf_ntohs(h.payload_length) + sizeof(h) > length)
		return PACKETS_MALFORMED_L3;
	p->end = at + (h.payload_length ? bpf_ntohs(h.payload_length) + sizeof(h) : length);
	w.next = h.next_header;
	if (step_over_all(c, p, &w))
		return PACKETS_MALFORMED_EXT;
	p->key.protocol = w.next;
	if (w.later) {
		fragment_ports(p, 0);
		return 0;
	}
	wrong = parse_transport(c, p, w.offset);
	if (!wrong && p->fragment)
		fragment_ports(p, 1);
	return wrong;
}

/* @return 0, or the ledger counter for what the packet is instead of a good IP packet */
static __always_inline int parse_ip(const struct cursor *c, struct packet *p, __be16 protocol, __u32 at, __u32 length)
{
	if (protocol == bpf_htons(ETH_P_IP))
		return parse_ipv4(c, p, at, length);
	if (protocol == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(c, p, at, length);
	return PACKETS_NON_IP;
}

/* From the link header of a tc packet. Tags that the device took off are in skb->vlan_tci. */
static __always_inline int parse_frame(struct __sk_buff *skb, struct packet *p, int has_ethernet)
{
	struct cursor c = { .skb = skb };
	__be16 protocol = skb->protocol;
	__u32 at = 0;

	if (skb->vlan_present)
		p->vlan = skb->vlan_tci & 0xfff;
	if (has_ethernet) {
		if (read_at(&c, 12, &protocol, 2))
			return PACKETS_MALFORMED_L2;
		at = ETH_HLEN;
		for (int i = 0; i < 3; i++) {
			struct {
				__be16 tci;
				__be16 protocol;
			} tag;

			if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
				break;
			if (i == 2 || read_at(&c, at, &tag, sizeof(tag)))
				return PACKETS_MALFORMED_L2;
			if (!p->vlan)
				p->vlan = bpf_ntohs(tag.tci) & 0xfff;
			protocol = tag.protocol;
			at += 4;
		}
	}
	return parse_ip(&c, p, protocol, at, skb->len - at);
}

#endif
