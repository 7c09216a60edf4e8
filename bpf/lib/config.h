/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Set by the loader before load; branches on them vanish in the verifier. */
#ifndef SLUICE_CONFIG_H
#define SLUICE_CONFIG_H

/* A direction of a live flow is told again after this time. 5 s as Cilium's monitor-aggregation-interval. */
const volatile __u64 aggregation_interval_ns = 5000000000ULL;
/* TCP flags whose first sight in a direction makes a record: FIN | SYN | RST. */
const volatile __u8 report_flags = 0x07;
/* 1 = a record for every packet (aggregation: none). */
const volatile __u8 per_packet = 0;
/* L7 payloads per second and CPU; more are counted and not captured. */
const volatile __u32 l7_rate_per_cpu = 10000;
/* Bytes of an L7 payload that are captured, at most L7_PAYLOAD_MAX. */
const volatile __u32 l7_payload = 512;
/* Address that flow_event.drop_location counts from: the kernel's _stext. */
const volatile __u64 kernel_base = 0;
/* Cookie of the node's network namespace, whose interfaces are watched. */
const volatile __u64 node_netns_cookie = 0;
/* Consumers that want every record, while no rule says otherwise. */
const volatile __u32 default_consumers = 0xffffffff;

#endif
