// SPDX-License-Identifier: Apache-2.0
/* Facts of the running kernel: BTF enums, what it supports, clocks. */
#define _GNU_SOURCE
#include "addon.h"
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <time.h>

/* kernelEnum(name) → [[name, value], ...] from the kernel's BTF, or null when it has no such enum */
static napi_value kernel_enum(napi_env env, napi_callback_info info)
{
	napi_value args[1], out, pair;
	const struct btf_type *type;
	char name[128];
	struct btf *btf;
	int id;

	read_args(env, info, 1, args);
	if (!arg_string(env, args[0], "name", name, sizeof(name)))
		return NULL;
	libbpf_set_print(NULL);
	btf = btf__load_vmlinux_btf();
	if (!btf)
		return throw_errno(env, errno, "Cannot read the kernel's BTF");
	id = btf__find_by_name_kind(btf, name, BTF_KIND_ENUM);
	if (id < 0) {
		btf__free(btf);
		napi_get_null(env, &out);
		return out;
	}
	type = btf__type_by_id(btf, (uint32_t)id);
	napi_create_array(env, &out);
	for (int i = 0; i < btf_vlen(type); i++) {
		const struct btf_enum *value = btf_enum(type) + i;

		napi_create_array_with_length(env, 2, &pair);
		napi_set_element(env, pair, 0, make_string(env, btf__name_by_offset(btf, value->name_off)));
		napi_set_element(env, pair, 1, make_i32(env, value->val));
		napi_set_element(env, out, (uint32_t)i, pair);
	}
	btf__free(btf);
	return out;
}

/* kernelHasBtfType(kind, name): kind 'func', 'struct' or 'typedef'; for tp_btf the typedef btf_trace_<name> */
static napi_value kernel_has_btf_type(napi_env env, napi_callback_info info)
{
	napi_value args[2];
	char kind[16], name[128];
	struct btf *btf;
	int id;

	read_args(env, info, 2, args);
	if (!arg_string(env, args[0], "kind", kind, sizeof(kind)) || !arg_string(env, args[1], "name", name, sizeof(name)))
		return NULL;
	libbpf_set_print(NULL);
	btf = btf__load_vmlinux_btf();
	if (!btf)
		return throw_errno(env, errno, "Cannot read the kernel's BTF");
	id = btf__find_by_name_kind(btf, name,
				    strcmp(kind, "func") == 0	? BTF_KIND_FUNC :
				    strcmp(kind, "struct") == 0 ? BTF_KIND_STRUCT :
								  BTF_KIND_TYPEDEF);
	btf__free(btf);
	return make_bool(env, id > 0);
}

static napi_value probe(napi_env env, napi_callback_info info, bool map)
{
	napi_value args[1];
	uint32_t type;
	int answer;

	read_args(env, info, 1, args);
	if (!arg_u32(env, args[0], "type", &type))
		return NULL;
	libbpf_set_print(NULL);
	answer = map ? libbpf_probe_bpf_map_type((enum bpf_map_type)type, NULL)
		     : libbpf_probe_bpf_prog_type((enum bpf_prog_type)type, NULL);
	if (answer < 0)
		return throw_errno(env, answer, "Cannot probe the kernel for bpf %s type %u", map ? "map" : "program", type);
	return make_bool(env, answer > 0);
}

/* kernelProbeProgramType(type) */
static napi_value kernel_probe_program_type(napi_env env, napi_callback_info info)
{
	return probe(env, info, false);
}

/* kernelProbeMapType(type) */
static napi_value kernel_probe_map_type(napi_env env, napi_callback_info info)
{
	return probe(env, info, true);
}

/* possibleCpus() → how many values a per-CPU map has for a key */
static napi_value possible_cpus(napi_env env, napi_callback_info info)
{
	int count = libbpf_num_possible_cpus();

	(void)info;
	if (count < 0)
		return throw_errno(env, count, "Cannot read the number of possible CPUs");
	return make_i32(env, count);
}

static uint64_t read_clock(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/*
 * clockOffset(out): out[0] = CLOCK_REALTIME - CLOCK_BOOTTIME, out[1] = how far this may be off, both ns, two's
 * complement. The wall clock is read between two readings of the other; the closest of several tries counts.
 */
static napi_value clock_offset(napi_env env, napi_callback_info info)
{
	napi_typedarray_type type;
	uint64_t offset = 0, best = UINT64_MAX;
	uint64_t *out;
	napi_value args[1];
	size_t length;

	read_args(env, info, 1, args);
	if (napi_get_typedarray_info(env, args[0], &type, &length, (void **)&out, NULL, NULL) != napi_ok ||
	    (type != napi_bigint64_array && type != napi_biguint64_array) || length < 2) {
		napi_throw_type_error(env, NULL, "Argument \"out\" is not a BigInt64Array of two");
		return NULL;
	}
	for (int i = 0; i < 8; i++) {
		uint64_t before = read_clock(CLOCK_BOOTTIME);
		uint64_t wall = read_clock(CLOCK_REALTIME);
		uint64_t gap = read_clock(CLOCK_BOOTTIME) - before;

		if (gap >= best)
			continue;
		best = gap;
		offset = wall - (before + gap / 2);
	}
	out[0] = offset;
	out[1] = best / 2 + 1;
	return make_undefined(env);
}

/* clockNs(clock) → BigInt; 1 = CLOCK_MONOTONIC, 7 = CLOCK_BOOTTIME */
static napi_value clock_ns(napi_env env, napi_callback_info info)
{
	napi_value args[1];
	uint32_t clock;

	read_args(env, info, 1, args);
	return arg_u32(env, args[0], "clock", &clock) ? make_u64(env, read_clock((clockid_t)clock)) : NULL;
}

void export_kernel(napi_env env, napi_value exports)
{
	static const struct function functions[] = {
		{ "kernelEnum", kernel_enum },
		{ "kernelHasBtfType", kernel_has_btf_type },
		{ "kernelProbeProgramType", kernel_probe_program_type },
		{ "kernelProbeMapType", kernel_probe_map_type },
		{ "possibleCpus", possible_cpus },
		{ "clockOffset", clock_offset },
		{ "clockNs", clock_ns },
	};

	export_functions(env, exports, functions, ARRAY_SIZE(functions));
}
