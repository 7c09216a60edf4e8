/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the parser finds in a packet. */
#ifndef SLUICE_PACKET_H
#define SLUICE_PACKET_H

struct packet {
	struct flow_key key;   /* normalised; ifindex left to the caller */
	__u8 dir;              /* 0: the packet goes from a to b, 1: from b to a */
	__u8 ip_version;       /* 4 or 6 once the addresses are known, also of a packet that is malformed behind them */
	__u8 fragment;         /* 1 = any fragment, 2 = a later one whose ports are not known */
	__u8 icmp_error;
	__u8 fragment_lost;    /* a first fragment whose ports found no room in the table */
	__u16 l4_info;
	__u16 vlan;
	__u16 src_port;
	__u16 dst_port;
	__u32 tcp_seq;
	__u32 payload;         /* offset of the L4 payload from where the cursor starts, 0 = none looked for */
	__u32 end;             /* offset behind the IP packet: what follows is the link's padding */
	__u32 id;              /* fragment identification, while fragment is set */
	__u8 src_ip[16] __attribute__((aligned(8)));
	__u8 dst_ip[16] __attribute__((aligned(8)));
};

#endif
