/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traffic of the benchmarks. Each command does one thing and prints one line of JSON when it is through:
 *
 *   serve KIND PORT                  "echo", "sink" or "answer" for TCP, "datagrams" for UDP; prints "ready"; until killed
 *   rr ADDRESS PORT COUNT BYTES      requests and answers of so many bytes over one TCP connection
 *   stream ADDRESS PORT MS           as much as goes through in one TCP connection
 *   churn ADDRESS PORT COUNT         a connection, one request, one answer, again
 *   udp ADDRESS PORT COUNT BYTES     datagrams of one flow
 *   mesh COUNT NETNS=ADDRESS ...     datagrams that pods send each other in turn
 *   connections RATE MS A=IP B=IP    TCP connections made of bare headers, so many a second: SYN, SYN-ACK, FIN, FIN
 *   flows COUNT A=IP B=IP            one UDP datagram each of so many flows
 *   marks COUNT GAP_US A=IP B=IP     one datagram after another, each a new flow; prints port and time of each
 */
#include "common.h"

void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t cpu_ns(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

void sleep_until(uint64_t ns)
{
	struct timespec t = { .tv_sec = (time_t)(ns / 1000000000ull), .tv_nsec = (long)(ns % 1000000000ull) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

struct sockaddr_in address(const char *ip, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	if (inet_pton(AF_INET, ip, &to.sin_addr) != 1) {
		fprintf(stderr, "\"%s\" is no IPv4 address\n", ip);
		exit(2);
	}
	return to;
}

int socket_in(const char *netns, int type, int protocol)
{
	int home = -1, there, fd;

	if (strcmp(netns, "-") != 0) {
		home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		there = open(netns, O_RDONLY | O_CLOEXEC);
		if (home < 0 || there < 0 || setns(there, CLONE_NEWNET) < 0)
			die(netns);
		close(there);
	}
	fd = socket(AF_INET, type, protocol);
	if (fd < 0)
		die("socket");
	if (home >= 0) {
		if (setns(home, CLONE_NEWNET) < 0)
			die("setns");
		close(home);
	}
	return fd;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int arguments;
		int (*run)(int, char **);
	} commands[] = {
		{ "serve", 2, serve },	     { "rr", 4, rr },	     { "stream", 3, stream }, { "churn", 3, churn },
		{ "udp", 4, udp },	     { "mesh", 3, mesh },    { "connections", 4, connections },
		{ "flows", 3, flows },	     { "marks", 4, marks },
	};

	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(*commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0 && argc - 2 >= commands[i].arguments)
			return commands[i].run(argc - 2, argv + 2);
	fprintf(stderr, "usage: see the head of main.c\n");
	return 2;
}
