/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who wants an event: the consumers' filters, judged here so that what nobody wants never leaves the kernel. */
#ifndef SLUICE_FILTER_H
#define SLUICE_FILTER_H

#define CONSUMER_FLAGS (1U << CONSUMER_BIT_UNDECIDED | 1U << CONSUMER_BIT_SET)

/* @return whether any consumer wants the event, flags aside */
static __always_inline int is_wanted(__u32 consumers)
{
	return (consumers & ~CONSUMER_FLAGS) != 0;
}

/* Kind of a flow record, as user space tells it from the record: by protocol and flags. */
static __always_inline enum event_kind flow_kind(const struct flow_key *key, __u16 l4_info)
{
	return key->protocol == IPPROTO_TCP && l4_info & (TCP_SYN | TCP_FIN | TCP_RST) ? KIND_TCP_FLAG : KIND_FLOW;
}

/* @return flow_event.consumers of an event of the entry's flow in this direction */
static __always_inline __u32 judge(struct flow_entry *entry, const struct flow_key *key, __u8 dir,
				   enum event_kind kind)
{
	return default_consumers;
}

#endif
