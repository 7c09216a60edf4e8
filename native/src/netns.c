// SPDX-License-Identifier: Apache-2.0
/* Network namespaces: going into one for the length of a call, and what it is known by. */
#define _GNU_SOURCE
#include "addon.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

int netns_enter(int netns, int *home)
{
	int err;

	*home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (*home < 0)
		return -errno;
	if (!setns(netns, CLONE_NEWNET))
		return 0;
	err = -errno;
	close(*home);
	*home = -1;
	return err;
}

void netns_leave(int home)
{
	if (setns(home, CLONE_NEWNET)) {
		fprintf(stderr, "sluice: cannot leave a network namespace: %s\n", strerror(errno));
		abort();
	}
	close(home);
}

/*
 * netnsRun(fd, callback): calls back with this thread in the namespace and returns what it returned. JavaScript runs
 * on this thread only, so nothing else of ours sees the other namespace; sockets keep the one that they were made in.
 */
static napi_value netns_run(napi_env env, napi_callback_info info)
{
	napi_value args[2], receiver, out = NULL;
	int target, home, err;

	read_args(env, info, 2, args);
	if (!arg_i32(env, args[0], "fd", &target))
		return NULL;
	err = netns_enter(target, &home);
	if (err)
		return throw_errno(env, err, "Cannot enter the network namespace");
	napi_get_undefined(env, &receiver);
	napi_call_function(env, receiver, args[1], 0, NULL, &out); /* an exception stays pending and travels on */
	netns_leave(home);
	return out;
}

/* netnsCookie() → the kernel's number of the namespace that this thread is in; never used twice */
static napi_value netns_cookie(napi_env env, napi_callback_info info)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;

	(void)info;
	if (fd < 0)
		return throw_errno(env, errno, "Cannot open a socket to read the network namespace's cookie");
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size))
		err = errno;
	close(fd);
	if (err)
		return throw_errno(env, err, "Cannot read the network namespace's cookie");
	return make_u64(env, cookie);
}

void export_netns(napi_env env, napi_value exports)
{
	static const struct function functions[] = {
		{ "netnsRun", netns_run },
		{ "netnsCookie", netns_cookie },
	};

	export_functions(env, exports, functions, ARRAY_SIZE(functions));
}
