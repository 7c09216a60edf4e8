// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "addon.h"
#include <bpf/libbpf.h>
#include <errno.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void read_args(napi_env env, napi_callback_info info, size_t count, napi_value *args)
{
	size_t given = count;

	napi_get_cb_info(env, info, &given, args, NULL, NULL); /* fills what is missing with undefined */
}

static bool wrong_type(napi_env env, const char *name, const char *wanted)
{
	char text[128];

	snprintf(text, sizeof(text), "Argument \"%s\" is not %s", name, wanted);
	napi_throw_type_error(env, NULL, text);
	return false;
}

bool arg_u32(napi_env env, napi_value value, const char *name, uint32_t *out)
{
	double number;

	if (napi_get_value_double(env, value, &number) != napi_ok || !(number >= 0 && number <= UINT32_MAX))
		return wrong_type(env, name, "an unsigned 32-bit number");
	*out = (uint32_t)number;
	return true;
}

bool arg_i32(napi_env env, napi_value value, const char *name, int *out)
{
	return napi_get_value_int32(env, value, out) == napi_ok || wrong_type(env, name, "a number");
}

bool arg_bool(napi_env env, napi_value value, const char *name, bool *out)
{
	return napi_get_value_bool(env, value, out) == napi_ok || wrong_type(env, name, "a boolean");
}

bool arg_string(napi_env env, napi_value value, const char *name, char *out, size_t size)
{
	size_t length;

	if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok)
		return wrong_type(env, name, "a string");
	if (length >= size)
		return wrong_type(env, name, "short enough");
	napi_get_value_string_utf8(env, value, out, size, &length);
	/* A NUL inside would let the kernel see another name than the caller meant. */
	return strlen(out) == length || wrong_type(env, name, "free of NUL characters");
}

bool arg_bytes(napi_env env, napi_value value, const char *name, struct bytes *out)
{
	napi_valuetype type;
	napi_typedarray_type kind;
	bool typed = false;

	*out = (struct bytes){ 0 };
	napi_typeof(env, value, &type);
	if (type == napi_null || type == napi_undefined)
		return true;
	napi_is_typedarray(env, value, &typed);
	if (!typed || napi_get_typedarray_info(env, value, &kind, &out->size, (void **)&out->data, NULL, NULL) != napi_ok ||
	    kind != napi_uint8_array)
		return wrong_type(env, name, "a Uint8Array");
	return true;
}

napi_value throw_errno(napi_env env, int error, const char *action, ...)
{
	char what[4096], text[4352];
	const char *name;
	napi_value message, code, object;
	va_list args;

	error = error < 0 ? -error : error;
	va_start(args, action);
	vsnprintf(what, sizeof(what), action, args);
	va_end(args);
	name = strerrorname_np(error);
	name = name ? name : "EUNKNOWN";
	snprintf(text, sizeof(text), "%s: %s (%s)", what, strerrordesc_np(error) ? strerrordesc_np(error) : "unknown error", name);
	message = make_string(env, text);
	code = make_string(env, name);
	if (napi_create_error(env, code, message, &object) == napi_ok) {
		set_member(env, object, "errno", make_i32(env, error));
		napi_throw(env, object);
	}
	return NULL;
}

napi_value make_u32(napi_env env, uint32_t value)
{
	napi_value out = NULL;

	napi_create_uint32(env, value, &out);
	return out;
}

napi_value make_i32(napi_env env, int32_t value)
{
	napi_value out = NULL;

	napi_create_int32(env, value, &out);
	return out;
}

napi_value make_u64(napi_env env, uint64_t value)
{
	napi_value out = NULL;

	napi_create_bigint_uint64(env, value, &out);
	return out;
}

napi_value make_bool(napi_env env, bool value)
{
	napi_value out = NULL;

	napi_get_boolean(env, value, &out);
	return out;
}

napi_value make_string(napi_env env, const char *text)
{
	napi_value out = NULL;

	napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &out);
	return out;
}

napi_value make_bytes(napi_env env, const void *data, size_t size)
{
	napi_value buffer = NULL, out = NULL;
	void *copy;

	if (napi_create_arraybuffer(env, size, &copy, &buffer) != napi_ok)
		return NULL;
	memcpy(copy, data, size);
	napi_create_typedarray(env, napi_uint8_array, size, buffer, 0, &out);
	return out;
}

napi_value make_undefined(napi_env env)
{
	napi_value out = NULL;

	napi_get_undefined(env, &out);
	return out;
}

void set_member(napi_env env, napi_value object, const char *name, napi_value value)
{
	napi_set_named_property(env, object, name, value);
}

void export_functions(napi_env env, napi_value exports, const struct function *functions, size_t count)
{
	napi_value function;

	for (size_t i = 0; i < count; i++) {
		napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].call, NULL, &function);
		set_member(env, exports, functions[i].name, function);
	}
}

/*
 * Start-up reads the kernel's types and symbols, blocks of 10 MB and more that are freed again. glibc answers the first
 * such free by taking later blocks from its heap, where they stay: some 10 MB of an agent's memory for good.
 */
static void return_large_blocks(void)
{
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	mallopt(M_TRIM_THRESHOLD, 1 << 20);
#endif
}

NAPI_MODULE_INIT()
{
	return_large_blocks();
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	export_object(env, exports);
	export_program(env, exports);
	export_link(env, exports);
	export_map(env, exports);
	export_netlink(env, exports);
	export_netns(env, exports);
	export_kernel(env, exports);
	return exports;
}
