/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Never loaded: compiled only so that its BTF names every struct and enum that user space reads. */
#include <linux/types.h>
#include "maps.h"

#define KEEP_STRUCT(name) struct name keep_struct_##name
#define KEEP_ENUM(name) enum name keep_enum_##name

KEEP_STRUCT(flow_slot);
KEEP_STRUCT(flow_key);
KEEP_STRUCT(flow_entry);
KEEP_STRUCT(endpoint_config);
KEEP_STRUCT(endpoint_counters);
KEEP_STRUCT(drop_key);
KEEP_STRUCT(drop_value);
KEEP_STRUCT(ledger);
KEEP_STRUCT(sweep_args);
KEEP_STRUCT(rule_mask);
KEEP_STRUCT(filter_state);
KEEP_STRUCT(filter_rules);
KEEP_STRUCT(filter_class);
KEEP_STRUCT(address_entry);
KEEP_STRUCT(network_key);
KEEP_STRUCT(filter_port_key);
KEEP_STRUCT(prefix_lengths);
KEEP_STRUCT(filter_match_key);
KEEP_STRUCT(filter_match);
KEEP_STRUCT(filter_count);

KEEP_ENUM(event_type);
KEEP_ENUM(event_cause);
KEEP_ENUM(event_kind);
KEEP_ENUM(consumer_flag);
KEEP_ENUM(verdict);
KEEP_ENUM(observation_point);
KEEP_ENUM(flow_state);
KEEP_ENUM(trace_reason);
KEEP_ENUM(endpoint_kind);
KEEP_ENUM(ledger_counter);
KEEP_ENUM(flow_phase);
KEEP_ENUM(l7_kind);
KEEP_ENUM(subject_flag);
KEEP_ENUM(filter_class_id);
KEEP_ENUM(filter_match_id);
KEEP_ENUM(filter_use);
KEEP_ENUM(filter_limit);
