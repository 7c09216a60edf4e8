/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the parts of the traffic program of the benchmarks. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Says what failed and ends the program. */
void die(const char *what);
/* CLOCK_MONOTONIC, nanoseconds: what process.hrtime() reads. */
uint64_t now_ns(void);
/* CPU time of this process, nanoseconds. */
uint64_t cpu_ns(void);
void sleep_until(uint64_t ns);
struct sockaddr_in address(const char *ip, int port);
/* A socket in another network namespace, or in the present one when the path is "-". */
int socket_in(const char *netns, int type, int protocol);

int serve(int argc, char **argv);
int rr(int argc, char **argv);
int stream(int argc, char **argv);
int churn(int argc, char **argv);
int udp(int argc, char **argv);
int mesh(int argc, char **argv);
int connections(int argc, char **argv);
int flows(int argc, char **argv);
int marks(int argc, char **argv);

#endif
