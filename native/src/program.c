// SPDX-License-Identifier: Apache-2.0
/* Loaded programs: test runs, facts, run-time statistics. */
#define _GNU_SOURCE
#include "addon.h"
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/*
 * programTestRun(fd, dataIn, dataOut, ctxIn, ctxOut, repeat) → [retval, dataOutSize, ctxOutSize, durationNs]
 * durationNs is the mean of one run. Buffers may be null.
 */
static napi_value program_test_run(napi_env env, napi_callback_info info)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	struct bytes data_in, data_out, ctx_in, ctx_out;
	napi_value args[6], out;
	uint32_t repeat;
	int fd, err;

	read_args(env, info, 6, args);
	if (!arg_i32(env, args[0], "fd", &fd) || !arg_bytes(env, args[1], "dataIn", &data_in) ||
	    !arg_bytes(env, args[2], "dataOut", &data_out) || !arg_bytes(env, args[3], "ctxIn", &ctx_in) ||
	    !arg_bytes(env, args[4], "ctxOut", &ctx_out) || !arg_u32(env, args[5], "repeat", &repeat))
		return NULL;
	opts.data_in = data_in.data;
	opts.data_size_in = (uint32_t)data_in.size;
	opts.data_out = data_out.data;
	opts.data_size_out = (uint32_t)data_out.size;
	opts.ctx_in = ctx_in.data;
	opts.ctx_size_in = (uint32_t)ctx_in.size;
	opts.ctx_out = ctx_out.data;
	opts.ctx_size_out = (uint32_t)ctx_out.size;
	opts.repeat = (int)repeat;
	err = bpf_prog_test_run_opts(fd, &opts);
	if (err)
		return throw_errno(env, err, "Cannot run the bpf program by test run");
	napi_create_array_with_length(env, 4, &out);
	napi_set_element(env, out, 0, make_u32(env, opts.retval));
	napi_set_element(env, out, 1, make_u32(env, opts.data_size_out));
	napi_set_element(env, out, 2, make_u32(env, opts.ctx_size_out));
	napi_set_element(env, out, 3, make_u32(env, opts.duration));
	return out;
}

struct run {
	napi_async_work work;
	napi_deferred deferred;
	napi_ref context; /* keeps ctx.data in place while the worker uses it */
	struct bytes ctx;
	int fd;
	int err;
	uint32_t retval;
};

/*
 * Waits until every program that runs now is done: 10 to 30 ms. The call is refused on kernels with CPUs that have no tick
 * (nohz_full): there a time has to do that is thousands of times that of a program.
 */
static void wait_for_programs(void)
{
	const struct timespec long_enough = { .tv_nsec = 50 * 1000 * 1000 };

	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		nanosleep(&long_enough, NULL);
}

/* A descriptor below 0 is no program: then the wait is all there is to do. */
static void run_in_worker(napi_env env, void *data)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	struct run *run = data;

	(void)env;
	wait_for_programs();
	if (run->fd < 0)
		return;
	opts.ctx_in = run->ctx.data;
	opts.ctx_size_in = (uint32_t)run->ctx.size;
	run->err = bpf_prog_test_run_opts(run->fd, &opts);
	run->retval = opts.retval;
}

static void run_done(napi_env env, napi_status status, void *data)
{
	struct run *run = data;
	napi_value error;

	if (status == napi_ok && !run->err) {
		napi_resolve_deferred(env, run->deferred, make_u32(env, run->retval));
	} else {
		throw_errno(env, run->err ? run->err : ECANCELED, "Cannot run the bpf program by test run");
		napi_get_and_clear_last_exception(env, &error);
		napi_reject_deferred(env, run->deferred, error);
	}
	if (run->context)
		napi_delete_reference(env, run->context);
	napi_delete_async_work(env, run->work);
	free(run);
}

static napi_value queue_run(napi_env env, struct run *run)
{
	napi_value promise;

	napi_create_promise(env, &run->deferred, &promise);
	napi_create_async_work(env, NULL, make_string(env, "sluice:bpf-run"), run_in_worker, run_done, run, &run->work);
	napi_queue_async_work(env, run->work);
	return promise;
}

/*
 * programRunAsync(fd, ctx) → a promise of what the program returned; for SEC("syscall") programs, run on a thread of
 * libuv's pool because a walk of a large map takes tens of milliseconds, and after a grace period of RCU, 10 to 30 ms: no
 * tc program is at work any more with what it found in a map before this call. The descriptor must stay open until then.
 */
static napi_value program_run_async(napi_env env, napi_callback_info info)
{
	napi_value args[2];
	struct run *run;

	read_args(env, info, 2, args);
	run = calloc(1, sizeof(*run));
	if (!run)
		return throw_errno(env, ENOMEM, "Cannot run the bpf program");
	if (!arg_i32(env, args[0], "fd", &run->fd) || !arg_bytes(env, args[1], "ctx", &run->ctx)) {
		free(run);
		return NULL;
	}
	napi_create_reference(env, args[1], 1, &run->context);
	return queue_run(env, run);
}

/* gracePeriod() → a promise, kept when every program that runs now is done */
static napi_value grace_period(napi_env env, napi_callback_info info)
{
	struct run *run = calloc(1, sizeof(*run));

	(void)info;
	if (!run)
		return throw_errno(env, ENOMEM, "Cannot wait for bpf programs");
	run->fd = -1;
	return queue_run(env, run);
}

/* programInfo(fd) → { id, type, name, tag, runTimeNs, runCount, verifiedInstructions } */
static napi_value program_info(napi_env env, napi_callback_info info)
{
	struct bpf_prog_info facts = { 0 };
	uint32_t size = sizeof(facts);
	napi_value args[1], out;
	char name[BPF_OBJ_NAME_LEN + 1] = { 0 };
	int fd;

	read_args(env, info, 1, args);
	if (!arg_i32(env, args[0], "fd", &fd))
		return NULL;
	if (bpf_obj_get_info_by_fd(fd, &facts, &size))
		return throw_errno(env, errno, "Cannot read the facts of bpf program %d", fd);
	memcpy(name, facts.name, BPF_OBJ_NAME_LEN);
	napi_create_object(env, &out);
	set_member(env, out, "id", make_u32(env, facts.id));
	set_member(env, out, "type", make_u32(env, facts.type));
	set_member(env, out, "name", make_string(env, name));
	set_member(env, out, "tag", make_bytes(env, facts.tag, sizeof(facts.tag)));
	set_member(env, out, "runTimeNs", make_u64(env, facts.run_time_ns));
	set_member(env, out, "runCount", make_u64(env, facts.run_cnt));
	set_member(env, out, "verifiedInstructions", make_u32(env, facts.verified_insns));
	return out;
}

/* statsEnable() → a descriptor: the kernel measures run times as long as it is open. */
static napi_value stats_enable(napi_env env, napi_callback_info info)
{
	int fd = bpf_enable_stats(BPF_STATS_RUN_TIME);

	(void)info;
	if (fd < 0)
		return throw_errno(env, fd, "Cannot switch on the kernel's statistics of bpf programs");
	return make_i32(env, fd);
}

void export_program(napi_env env, napi_value exports)
{
	static const struct function functions[] = {
		{ "programTestRun", program_test_run },
		{ "programRunAsync", program_run_async },
		{ "gracePeriod", grace_period },
		{ "programInfo", program_info },
		{ "statsEnable", stats_enable },
	};

	export_functions(env, exports, functions, ARRAY_SIZE(functions));
}
