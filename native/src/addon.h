/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every file of the addon needs: reading arguments, making values, throwing errors.
 *
 * The addon is thin. Kernel handles cross as plain file descriptors, which the TypeScript side owns and closes; sizes of
 * buffers are checked there too, against what the kernel says of the map. Only bpf objects are externals.
 */
#ifndef SLUICE_ADDON_H
#define SLUICE_ADDON_H

#define NAPI_VERSION 8
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

struct bytes {
	uint8_t *data; /* NULL when the argument was null or undefined */
	size_t size;
};

/* Reads exactly `count` arguments, missing ones as undefined. */
void read_args(napi_env env, napi_callback_info info, size_t count, napi_value *args);

/* Each of these throws a TypeError that names the argument and returns false when the type is another. */
bool arg_u32(napi_env env, napi_value value, const char *name, uint32_t *out);
bool arg_i32(napi_env env, napi_value value, const char *name, int *out);
bool arg_bool(napi_env env, napi_value value, const char *name, bool *out);
bool arg_string(napi_env env, napi_value value, const char *name, char *out, size_t size);
bool arg_bytes(napi_env env, napi_value value, const char *name, struct bytes *out); /* null is allowed */

/* NULL, after throwing Error { code: 'ENOENT', errno: 2 } with the text "<action>: <text of error> (ENOENT)". */
napi_value throw_errno(napi_env env, int error, const char *action, ...) __attribute__((format(printf, 3, 4)));

napi_value make_u32(napi_env env, uint32_t value);
napi_value make_i32(napi_env env, int32_t value);
napi_value make_u64(napi_env env, uint64_t value); /* a BigInt */
napi_value make_bool(napi_env env, bool value);
napi_value make_string(napi_env env, const char *text);
napi_value make_bytes(napi_env env, const void *data, size_t size); /* a Uint8Array of its own */
napi_value make_undefined(napi_env env);
void set_member(napi_env env, napi_value object, const char *name, napi_value value);

/*
 * Takes the calling thread into a network namespace. @return 0, or -errno. Then netns_leave(*home) takes it back; a thread
 * that could not come back would attach programs to a stranger's devices, so the process ends instead.
 */
int netns_enter(int netns, int *home);
void netns_leave(int home);

/* Each file adds its functions to the module's exports. */
struct function {
	const char *name;
	napi_callback call;
};
void export_functions(napi_env env, napi_value exports, const struct function *functions, size_t count);

void export_object(napi_env env, napi_value exports);
void export_program(napi_env env, napi_value exports);
void export_link(napi_env env, napi_value exports);
void export_map(napi_env env, napi_value exports);
void export_netlink(napi_env env, napi_value exports);
void export_netns(napi_env env, napi_value exports);
void export_kernel(napi_env env, napi_value exports);

#endif
