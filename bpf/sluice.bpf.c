/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The one object that the agent loads: all maps, and each attach point's programs from the file named after it. */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "enums.h"
#include "events.h"
#include "maps.h"
#include "lib/kernel.h"
#include "lib/config.h"
#include "lib/packet.h"
#include "lib/map_defs.h"
#include "lib/common.h"
#include "lib/parse.h"
#include "lib/evaluate.h"
#include "lib/filter.h"
#include "lib/record.h"
#include "lib/l7.h"

#include "tc.bpf.c"
#include "kfree_skb.bpf.c"
#include "tcp.bpf.c"
#include "sweep.bpf.c"

char _license[] SEC("license") = "Dual BSD/GPL";
