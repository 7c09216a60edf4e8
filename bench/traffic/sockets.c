/* SPDX-License-Identifier: Apache-2.0 */
/* Traffic over real sockets. */
#include "common.h"

#define CHUNK (128 * 1024)

static char buffer[CHUNK];

static void read_all(int fd, size_t bytes)
{
	for (size_t got = 0; got < bytes;) {
		ssize_t n = read(fd, buffer, bytes - got);

		if (n <= 0)
			die("read");
		got += (size_t)n;
	}
}

static void write_all(int fd, size_t bytes)
{
	for (size_t put = 0; put < bytes;) {
		ssize_t n = write(fd, buffer, bytes - put);

		if (n <= 0)
			die("write");
		put += (size_t)n;
	}
}

static void no_delay(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* One connection after another: each benchmark has one at a time. */
static void answer_all(int listener, int is_sink, int is_once)
{
	for (;;) {
		ssize_t n;
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			continue;
		no_delay(fd);
		while ((n = read(fd, buffer, sizeof(buffer))) > 0) {
			if (is_sink)
				continue;
			write_all(fd, (size_t)n);
			if (is_once)
				break;
		}
		close(fd);
	}
}

int serve(int argc, char **argv)
{
	int is_udp = strcmp(argv[0], "datagrams") == 0;
	int fd = socket_in("-", is_udp ? SOCK_DGRAM : SOCK_STREAM, 0);
	struct sockaddr_in here = address("0.0.0.0", atoi(argv[1]));
	int on = 1, room = 8 << 20;

	(void)argc;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0)
		die("bind");
	if (is_udp) {
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
		puts("ready");
		for (;;)
			recv(fd, buffer, sizeof(buffer), 0);
	}
	if (listen(fd, 1024) < 0)
		die("listen");
	puts("ready");
	answer_all(fd, strcmp(argv[0], "sink") == 0, strcmp(argv[0], "answer") == 0);
	return 0;
}

static int connected(const char *ip, const char *port)
{
	int fd = socket_in("-", SOCK_STREAM, 0);
	struct sockaddr_in to = address(ip, atoi(port));

	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("connect");
	no_delay(fd);
	return fd;
}

static int report(uint64_t started, uint64_t cpu, uint64_t count, uint64_t bytes)
{
	printf("{\"count\":%llu,\"bytes\":%llu,\"ns\":%llu,\"cpu_ns\":%llu}\n", (unsigned long long)count,
	       (unsigned long long)bytes, (unsigned long long)(now_ns() - started), (unsigned long long)(cpu_ns() - cpu));
	return 0;
}

int rr(int argc, char **argv)
{
	int fd = connected(argv[0], argv[1]);
	uint64_t count = strtoull(argv[2], NULL, 10), size = strtoull(argv[3], NULL, 10);
	uint64_t started = now_ns(), cpu = cpu_ns();

	(void)argc;
	for (uint64_t i = 0; i < count; i++) {
		write_all(fd, size);
		read_all(fd, size);
	}
	return report(started, cpu, count, count * size);
}

int stream(int argc, char **argv)
{
	int fd = connected(argv[0], argv[1]);
	uint64_t started = now_ns(), cpu = cpu_ns(), bytes = 0;
	uint64_t end = started + strtoull(argv[2], NULL, 10) * 1000000ull;

	(void)argc;
	while (now_ns() < end) {
		write_all(fd, CHUNK);
		bytes += CHUNK;
	}
	return report(started, cpu, 1, bytes);
}

int churn(int argc, char **argv)
{
	uint64_t count = strtoull(argv[2], NULL, 10);
	uint64_t started = now_ns(), cpu = cpu_ns();

	(void)argc;
	for (uint64_t i = 0; i < count; i++) {
		int fd = connected(argv[0], argv[1]);

		write_all(fd, 64);
		read_all(fd, 64);
		/* The server closes first: it keeps the port waiting, not the client, who would run out of them. */
		if (read(fd, buffer, 1) != 0)
			die("close");
		close(fd);
	}
	return report(started, cpu, count, count * 64);
}

int udp(int argc, char **argv)
{
	int fd = socket_in("-", SOCK_DGRAM, 0);
	struct sockaddr_in to = address(argv[0], atoi(argv[1]));
	uint64_t count = strtoull(argv[2], NULL, 10), size = strtoull(argv[3], NULL, 10);
	uint64_t started = now_ns(), cpu = cpu_ns();

	(void)argc;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("connect");
	for (uint64_t i = 0; i < count; i++)
		if (send(fd, buffer, size, 0) < 0)
			die("send");
	return report(started, cpu, count, count * size);
}

#define MESH_PORT 7100
#define MESH_MAX 1024

/* Every pod sends to seven others in turn and reads what came before: as many flows as pods times seven. */
int mesh(int argc, char **argv)
{
	static int fds[MESH_MAX];
	static struct sockaddr_in at[MESH_MAX];
	uint64_t count = strtoull(argv[0], NULL, 10), received = 0;
	int pods = argc - 1 < MESH_MAX ? argc - 1 : MESH_MAX;

	for (int i = 0; i < pods; i++) {
		char *ip = strchr(argv[i + 1], '=');

		if (!ip)
			die("want NETNS=ADDRESS");
		*ip++ = 0;
		fds[i] = socket_in(argv[i + 1], SOCK_DGRAM, 0);
		at[i] = address(ip, MESH_PORT);
		if (bind(fds[i], (struct sockaddr *)&at[i], sizeof(at[i])) < 0)
			die("bind");
	}
	uint64_t started = now_ns(), cpu = cpu_ns();

	for (uint64_t i = 0; i < count; i++) {
		int from = (int)(i % (uint64_t)pods);
		int to = (from + 1 + (int)(i / (uint64_t)pods % 7)) % pods;

		if (sendto(fds[from], buffer, 200, 0, (struct sockaddr *)&at[to], sizeof(at[to])) < 0)
			die("sendto");
		while (recv(fds[to], buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
			received++;
	}
	return report(started, cpu, count, received * 200);
}
