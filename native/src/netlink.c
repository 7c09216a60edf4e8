// SPDX-License-Identifier: Apache-2.0
/* rtnetlink of the network namespace that the thread is in: devices, addresses, default routes, filters, events. */
#define _GNU_SOURCE
#include "addon.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define MESSAGE_SIZE (64 * 1024)    /* a dump's messages come in parts of at most 32 KiB */
#define EVENT_BUFFER (4 * 1024 * 1024) /* about 2,000 link events; beyond it the kernel says ENOBUFS */

static int open_socket(uint32_t groups)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = groups };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	int saved, one = 1;

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address))) {
		saved = errno;
		close(fd);
		return -saved;
	}
	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
	return fd;
}

/* --- attributes ------------------------------------------------------------------------------------------- */

static void index_attributes(struct rtattr **table, size_t count, struct rtattr *attribute, int length)
{
	memset(table, 0, count * sizeof(*table));
	for (; RTA_OK(attribute, length); attribute = RTA_NEXT(attribute, length)) {
		unsigned short type = attribute->rta_type & (unsigned short)~NLA_F_NESTED;

		if (type < count)
			table[type] = attribute;
	}
}

static uint32_t attribute_u32(const struct rtattr *attribute, uint32_t absent)
{
	uint32_t value;

	if (!attribute || RTA_PAYLOAD(attribute) < sizeof(value))
		return absent;
	memcpy(&value, RTA_DATA(attribute), sizeof(value));
	return value;
}

/* Text of an attribute, which the kernel ends with NUL; empty when there is none. */
static napi_value attribute_text(napi_env env, const struct rtattr *attribute)
{
	napi_value out = NULL;

	if (!attribute)
		return make_string(env, "");
	napi_create_string_utf8(env, RTA_DATA(attribute), strnlen(RTA_DATA(attribute), RTA_PAYLOAD(attribute)), &out);
	return out;
}

static napi_value attribute_bytes(napi_env env, const struct rtattr *attribute)
{
	return attribute ? make_bytes(env, RTA_DATA(attribute), RTA_PAYLOAD(attribute)) : make_bytes(env, "", 0);
}

/*
 * Whether a message tells of a device itself. A bridge tells of its ports in messages of its own family, and of a port
 * that leaves it as of a device that was removed.
 */
static bool is_device(const struct nlmsghdr *message)
{
	return ((const struct ifinfomsg *)NLMSG_DATA(message))->ifi_family == AF_UNSPEC;
}

/*
 * { event, ifindex, name, kind, iflink, linkNetnsId, master, flags, mtu, mac }: linkNetnsId is -1 when the peer is in
 * the same namespace, iflink the peer's or lower device's index there.
 */
static napi_value parse_link(napi_env env, const struct nlmsghdr *message)
{
	struct rtattr *attributes[IFLA_MAX + 1], *details[IFLA_INFO_MAX + 1];
	const struct ifinfomsg *head = NLMSG_DATA(message);
	napi_value out;

	index_attributes(attributes, ARRAY_SIZE(attributes), IFLA_RTA(head), (int)IFLA_PAYLOAD(message));
	memset(details, 0, sizeof(details));
	if (attributes[IFLA_LINKINFO])
		index_attributes(details, ARRAY_SIZE(details), RTA_DATA(attributes[IFLA_LINKINFO]),
				 (int)RTA_PAYLOAD(attributes[IFLA_LINKINFO]));
	napi_create_object(env, &out);
	set_member(env, out, "event", make_string(env, message->nlmsg_type == RTM_DELLINK ? "removed" : "present"));
	set_member(env, out, "ifindex", make_i32(env, head->ifi_index));
	set_member(env, out, "name", attribute_text(env, attributes[IFLA_IFNAME]));
	set_member(env, out, "kind", attribute_text(env, details[IFLA_INFO_KIND]));
	set_member(env, out, "iflink", make_u32(env, attribute_u32(attributes[IFLA_LINK], 0)));
	set_member(env, out, "linkNetnsId", make_i32(env, (int32_t)attribute_u32(attributes[IFLA_LINK_NETNSID], UINT32_MAX)));
	set_member(env, out, "master", make_u32(env, attribute_u32(attributes[IFLA_MASTER], 0)));
	set_member(env, out, "flags", make_u32(env, head->ifi_flags));
	set_member(env, out, "mtu", make_u32(env, attribute_u32(attributes[IFLA_MTU], 0)));
	set_member(env, out, "mac", attribute_bytes(env, attributes[IFLA_ADDRESS]));
	return out;
}

/* { ifindex, family, prefixLength, scope, address } */
static napi_value parse_address(napi_env env, const struct nlmsghdr *message)
{
	struct rtattr *attributes[IFA_MAX + 1];
	const struct ifaddrmsg *head = NLMSG_DATA(message);
	struct rtattr *address;
	napi_value out;

	index_attributes(attributes, ARRAY_SIZE(attributes), IFA_RTA(head), (int)IFA_PAYLOAD(message));
	/* On a point-to-point device IFA_ADDRESS is the peer's. */
	address = attributes[IFA_LOCAL] ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
	if (!address)
		return NULL;
	napi_create_object(env, &out);
	set_member(env, out, "ifindex", make_u32(env, head->ifa_index));
	set_member(env, out, "family", make_u32(env, head->ifa_family == AF_INET ? 4 : 6));
	set_member(env, out, "prefixLength", make_u32(env, head->ifa_prefixlen));
	set_member(env, out, "scope", make_u32(env, head->ifa_scope));
	set_member(env, out, "address", attribute_bytes(env, address));
	return out;
}

/* The device of a default route in the main table; of each next hop where there are several. */
static void parse_default_route(napi_env env, const struct nlmsghdr *message, napi_value list)
{
	struct rtattr *attributes[RTA_MAX + 1];
	const struct rtmsg *head = NLMSG_DATA(message);
	uint32_t at, device;

	index_attributes(attributes, ARRAY_SIZE(attributes), RTM_RTA(head), (int)RTM_PAYLOAD(message));
	if (head->rtm_dst_len != 0 || head->rtm_type != RTN_UNICAST ||
	    attribute_u32(attributes[RTA_TABLE], head->rtm_table) != RT_TABLE_MAIN)
		return;
	napi_get_array_length(env, list, &at);
	device = attribute_u32(attributes[RTA_OIF], 0);
	if (device)
		napi_set_element(env, list, at++, make_u32(env, device));
	if (attributes[RTA_MULTIPATH]) {
		struct rtnexthop *hop = RTA_DATA(attributes[RTA_MULTIPATH]);
		int length = (int)RTA_PAYLOAD(attributes[RTA_MULTIPATH]);

		for (; RTNH_OK(hop, length); length -= RTNH_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop))
			napi_set_element(env, list, at++, make_i32(env, hop->rtnh_ifindex));
	}
}

/* --- requests --------------------------------------------------------------------------------------------- */

/* The dump's request: room for the largest of the heads. */
struct request {
	struct nlmsghdr header;
	union {
		struct ifinfomsg link;
		struct ifaddrmsg address;
		struct rtmsg route;
		struct tcmsg tc;
	} body;
};

typedef void (*visit)(napi_env env, const struct nlmsghdr *message, napi_value list);

/* Visits each message of the answer. @return 0, or an errno; EINTR when the dump raced with a change. */
static int walk_answer(napi_env env, int fd, visit visitor, napi_value list)
{
	static char buffer[MESSAGE_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	bool interrupted = false;

	for (;;) {
		/* The kernel answers a dump inside sendmsg and recvmsg: there is nothing to wait for. */
		ssize_t length = recv(fd, buffer, sizeof(buffer), 0);
		struct nlmsghdr *message = (struct nlmsghdr *)buffer;

		if (length < 0)
			return errno;
		for (int rest = (int)length; NLMSG_OK(message, rest); message = NLMSG_NEXT(message, rest)) {
			if (message->nlmsg_flags & NLM_F_DUMP_INTR)
				interrupted = true;
			if (message->nlmsg_type == NLMSG_DONE)
				return interrupted ? EINTR : 0;
			if (message->nlmsg_type == NLMSG_ERROR)
				return -((struct nlmsgerr *)NLMSG_DATA(message))->error;
			visitor(env, message, list);
		}
	}
}

static napi_value dump(napi_env env, struct request *request, size_t body, visit visitor, const char *what)
{
	int err = EINTR;
	napi_value list = NULL;

	request->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(body);
	request->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	for (int attempt = 0; err == EINTR && attempt < 8; attempt++) {
		int fd = open_socket(0);

		if (fd < 0)
			return throw_errno(env, fd, "Cannot open an rtnetlink socket");
		napi_create_array(env, &list);
		err = send(fd, request, request->header.nlmsg_len, 0) < 0 ? errno : walk_answer(env, fd, visitor, list);
		close(fd);
	}
	/* Changed each time while it was read: entries are right, some may be missing; events will tell of those. */
	if (err && err != EINTR)
		return throw_errno(env, err, "Cannot list %s by rtnetlink", what);
	return list;
}

static void push(napi_env env, napi_value list, napi_value row)
{
	uint32_t at;

	napi_get_array_length(env, list, &at);
	if (row)
		napi_set_element(env, list, at, row);
}

static void visit_link(napi_env env, const struct nlmsghdr *message, napi_value list)
{
	if (message->nlmsg_type == RTM_NEWLINK)
		push(env, list, parse_link(env, message));
}

static void visit_address(napi_env env, const struct nlmsghdr *message, napi_value list)
{
	if (message->nlmsg_type == RTM_NEWADDR)
		push(env, list, parse_address(env, message));
}

static void visit_route(napi_env env, const struct nlmsghdr *message, napi_value list)
{
	if (message->nlmsg_type == RTM_NEWROUTE)
		parse_default_route(env, message, list);
}

/* A filter's own messages have a handle; the one without announces its chain. */
static void visit_filter(napi_env env, const struct nlmsghdr *message, napi_value list)
{
	const struct tcmsg *head = NLMSG_DATA(message);

	if (message->nlmsg_type == RTM_NEWTFILTER && head->tcm_handle)
		push(env, list, make_u32(env, head->tcm_handle));
}

/* netlinkLinks() */
static napi_value netlink_links(napi_env env, napi_callback_info info)
{
	struct request request = { .header.nlmsg_type = RTM_GETLINK };

	(void)info;
	return dump(env, &request, sizeof(request.body.link), visit_link, "devices");
}

/* netlinkAddresses() */
static napi_value netlink_addresses(napi_env env, napi_callback_info info)
{
	struct request request = { .header.nlmsg_type = RTM_GETADDR };

	(void)info;
	return dump(env, &request, sizeof(request.body.address), visit_address, "addresses");
}

/* netlinkDefaultDevices() → ifindexes, possibly repeated */
static napi_value netlink_default_devices(napi_env env, napi_callback_info info)
{
	struct request request = { .header.nlmsg_type = RTM_GETROUTE };

	(void)info;
	return dump(env, &request, sizeof(request.body.route), visit_route, "routes");
}

/* netlinkFilters(ifindex) → handles of the clsact filters of both directions */
static napi_value netlink_filters(napi_env env, napi_callback_info info)
{
	static const uint32_t parents[] = { TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS) };
	napi_value args[1], out, part, item;
	uint32_t ifindex, count;

	read_args(env, info, 1, args);
	if (!arg_u32(env, args[0], "ifindex", &ifindex))
		return NULL;
	napi_create_array(env, &out);
	for (size_t i = 0; i < ARRAY_SIZE(parents); i++) {
		struct request request = { .header.nlmsg_type = RTM_GETTFILTER };

		request.body.tc.tcm_ifindex = (int)ifindex;
		request.body.tc.tcm_parent = parents[i];
		part = dump(env, &request, sizeof(request.body.tc), visit_filter, "filters");
		if (!part)
			return NULL;
		napi_get_array_length(env, part, &count);
		for (uint32_t k = 0; k < count; k++) {
			napi_get_element(env, part, k, &item);
			push(env, out, item);
		}
	}
	return out;
}

/* netlinkNetnsId(fd) → the number that this namespace knows the other one by, -1 when it has none */
static napi_value netlink_netns_id(napi_env env, napi_callback_info info)
{
	struct {
		struct nlmsghdr header;
		struct rtgenmsg body;
		char attributes[RTA_SPACE(sizeof(int))];
	} request = { .header = { .nlmsg_type = RTM_GETNSID, .nlmsg_flags = NLM_F_REQUEST } };
	char answer[256] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *message = (struct nlmsghdr *)answer;
	struct rtattr *attributes[NETNSA_MAX + 1], *attribute;
	napi_value args[1];
	ssize_t length;
	int fd, netns, err = 0;

	read_args(env, info, 1, args);
	if (!arg_i32(env, args[0], "fd", &netns))
		return NULL;
	attribute = (struct rtattr *)((char *)&request + NLMSG_ALIGN(NLMSG_LENGTH(sizeof(request.body))));
	attribute->rta_type = NETNSA_FD;
	attribute->rta_len = RTA_LENGTH(sizeof(int));
	memcpy(RTA_DATA(attribute), &netns, sizeof(netns));
	request.header.nlmsg_len = NLMSG_ALIGN(NLMSG_LENGTH(sizeof(request.body))) + RTA_SPACE(sizeof(int));
	fd = open_socket(0);
	if (fd < 0)
		return throw_errno(env, fd, "Cannot open an rtnetlink socket");
	length = send(fd, &request, request.header.nlmsg_len, 0) < 0 ? -1 : recv(fd, answer, sizeof(answer), 0);
	if (length < 0)
		err = errno;
	close(fd);
	if (err || !NLMSG_OK(message, (int)length))
		return throw_errno(env, err ? err : EBADMSG, "Cannot look up a network namespace");
	if (message->nlmsg_type == NLMSG_ERROR)
		return throw_errno(env, ((struct nlmsgerr *)NLMSG_DATA(message))->error, "Cannot look up a network namespace");
	index_attributes(attributes, ARRAY_SIZE(attributes),
			 (struct rtattr *)((char *)NLMSG_DATA(message) + NLMSG_ALIGN(sizeof(struct rtgenmsg))),
			 (int)NLMSG_PAYLOAD(message, sizeof(struct rtgenmsg)));
	return make_i32(env, (int32_t)attribute_u32(attributes[NETNSA_NSID], UINT32_MAX));
}

/* --- events ----------------------------------------------------------------------------------------------- */

struct watch {
	uv_poll_t poll;
	napi_env env;
	napi_ref callback;
	napi_async_context context;
	int fd; /* -1 once closed */
	bool collected; /* JavaScript's handle is gone: free when libuv is done */
	bool closed;	/* libuv is done */
};

static void watch_released(uv_handle_t *handle)
{
	struct watch *watch = handle->data;

	watch->closed = true;
	if (watch->collected)
		free(watch);
}

static void watch_close(struct watch *watch)
{
	if (watch->fd < 0)
		return;
	uv_poll_stop(&watch->poll);
	close(watch->fd);
	watch->fd = -1;
	napi_delete_reference(watch->env, watch->callback);
	napi_async_destroy(watch->env, watch->context);
	uv_close((uv_handle_t *)&watch->poll, watch_released);
}

static void watch_collect(napi_env env, void *data, void *hint)
{
	struct watch *watch = data;

	(void)env;
	(void)hint;
	watch->collected = true;
	if (watch->closed)
		free(watch);
	else
		watch_close(watch);
}

/* Calls back with a list of links, or with null when events were lost and all must be listed again. */
static void watch_deliver(struct watch *watch, napi_value value)
{
	napi_value callback, receiver, error;
	napi_env env = watch->env;

	napi_get_reference_value(env, watch->callback, &callback);
	napi_get_global(env, &receiver);
	if (napi_make_callback(env, watch->context, receiver, callback, 1, &value, NULL) == napi_pending_exception &&
	    napi_get_and_clear_last_exception(env, &error) == napi_ok)
		napi_fatal_exception(env, error);
}

/* Adds the messages of one datagram. */
static void watch_parse(napi_env env, char *buffer, ssize_t length, napi_value list)
{
	struct nlmsghdr *message = (struct nlmsghdr *)buffer;

	for (int rest = (int)length; NLMSG_OK(message, rest); message = NLMSG_NEXT(message, rest))
		if ((message->nlmsg_type == RTM_NEWLINK || message->nlmsg_type == RTM_DELLINK) && is_device(message))
			push(env, list, parse_link(env, message));
}

static void watch_readable(uv_poll_t *handle, int status, int events)
{
	static char buffer[MESSAGE_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct watch *watch = handle->data;
	napi_env env = watch->env;
	napi_handle_scope scope;
	napi_value list, nothing;
	bool overrun = status < 0;
	uint32_t count;

	(void)events;
	napi_open_handle_scope(env, &scope);
	napi_create_array(env, &list);
	/*
	 * After an overrun the kernel drops events, and says no more of it, until the queue was empty once: it is emptied
	 * before the caller hears of it and lists again. Else 64 datagrams, and the rest at the next turn of the loop.
	 */
	for (int i = 0; i < 64 || overrun; i++) {
		ssize_t length = recv(watch->fd, buffer, sizeof(buffer), MSG_TRUNC);

		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0 && errno == ENOBUFS) {
			overrun = true;
			continue;
		}
		if (length < 0)
			break;
		if ((size_t)length > sizeof(buffer))
			overrun = true;
		else if (!overrun)
			watch_parse(env, buffer, length, list);
	}
	/* libuv stops a poll that met an error on its socket, which is how an overrun shows. */
	if (status < 0)
		uv_poll_start(&watch->poll, UV_READABLE, watch_readable);
	napi_get_array_length(env, list, &count);
	if (count)
		watch_deliver(watch, list);
	if (overrun && watch->fd >= 0) {
		napi_get_null(env, &nothing);
		watch_deliver(watch, nothing);
	}
	napi_close_handle_scope(env, scope);
}

/* netlinkWatch(callback) → a handle for netlinkUnwatch; does not keep the process alive */
static napi_value netlink_watch(napi_env env, napi_callback_info info)
{
	napi_value args[1], out = NULL;
	struct watch *watch;
	napi_valuetype type;
	uv_loop_t *loop;
	int room = EVENT_BUFFER, err;

	read_args(env, info, 1, args);
	napi_typeof(env, args[0], &type);
	if (type != napi_function) {
		napi_throw_type_error(env, NULL, "Argument \"callback\" is not a function");
		return NULL;
	}
	watch = calloc(1, sizeof(*watch));
	if (!watch)
		return throw_errno(env, ENOMEM, "Cannot watch the devices");
	watch->env = env;
	watch->fd = open_socket(RTMGRP_LINK);
	if (watch->fd < 0) {
		err = watch->fd;
		free(watch);
		return throw_errno(env, err, "Cannot watch the devices by rtnetlink");
	}
	if (setsockopt(watch->fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)))
		setsockopt(watch->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	napi_get_uv_event_loop(env, &loop);
	err = uv_poll_init(loop, &watch->poll, watch->fd);
	if (err) {
		close(watch->fd);
		free(watch);
		return throw_errno(env, err, "Cannot watch the devices");
	}
	watch->poll.data = watch;
	napi_create_reference(env, args[0], 1, &watch->callback);
	napi_async_init(env, NULL, make_string(env, "sluice:netlink"), &watch->context);
	uv_poll_start(&watch->poll, UV_READABLE, watch_readable);
	uv_unref((uv_handle_t *)&watch->poll);
	if (napi_create_external(env, watch, watch_collect, NULL, &out) != napi_ok)
		watch_collect(env, watch, NULL);
	return out;
}

/* netlinkUnwatch(handle) */
static napi_value netlink_unwatch(napi_env env, napi_callback_info info)
{
	napi_value args[1];
	struct watch *watch;

	read_args(env, info, 1, args);
	if (napi_get_value_external(env, args[0], (void **)&watch) == napi_ok)
		watch_close(watch);
	return make_undefined(env);
}

void export_netlink(napi_env env, napi_value exports)
{
	static const struct function functions[] = {
		{ "netlinkLinks", netlink_links },
		{ "netlinkAddresses", netlink_addresses },
		{ "netlinkDefaultDevices", netlink_default_devices },
		{ "netlinkFilters", netlink_filters },
		{ "netlinkNetnsId", netlink_netns_id },
		{ "netlinkWatch", netlink_watch },
		{ "netlinkUnwatch", netlink_unwatch },
	};

	export_functions(env, exports, functions, ARRAY_SIZE(functions));
}
