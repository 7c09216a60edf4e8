/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets of headers alone, through raw sockets in two pods: thousands of flows cost no socket each. Whoever runs this
 * lets both pods discard what arrives, so that no stack answers what nobody opened.
 */
#include "common.h"

#define BATCH 64
#define FIRST_PORT 1024
#define PORTS 60000

struct end {
	const char *netns;
	struct in_addr ip;
	int fd;
};

struct packet {
	struct iphdr ip;
	union {
		struct tcphdr tcp;
		struct udphdr udp;
	};
} __attribute__((packed));

static struct packet packets[BATCH];

static struct end end_of(char *text)
{
	struct end end = { .netns = text };
	char *ip = strchr(text, '=');

	if (!ip) {
		fprintf(stderr, "\"%s\": want NETNS=ADDRESS\n", text);
		exit(2);
	}
	*ip++ = 0;
	end.ip = address(ip, 0).sin_addr;
	end.fd = socket_in(end.netns, SOCK_RAW, IPPROTO_RAW);
	return end;
}

static void fill(struct packet *p, const struct end *from, const struct end *to, int protocol, uint16_t bytes)
{
	memset(p, 0, sizeof(*p));
	p->ip.version = 4;
	p->ip.ihl = 5;
	p->ip.tot_len = htons(bytes);
	p->ip.ttl = 64;
	p->ip.protocol = (uint8_t)protocol;
	p->ip.saddr = from->ip.s_addr;
	p->ip.daddr = to->ip.s_addr;
}

/* The kernel fills in the IP checksum; nobody on the way looks at that of TCP or UDP. */
static void send_batch(const struct end *from, const struct end *to, int count, size_t bytes)
{
	static struct mmsghdr messages[BATCH];
	static struct iovec parts[BATCH];
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_addr = to->ip };

	for (int i = 0; i < count; i++) {
		parts[i] = (struct iovec){ &packets[i], bytes };
		messages[i].msg_hdr = (struct msghdr){ .msg_name = &peer, .msg_namelen = sizeof(peer),
						       .msg_iov = &parts[i], .msg_iovlen = 1 };
	}
	for (int sent = 0; sent < count;) {
		int n = sendmmsg(from->fd, messages + sent, (unsigned int)(count - sent), 0);

		if (n <= 0)
			die("sendmmsg");
		sent += n;
	}
}

/* A five-tuple that comes again after 60,000 x 50,000 connections. */
static void tcp_batch(const struct end *from, const struct end *to, uint64_t first, int count, int is_opener,
		      uint8_t flags)
{
	const uint16_t bytes = sizeof(struct iphdr) + sizeof(struct tcphdr);

	for (int i = 0; i < count; i++) {
		struct packet *p = &packets[i];
		uint16_t client = htons((uint16_t)(FIRST_PORT + (first + (uint64_t)i) % PORTS));
		uint16_t server = htons((uint16_t)(10000 + (first + (uint64_t)i) / PORTS % 50000));

		fill(p, from, to, IPPROTO_TCP, bytes);
		p->tcp.source = is_opener ? client : server;
		p->tcp.dest = is_opener ? server : client;
		p->tcp.doff = 5;
		p->tcp.window = htons(512);
		((uint8_t *)&p->tcp)[13] = flags;
	}
	send_batch(from, to, count, bytes);
}

static uint64_t udp_batch(const struct end *from, const struct end *to, uint64_t first, int count)
{
	const uint16_t bytes = sizeof(struct iphdr) + sizeof(struct udphdr);

	for (int i = 0; i < count; i++) {
		struct packet *p = &packets[i];

		fill(p, from, to, IPPROTO_UDP, bytes);
		p->udp.source = htons((uint16_t)(FIRST_PORT + (first + (uint64_t)i) % PORTS));
		p->udp.dest = htons((uint16_t)(20000 + (first + (uint64_t)i) / PORTS));
		p->udp.len = htons(sizeof(struct udphdr));
	}
	send_batch(from, to, count, bytes);
	return (uint64_t)count;
}

/* SYN, SYN and ACK, then a FIN from each side: four packets, each of them with a flag not seen before. */
static void connect_batch(const struct end *a, const struct end *b, uint64_t first, int count)
{
	tcp_batch(a, b, first, count, 1, 0x02);
	tcp_batch(b, a, first, count, 0, 0x12);
	tcp_batch(a, b, first, count, 1, 0x11);
	tcp_batch(b, a, first, count, 0, 0x11);
}

int connections(int argc, char **argv)
{
	uint64_t rate = strtoull(argv[0], NULL, 10), ms = strtoull(argv[1], NULL, 10);
	struct end a = end_of(argv[2]), b = end_of(argv[3]);
	uint64_t started = now_ns(), cpu = cpu_ns(), done = 0, late = 0;
	/* Another run's connections are not continued: the first port moves with the clock. */
	uint64_t base = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;

	for (;;) {
		uint64_t elapsed = now_ns() - started;
		uint64_t limit = elapsed < ms * 1000000ull ? elapsed : ms * 1000000ull;
		uint64_t due = limit * rate / 1000000000ull;

		if (due > done + rate / 20)
			late++;
		while (done < due) {
			int n = due - done < BATCH ? (int)(due - done) : BATCH;

			connect_batch(&a, &b, base + done, n);
			done += (uint64_t)n;
		}
		if (elapsed >= ms * 1000000ull)
			break;
		sleep_until(started + (elapsed / 1000000ull + 1) * 1000000ull);
	}
	printf("{\"count\":%llu,\"ns\":%llu,\"cpu_ns\":%llu,\"late\":%llu}\n", (unsigned long long)done,
	       (unsigned long long)(now_ns() - started), (unsigned long long)(cpu_ns() - cpu),
	       (unsigned long long)late);
	return 0;
}

int flows(int argc, char **argv)
{
	uint64_t count = strtoull(argv[0], NULL, 10), done = 0;
	struct end a = end_of(argv[1]), b = end_of(argv[2]);

	(void)argc;
	while (done < count) {
		done += udp_batch(&a, &b, done, count - done < BATCH ? (int)(count - done) : BATCH);
		/* Below what the ring and the agent take: this is to fill the table, not to try them. */
		sleep_until(now_ns() + 2000000);
	}
	printf("{\"count\":%llu}\n", (unsigned long long)done);
	return 0;
}

int marks(int argc, char **argv)
{
	uint64_t count = strtoull(argv[0], NULL, 10), gap = strtoull(argv[1], NULL, 10) * 1000;
	struct end a = end_of(argv[2]), b = end_of(argv[3]);
	uint64_t next = now_ns();

	(void)argc;
	for (uint64_t i = 0; i < count; i++) {
		/* Uneven gaps, so that they do not fall in step with the agent's timer. */
		next += gap + (i * 7919) % 10000 * 1000;
		sleep_until(next);
		uint64_t at = now_ns();

		udp_batch(&a, &b, i, 1);
		printf("{\"port\":%llu,\"ns\":\"%llu\"}\n", (unsigned long long)(FIRST_PORT + i), (unsigned long long)at);
	}
	return 0;
}
