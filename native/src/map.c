// SPDX-License-Identifier: Apache-2.0
/* Maps by descriptor, one entry or a batch at a time, and the ring buffer's pages. */
#define _GNU_SOURCE
#include "addon.h"
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* mapCreate(type, name, keySize, valueSize, maxEntries, flags) → a descriptor */
static napi_value map_create(napi_env env, napi_callback_info info)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	uint32_t type, key_size, value_size, max_entries;
	char name[BPF_OBJ_NAME_LEN];
	napi_value args[6];
	int fd;

	read_args(env, info, 6, args);
	if (!arg_u32(env, args[0], "type", &type) || !arg_string(env, args[1], "name", name, sizeof(name)) ||
	    !arg_u32(env, args[2], "keySize", &key_size) || !arg_u32(env, args[3], "valueSize", &value_size) ||
	    !arg_u32(env, args[4], "maxEntries", &max_entries) || !arg_u32(env, args[5], "flags", &opts.map_flags))
		return NULL;
	fd = bpf_map_create(type, name, key_size, value_size, max_entries, &opts);
	if (fd < 0)
		return throw_errno(env, fd, "Cannot create map \"%s\"", name);
	return make_i32(env, fd);
}

/* mapInfo(fd) → { id, type, keySize, valueSize, maxEntries, flags, name } */
static napi_value map_info(napi_env env, napi_callback_info info)
{
	struct bpf_map_info facts = { 0 };
	uint32_t size = sizeof(facts);
	char name[BPF_OBJ_NAME_LEN + 1] = { 0 };
	napi_value args[1], out;
	int fd;

	read_args(env, info, 1, args);
	if (!arg_i32(env, args[0], "fd", &fd))
		return NULL;
	if (bpf_obj_get_info_by_fd(fd, &facts, &size))
		return throw_errno(env, errno, "Cannot read the facts of map %d", fd);
	memcpy(name, facts.name, BPF_OBJ_NAME_LEN);
	napi_create_object(env, &out);
	set_member(env, out, "id", make_u32(env, facts.id));
	set_member(env, out, "type", make_u32(env, facts.type));
	set_member(env, out, "keySize", make_u32(env, facts.key_size));
	set_member(env, out, "valueSize", make_u32(env, facts.value_size));
	set_member(env, out, "maxEntries", make_u32(env, facts.max_entries));
	set_member(env, out, "flags", make_u32(env, facts.map_flags));
	set_member(env, out, "name", make_string(env, name));
	return out;
}

/* mapLookup(fd, key, value) → false when the key is not there */
static napi_value map_lookup(napi_env env, napi_callback_info info)
{
	struct bytes key, value;
	napi_value args[3];
	int fd, err;

	read_args(env, info, 3, args);
	if (!arg_i32(env, args[0], "fd", &fd) || !arg_bytes(env, args[1], "key", &key) || !arg_bytes(env, args[2], "value", &value))
		return NULL;
	err = bpf_map_lookup_elem(fd, key.data, value.data);
	if (err && err != -ENOENT)
		return throw_errno(env, err, "Cannot read from a map");
	return make_bool(env, err == 0);
}

/* mapUpdate(fd, key, value, flags) */
static napi_value map_update(napi_env env, napi_callback_info info)
{
	struct bytes key, value;
	napi_value args[4];
	uint32_t flags;
	int fd, err;

	read_args(env, info, 4, args);
	if (!arg_i32(env, args[0], "fd", &fd) || !arg_bytes(env, args[1], "key", &key) ||
	    !arg_bytes(env, args[2], "value", &value) || !arg_u32(env, args[3], "flags", &flags))
		return NULL;
	err = bpf_map_update_elem(fd, key.data, value.data, flags);
	if (err)
		return throw_errno(env, err, "Cannot write to a map");
	return make_undefined(env);
}

/* mapDelete(fd, key) → false when the key was not there */
static napi_value map_delete(napi_env env, napi_callback_info info)
{
	struct bytes key;
	napi_value args[2];
	int fd, err;

	read_args(env, info, 2, args);
	if (!arg_i32(env, args[0], "fd", &fd) || !arg_bytes(env, args[1], "key", &key))
		return NULL;
	err = bpf_map_delete_elem(fd, key.data);
	if (err && err != -ENOENT)
		return throw_errno(env, err, "Cannot delete from a map");
	return make_bool(env, err == 0);
}

/* mapNextKey(fd, key, next) → false at the end; the first key when key is null */
static napi_value map_next_key(napi_env env, napi_callback_info info)
{
	struct bytes key, next;
	napi_value args[3];
	int fd, err;

	read_args(env, info, 3, args);
	if (!arg_i32(env, args[0], "fd", &fd) || !arg_bytes(env, args[1], "key", &key) || !arg_bytes(env, args[2], "next", &next))
		return NULL;
	err = bpf_map_get_next_key(fd, key.data, next.data);
	if (err && err != -ENOENT)
		return throw_errno(env, err, "Cannot walk a map");
	return make_bool(env, err == 0);
}

/*
 * mapBatch(fd, cursorIn, cursorOut, keys, values, count, remove) → entries read, as -1 - entries when they were the last.
 * cursorIn is null to begin. Cursors are as long as a key, at least 4 bytes.
 */
static napi_value map_batch(napi_env env, napi_callback_info info)
{
	struct bytes in, out, keys, values;
	napi_value args[7];
	uint32_t count;
	bool remove;
	int fd, err;

	read_args(env, info, 7, args);
	if (!arg_i32(env, args[0], "fd", &fd) || !arg_bytes(env, args[1], "cursorIn", &in) ||
	    !arg_bytes(env, args[2], "cursorOut", &out) || !arg_bytes(env, args[3], "keys", &keys) ||
	    !arg_bytes(env, args[4], "values", &values) || !arg_u32(env, args[5], "count", &count) ||
	    !arg_bool(env, args[6], "remove", &remove))
		return NULL;
	err = remove ? bpf_map_lookup_and_delete_batch(fd, in.data, out.data, keys.data, values.data, &count, NULL)
		     : bpf_map_lookup_batch(fd, in.data, out.data, keys.data, values.data, &count, NULL);
	if (err && err != -ENOENT)
		return throw_errno(env, err, "Cannot read a batch of a map");
	return make_i32(env, err == -ENOENT ? -1 - (int32_t)count : (int32_t)count);
}

/*
 * mapUpdateBatch(fd, keys, values, count) → entries written: fewer than count when the one behind them found the map full,
 * or, in an array, has an index that is not there.
 */
static napi_value map_update_batch(napi_env env, napi_callback_info info)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	struct bytes keys, values;
	napi_value args[4];
	uint32_t count;
	int fd, err;

	read_args(env, info, 4, args);
	if (!arg_i32(env, args[0], "fd", &fd) || !arg_bytes(env, args[1], "keys", &keys) ||
	    !arg_bytes(env, args[2], "values", &values) || !arg_u32(env, args[3], "count", &count))
		return NULL;
	if (!count)
		return make_u32(env, 0);
	err = bpf_map_update_batch(fd, keys.data, values.data, &count, &opts);
	if (err && err != -E2BIG)
		return throw_errno(env, err, "Cannot write a batch to a map");
	return make_u32(env, count);
}

/* mapDeleteBatch(fd, keys, keySize, count) → entries that were there; the kernel stops at one that was not, this goes on */
static napi_value map_delete_batch(napi_env env, napi_callback_info info)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	uint32_t size, count, done, at = 0, deleted = 0;
	struct bytes keys;
	napi_value args[4];
	int fd, err;

	read_args(env, info, 4, args);
	if (!arg_i32(env, args[0], "fd", &fd) || !arg_bytes(env, args[1], "keys", &keys) ||
	    !arg_u32(env, args[2], "keySize", &size) || !arg_u32(env, args[3], "count", &count))
		return NULL;
	while (at < count) {
		done = count - at;
		err = bpf_map_delete_batch(fd, keys.data + (size_t)at * size, &done, &opts);
		if (err && err != -ENOENT)
			return throw_errno(env, err, "Cannot delete a batch from a map");
		deleted += done;
		at += err ? done + 1 : done;
	}
	return make_u32(env, deleted);
}

/* memory handed to JavaScript as an ArrayBuffer; unmapped by the collector when the last view is gone */
static void unmap(napi_env env, void *data, void *hint)
{
	(void)env;
	munmap(data, (size_t)(uintptr_t)hint);
}

static napi_value map_pages(napi_env env, int fd, size_t size, int protection, off_t offset)
{
	napi_value out = NULL;
	void *pages = mmap(NULL, size, protection, MAP_SHARED, fd, offset);

	if (pages == MAP_FAILED)
		return throw_errno(env, errno, "Cannot map %zu bytes of the ring buffer", size);
	if (napi_create_external_arraybuffer(env, pages, size, unmap, (void *)(uintptr_t)size, &out) != napi_ok) {
		munmap(pages, size);
		return throw_errno(env, ENOMEM, "Cannot hand the ring buffer to JavaScript");
	}
	return out;
}

/*
 * ringMap(fd, size) → [consumer page (writable), producer page, data]. The kernel maps the data twice in a row, so
 * that a record that wraps is contiguous. Producer and data are read-only: writing to them ends the process.
 */
static napi_value ring_map(napi_env env, napi_callback_info info)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	napi_value args[2], out, part;
	uint32_t size;
	int fd;

	read_args(env, info, 2, args);
	if (!arg_i32(env, args[0], "fd", &fd) || !arg_u32(env, args[1], "size", &size))
		return NULL;
	napi_create_array_with_length(env, 3, &out);
	part = map_pages(env, fd, page, PROT_READ | PROT_WRITE, 0);
	if (!part)
		return NULL;
	napi_set_element(env, out, 0, part);
	part = map_pages(env, fd, page, PROT_READ, (off_t)page);
	if (!part)
		return NULL;
	napi_set_element(env, out, 1, part);
	part = map_pages(env, fd, 2 * (size_t)size, PROT_READ, 2 * (off_t)page);
	if (!part)
		return NULL;
	napi_set_element(env, out, 2, part);
	return out;
}

void export_map(napi_env env, napi_value exports)
{
	static const struct function functions[] = {
		{ "mapCreate", map_create }, { "mapInfo", map_info },	  { "mapLookup", map_lookup },
		{ "mapUpdate", map_update }, { "mapDelete", map_delete }, { "mapNextKey", map_next_key },
		{ "mapBatch", map_batch },   { "mapUpdateBatch", map_update_batch },
		{ "mapDeleteBatch", map_delete_batch }, { "ringMap", ring_map },
	};

	export_functions(env, exports, functions, ARRAY_SIZE(functions));
}
