// SPDX-License-Identifier: Apache-2.0
/* Attaching: tcx links, clsact filters, tracing links; pins. */
#define _GNU_SOURCE
#include "addon.h"
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATH_SIZE 4096

/*
 * libbpf 1.1 and the 6.1 headers know nothing of tcx (kernel 6.6). These are the kernel's numbers and the head of
 * union bpf_attr's link_create, which ends in its tcx member.
 */
#define TCX_INGRESS 46
#define TCX_EGRESS 47
#define TCX_BEFORE (1U << 3) /* without a relative program: at the head of the chain */

struct tcx_link_create {
	uint32_t prog_fd;
	uint32_t target_ifindex;
	uint32_t attach_type;
	uint32_t flags;
	uint32_t relative_fd;
	uint32_t reserved;
	uint64_t expected_revision;
};

static int create_tcx(int program, uint32_t ifindex, bool egress)
{
	struct tcx_link_create attr = {
		.prog_fd = (uint32_t)program,
		.target_ifindex = ifindex,
		.attach_type = egress ? TCX_EGRESS : TCX_INGRESS,
		.flags = TCX_BEFORE,
	};
	long fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));

	return fd < 0 ? -errno : (int)fd;
}

/* linkCreateTcx(program, ifindex, egress) → a link at the head of the chain */
static napi_value link_create_tcx(napi_env env, napi_callback_info info)
{
	napi_value args[3];
	uint32_t ifindex;
	bool egress;
	int program, fd;

	read_args(env, info, 3, args);
	if (!arg_i32(env, args[0], "program", &program) || !arg_u32(env, args[1], "ifindex", &ifindex) ||
	    !arg_bool(env, args[2], "egress", &egress))
		return NULL;
	fd = create_tcx(program, ifindex, egress);
	if (fd < 0)
		return throw_errno(env, fd, "Cannot attach by tcx %s to interface %u", egress ? "egress" : "ingress", ifindex);
	return make_i32(env, fd);
}

struct attach {
	napi_async_work work;
	napi_deferred deferred;
	uint32_t ifindex;
	int program, netns, fd;
	bool egress;
};

static void attach_in_worker(napi_env env, void *data)
{
	struct attach *attach = data;
	int home = -1;

	(void)env;
	if (attach->netns >= 0) {
		attach->fd = netns_enter(attach->netns, &home);
		if (attach->fd)
			return;
	}
	attach->fd = create_tcx(attach->program, attach->ifindex, attach->egress);
	if (home >= 0)
		netns_leave(home);
}

static void attach_done(napi_env env, napi_status status, void *data)
{
	struct attach *attach = data;
	napi_value error;

	if (status == napi_ok && attach->fd >= 0) {
		napi_resolve_deferred(env, attach->deferred, make_i32(env, attach->fd));
	} else {
		throw_errno(env, status == napi_ok ? attach->fd : ECANCELED, "Cannot attach by tcx %s to interface %u",
			    attach->egress ? "egress" : "ingress", attach->ifindex);
		napi_get_and_clear_last_exception(env, &error);
		napi_reject_deferred(env, attach->deferred, error);
	}
	napi_delete_async_work(env, attach->work);
	free(attach);
}

/*
 * linkCreateTcxAsync(program, ifindex, egress, netns) → a promise of a link, made on a thread of libuv's pool: the kernel
 * waits out a grace period, 10 to 20 ms, for each. netns is a descriptor, or -1 for the calling thread's own. All
 * descriptors must stay open until then.
 */
static napi_value link_create_tcx_async(napi_env env, napi_callback_info info)
{
	napi_value args[4], promise;
	struct attach *attach;

	read_args(env, info, 4, args);
	attach = calloc(1, sizeof(*attach));
	if (!attach)
		return throw_errno(env, ENOMEM, "Cannot attach a bpf program");
	if (!arg_i32(env, args[0], "program", &attach->program) || !arg_u32(env, args[1], "ifindex", &attach->ifindex) ||
	    !arg_bool(env, args[2], "egress", &attach->egress) || !arg_i32(env, args[3], "netns", &attach->netns)) {
		free(attach);
		return NULL;
	}
	napi_create_promise(env, &attach->deferred, &promise);
	napi_create_async_work(env, NULL, make_string(env, "sluice:tcx"), attach_in_worker, attach_done, attach,
			       &attach->work);
	napi_queue_async_work(env, attach->work);
	return promise;
}

/*
 * tcxSupported(program): asks for a link on a device that does not exist. A kernel with tcx looks for the device
 * first (ENODEV); one without refuses the attach type (EINVAL).
 */
static napi_value tcx_supported(napi_env env, napi_callback_info info)
{
	napi_value args[1];
	int program, fd;

	read_args(env, info, 1, args);
	if (!arg_i32(env, args[0], "program", &program))
		return NULL;
	fd = create_tcx(program, 0x7fffffff, false);
	if (fd >= 0) {
		close(fd);
		return make_bool(env, true);
	}
	if (fd != -ENODEV && fd != -EINVAL)
		return throw_errno(env, fd, "Cannot find out whether the kernel has tcx");
	return make_bool(env, fd == -ENODEV);
}

/* linkCreateTracing(program) → a link; the program's BTF names where (tp_btf) */
static napi_value link_create_tracing(napi_env env, napi_callback_info info)
{
	napi_value args[1];
	int program, fd;

	read_args(env, info, 1, args);
	if (!arg_i32(env, args[0], "program", &program))
		return NULL;
	fd = bpf_raw_tracepoint_open(NULL, program);
	if (fd < 0)
		return throw_errno(env, fd, "Cannot attach the bpf program to its tracepoint");
	return make_i32(env, fd);
}

/* linkCreateRawTracepoint(program, name) → a link */
static napi_value link_create_raw_tracepoint(napi_env env, napi_callback_info info)
{
	napi_value args[2];
	char name[128];
	int program, fd;

	read_args(env, info, 2, args);
	if (!arg_i32(env, args[0], "program", &program) || !arg_string(env, args[1], "name", name, sizeof(name)))
		return NULL;
	fd = bpf_raw_tracepoint_open(name, program);
	if (fd < 0)
		return throw_errno(env, fd, "Cannot attach the bpf program to tracepoint \"%s\"", name);
	return make_i32(env, fd);
}

/* linkUpdate(link, program): the new program takes over without a gap; tracing links can't (EINVAL). */
static napi_value link_update(napi_env env, napi_callback_info info)
{
	napi_value args[2];
	int link, program, err;

	read_args(env, info, 2, args);
	if (!arg_i32(env, args[0], "link", &link) || !arg_i32(env, args[1], "program", &program))
		return NULL;
	err = bpf_link_update(link, program, NULL);
	if (err)
		return throw_errno(env, err, "Cannot replace the program of a bpf link");
	return make_undefined(env);
}

/* linkDetach(link) */
static napi_value link_detach(napi_env env, napi_callback_info info)
{
	napi_value args[1];
	int link, err;

	read_args(env, info, 1, args);
	if (!arg_i32(env, args[0], "link", &link))
		return NULL;
	err = bpf_link_detach(link);
	if (err)
		return throw_errno(env, err, "Cannot detach a bpf link");
	return make_undefined(env);
}

/* linkInfo(link) → { id, type, programId, ifindex }: ifindex only of tcx links, 0 once the device is gone */
static napi_value link_info(napi_env env, napi_callback_info info)
{
	/* The kernel's struct has grown since 6.1; tcx's part begins where every other type's does. */
	union {
		struct bpf_link_info known;
		uint8_t room[256];
		struct {
			uint32_t type, id, prog_id, pad;
			uint32_t ifindex, attach_type;
		} tcx;
	} facts;
	uint32_t size = sizeof(facts);
	napi_value args[1], out;
	int link;

	read_args(env, info, 1, args);
	if (!arg_i32(env, args[0], "link", &link))
		return NULL;
	memset(&facts, 0, sizeof(facts));
	if (bpf_obj_get_info_by_fd(link, &facts, &size))
		return throw_errno(env, errno, "Cannot read the facts of a bpf link");
	napi_create_object(env, &out);
	set_member(env, out, "id", make_u32(env, facts.known.id));
	set_member(env, out, "type", make_u32(env, facts.known.type));
	set_member(env, out, "programId", make_u32(env, facts.known.prog_id));
	set_member(env, out, "ifindex", make_u32(env, facts.tcx.ifindex));
	return out;
}

/* pin(fd, path) */
static napi_value pin(napi_env env, napi_callback_info info)
{
	napi_value args[2];
	char path[PATH_SIZE];
	int fd, err;

	read_args(env, info, 2, args);
	if (!arg_i32(env, args[0], "fd", &fd) || !arg_string(env, args[1], "path", path, sizeof(path)))
		return NULL;
	err = bpf_obj_pin(fd, path);
	if (err)
		return throw_errno(env, err, "Cannot pin to \"%s\"", path);
	return make_undefined(env);
}

/* openPinned(path) → a descriptor */
static napi_value open_pinned(napi_env env, napi_callback_info info)
{
	napi_value args[1];
	char path[PATH_SIZE];
	int fd;

	read_args(env, info, 1, args);
	if (!arg_string(env, args[0], "path", path, sizeof(path)))
		return NULL;
	fd = bpf_obj_get(path);
	if (fd < 0)
		return throw_errno(env, fd, "Cannot open pin \"%s\"", path);
	return make_i32(env, fd);
}

/* lockDirectory(path) → a descriptor that holds the lock, -1 when another process does */
static napi_value lock_directory(napi_env env, napi_callback_info info)
{
	napi_value args[1];
	char path[PATH_SIZE];
	int fd, err;

	read_args(env, info, 1, args);
	if (!arg_string(env, args[0], "path", path, sizeof(path)))
		return NULL;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return throw_errno(env, errno, "Cannot open directory \"%s\"", path);
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		err = errno;
		close(fd);
		if (err != EWOULDBLOCK)
			return throw_errno(env, err, "Cannot lock directory \"%s\"", path);
		return make_i32(env, -1);
	}
	return make_i32(env, fd);
}

static struct bpf_tc_hook tc_hook(uint32_t ifindex, bool egress)
{
	return (struct bpf_tc_hook){
		.sz = sizeof(struct bpf_tc_hook),
		.ifindex = (int)ifindex,
		.attach_point = egress ? BPF_TC_EGRESS : BPF_TC_INGRESS,
	};
}

/* clsactCreate(ifindex) → true when the qdisc was made, false when the device had it */
static napi_value clsact_create(napi_env env, napi_callback_info info)
{
	struct bpf_tc_hook hook;
	napi_value args[1];
	uint32_t ifindex;
	int err;

	read_args(env, info, 1, args);
	if (!arg_u32(env, args[0], "ifindex", &ifindex))
		return NULL;
	hook = tc_hook(ifindex, false);
	libbpf_set_print(NULL); /* "Exclusivity flag on" is no trouble */
	err = bpf_tc_hook_create(&hook);
	if (err && err != -EEXIST)
		return throw_errno(env, err, "Cannot add the clsact qdisc to interface %u", ifindex);
	return make_bool(env, err == 0);
}

/* clsactDestroy(ifindex): removes the qdisc with every filter on it; the caller has made sure that there is none */
static napi_value clsact_destroy(napi_env env, napi_callback_info info)
{
	struct bpf_tc_hook hook;
	napi_value args[1];
	uint32_t ifindex;
	int err;

	read_args(env, info, 1, args);
	if (!arg_u32(env, args[0], "ifindex", &ifindex))
		return NULL;
	hook = tc_hook(ifindex, false);
	hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
	libbpf_set_print(NULL);
	err = bpf_tc_hook_destroy(&hook);
	if (err && err != -ENOENT && err != -EINVAL)
		return throw_errno(env, err, "Cannot remove the clsact qdisc of interface %u", ifindex);
	return make_undefined(env);
}

/* clsactAttach(program, ifindex, egress, handle, priority): replaces what has this handle and priority */
static napi_value clsact_attach(napi_env env, napi_callback_info info)
{
	LIBBPF_OPTS(bpf_tc_opts, opts);
	struct bpf_tc_hook hook;
	napi_value args[5];
	uint32_t ifindex, handle, priority;
	bool egress;
	int program, err;

	read_args(env, info, 5, args);
	if (!arg_i32(env, args[0], "program", &program) || !arg_u32(env, args[1], "ifindex", &ifindex) ||
	    !arg_bool(env, args[2], "egress", &egress) || !arg_u32(env, args[3], "handle", &handle) ||
	    !arg_u32(env, args[4], "priority", &priority))
		return NULL;
	hook = tc_hook(ifindex, egress);
	opts.prog_fd = program;
	opts.handle = handle;
	opts.priority = priority;
	opts.flags = BPF_TC_F_REPLACE;
	err = bpf_tc_attach(&hook, &opts);
	if (err)
		return throw_errno(env, err, "Cannot attach a clsact %s filter to interface %u", egress ? "egress" : "ingress", ifindex);
	return make_undefined(env);
}

/* clsactQuery(ifindex, egress, handle, priority) → id of the program there, 0 when there is none */
static napi_value clsact_query(napi_env env, napi_callback_info info)
{
	LIBBPF_OPTS(bpf_tc_opts, opts);
	struct bpf_tc_hook hook;
	napi_value args[4];
	uint32_t ifindex, handle, priority;
	bool egress;
	int err;

	read_args(env, info, 4, args);
	if (!arg_u32(env, args[0], "ifindex", &ifindex) || !arg_bool(env, args[1], "egress", &egress) ||
	    !arg_u32(env, args[2], "handle", &handle) || !arg_u32(env, args[3], "priority", &priority))
		return NULL;
	hook = tc_hook(ifindex, egress);
	opts.handle = handle;
	opts.priority = priority;
	libbpf_set_print(NULL);
	err = bpf_tc_query(&hook, &opts);
	if (err && err != -ENOENT && err != -EINVAL && err != -ENODEV)
		return throw_errno(env, err, "Cannot read the clsact filters of interface %u", ifindex);
	return make_u32(env, err ? 0 : opts.prog_id);
}

/* clsactDetach(ifindex, egress, handle, priority) → false when there was none */
static napi_value clsact_detach(napi_env env, napi_callback_info info)
{
	LIBBPF_OPTS(bpf_tc_opts, opts);
	struct bpf_tc_hook hook;
	napi_value args[4];
	uint32_t ifindex, handle, priority;
	bool egress;
	int err;

	read_args(env, info, 4, args);
	if (!arg_u32(env, args[0], "ifindex", &ifindex) || !arg_bool(env, args[1], "egress", &egress) ||
	    !arg_u32(env, args[2], "handle", &handle) || !arg_u32(env, args[3], "priority", &priority))
		return NULL;
	hook = tc_hook(ifindex, egress);
	opts.handle = handle;
	opts.priority = priority;
	libbpf_set_print(NULL);
	err = bpf_tc_detach(&hook, &opts);
	if (err && err != -ENOENT && err != -EINVAL && err != -ENODEV)
		return throw_errno(env, err, "Cannot remove our clsact filter from interface %u", ifindex);
	return make_bool(env, err == 0);
}

void export_link(napi_env env, napi_value exports)
{
	static const struct function functions[] = {
		{ "linkCreateTcx", link_create_tcx },
		{ "linkCreateTcxAsync", link_create_tcx_async },
		{ "tcxSupported", tcx_supported },
		{ "linkCreateTracing", link_create_tracing },
		{ "linkCreateRawTracepoint", link_create_raw_tracepoint },
		{ "linkUpdate", link_update },
		{ "linkDetach", link_detach },
		{ "linkInfo", link_info },
		{ "pin", pin },
		{ "openPinned", open_pinned },
		{ "lockDirectory", lock_directory },
		{ "clsactCreate", clsact_create },
		{ "clsactDestroy", clsact_destroy },
		{ "clsactAttach", clsact_attach },
		{ "clsactQuery", clsact_query },
		{ "clsactDetach", clsact_detach },
	};

	export_functions(env, exports, functions, ARRAY_SIZE(functions));
}
