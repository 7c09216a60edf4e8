/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a process: its wall clock is the kernel's plus the nanoseconds in the file that SLUICE_TEST_WALL_CLOCK
 * names (8 bytes, little-endian, mapped: a change is in force at once). The machine's own clock is left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SEC 1000000000LL

static const volatile int64_t zero;
static const volatile int64_t *added = &zero;
static int (*kernel_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void setup(void)
{
	const char *path = getenv("SLUICE_TEST_WALL_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	kernel_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	if (fd < 0)
		return;
	void *page = mmap(NULL, sizeof(*added), PROT_READ, MAP_SHARED, fd, 0);

	if (page != MAP_FAILED)
		added = page;
	close(fd);
}

int clock_gettime(clockid_t id, struct timespec *out)
{
	if (!kernel_clock)
		setup();
	int failed = kernel_clock(id, out);

	if (failed || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE))
		return failed;
	int64_t ns = out->tv_sec * NS_PER_SEC + out->tv_nsec + *added;

	out->tv_sec = ns / NS_PER_SEC;
	out->tv_nsec = ns % NS_PER_SEC;
	return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &now))
		return -1;
	out->tv_sec = now.tv_sec;
	out->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *out)
{
	struct timespec now;

	if (clock_gettime(CLOCK_REALTIME, &now))
		return -1;
	if (out)
		*out = now.tv_sec;
	return now.tv_sec;
}
