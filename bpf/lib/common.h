/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Small helpers that every program uses: the ledger, the clocks, packed counters. */
#ifndef SLUICE_COMMON_H
#define SLUICE_COMMON_H

#define AF_INET 2
#define AF_INET6 10
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88A8
#define ETH_HLEN 14
#define TCX_NEXT -1 /* the same number as TC_ACT_UNSPEC: clsact goes on to the next filter too */

#ifndef IPPROTO_ICMPV6
#define IPPROTO_ICMPV6 58 /* in6.h would bring a second struct in6_addr */
#endif

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* flow_entry.unreported: packets << 40 | bytes. */
#define UNREPORTED_SHIFT 40
#define UNREPORTED_BYTES ((1ULL << UNREPORTED_SHIFT) - 1)
/* A record is made before a counter can outgrow its 32 bits in the record, or its bits in unreported. */
#define UNREPORTED_SOON ((1ULL << 22) << UNREPORTED_SHIFT)
#define UNREPORTED_BYTES_SOON (1ULL << 31)
/* With the ring full for that long, the sum is moved to the ledger instead of running over. */
#define UNREPORTED_LIMIT ((1ULL << 23) << UNREPORTED_SHIFT)
#define UNREPORTED_BYTES_LIMIT (1ULL << 39)

static __always_inline struct ledger *ledger_of_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ledger, &zero);
}

/*
 * For counters that several kinds of program share. The ledger is per CPU, but a tracepoint or the sweep can be
 * interrupted by a tc program on its own CPU in the middle of an addition: a lost update would be a hole in the ledger.
 */
static __always_inline void count(struct ledger *l, enum ledger_counter which, __u64 n)
{
	__sync_fetch_and_add(&l->count[which], n);
}

/* For the counters that tc programs alone touch: they run with softirqs off and do not interrupt each other. */
static __always_inline void count_tc(struct ledger *l, enum ledger_counter which, __u64 n)
{
	l->count[which] += n;
}

/*
 * CLOCK_MONOTONIC_COARSE moves with the tick, so once a tick is often enough to ask for it: the helper costs 25 ns, the
 * tick's number, which is read in place, two.
 */
static __always_inline __u64 coarse_now(struct ledger *l)
{
	__u64 tick = bpf_jiffies64();

	if (l->tick != tick) {
		l->tick = tick;
		l->tick_ns = bpf_ktime_get_coarse_ns();
	}
	return l->tick_ns;
}

static __always_inline struct scratch *scratch_of_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

static __always_inline void copy16(void *to, const void *from)
{
	__u64 *t = to;
	const __u64 *f = from;

	t[0] = f[0];
	t[1] = f[1];
}

static __always_inline void copy6(__u8 *to, const __u8 *from)
{
	*(__u16 *)to = *(const __u16 *)from;
	*(__u16 *)(to + 2) = *(const __u16 *)(from + 2);
	*(__u16 *)(to + 4) = *(const __u16 *)(from + 4);
}

static __always_inline __u16 saturate16(__u32 n)
{
	return n > 0xffff ? 0xffff : n;
}

#endif
