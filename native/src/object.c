// SPDX-License-Identifier: Apache-2.0
/* Object files: open, set sizes and constants, load, hand out descriptors of maps and programs. */
#define _GNU_SOURCE
#include "addon.h"
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SIZE 256
#define PATH_SIZE 4096

/* The end of what libbpf and the verifier said last; a verifier log can be megabytes and only its end explains. */
#define LOG_TAIL 3072
static char log_tail[LOG_TAIL];
static size_t log_used;

static int keep_log(enum libbpf_print_level level, const char *format, va_list args)
{
	va_list again;
	char *text;
	size_t over;
	int length;

	if (level == LIBBPF_DEBUG)
		return 0;
	va_copy(again, args);
	length = vsnprintf(NULL, 0, format, again);
	va_end(again);
	text = length > 0 ? malloc((size_t)length + 1) : NULL;
	if (!text)
		return 0;
	vsnprintf(text, (size_t)length + 1, format, args);
	if ((size_t)length >= LOG_TAIL) {
		memcpy(log_tail, text + length - (LOG_TAIL - 1), LOG_TAIL - 1);
		log_used = LOG_TAIL - 1;
	} else {
		over = log_used + (size_t)length >= LOG_TAIL ? log_used + (size_t)length - (LOG_TAIL - 1) : 0;
		memmove(log_tail, log_tail + over, log_used - over);
		memcpy(log_tail + log_used - over, text, (size_t)length);
		log_used += (size_t)length - over;
	}
	log_tail[log_used] = '\0';
	free(text);
	return 0;
}

struct object {
	struct bpf_object *bpf; /* NULL once closed */
};

static void finalize_object(napi_env env, void *data, void *hint)
{
	struct object *object = data;

	(void)env;
	(void)hint;
	if (object->bpf)
		bpf_object__close(object->bpf);
	free(object);
}

static struct bpf_object *arg_object(napi_env env, napi_value value)
{
	struct object *object = NULL;

	if (napi_get_value_external(env, value, (void **)&object) != napi_ok || !object->bpf) {
		napi_throw_type_error(env, NULL, "Argument \"object\" is not an open bpf object");
		return NULL;
	}
	return object->bpf;
}

static struct bpf_map *arg_map(napi_env env, napi_value *args, char *name)
{
	struct bpf_object *object = arg_object(env, args[0]);
	struct bpf_map *map;

	if (!object || !arg_string(env, args[1], "map", name, NAME_SIZE))
		return NULL;
	map = bpf_object__find_map_by_name(object, name);
	if (!map)
		throw_errno(env, ENOENT, "Cannot find map \"%s\" in the bpf object", name);
	return map;
}

static struct bpf_program *arg_program(napi_env env, napi_value *args, char *name)
{
	struct bpf_object *object = arg_object(env, args[0]);
	struct bpf_program *program;

	if (!object || !arg_string(env, args[1], "program", name, NAME_SIZE))
		return NULL;
	program = bpf_object__find_program_by_name(object, name);
	if (!program)
		throw_errno(env, ENOENT, "Cannot find program \"%s\" in the bpf object", name);
	return program;
}

/* objectOpen(path) */
static napi_value object_open(napi_env env, napi_callback_info info)
{
	napi_value args[1], out = NULL;
	char path[PATH_SIZE];
	struct object *object;
	struct bpf_object *bpf;

	read_args(env, info, 1, args);
	if (!arg_string(env, args[0], "path", path, sizeof(path)))
		return NULL;
	log_used = 0;
	log_tail[0] = '\0';
	libbpf_set_print(keep_log);
	bpf = bpf_object__open_file(path, NULL);
	if (!bpf)
		return throw_errno(env, errno, "Cannot open bpf object \"%s\": %s", path, log_tail);
	object = calloc(1, sizeof(*object));
	if (!object) {
		bpf_object__close(bpf);
		return throw_errno(env, ENOMEM, "Cannot open bpf object \"%s\"", path);
	}
	object->bpf = bpf;
	if (napi_create_external(env, object, finalize_object, NULL, &out) != napi_ok)
		finalize_object(env, object, NULL);
	return out;
}

/* objectClose(object): what was handed out by objectMapFd and objectProgramFd stays open. */
static napi_value object_close(napi_env env, napi_callback_info info)
{
	napi_value args[1];
	struct object *object = NULL;

	read_args(env, info, 1, args);
	if (napi_get_value_external(env, args[0], (void **)&object) == napi_ok && object->bpf) {
		bpf_object__close(object->bpf);
		object->bpf = NULL;
	}
	return make_undefined(env);
}

/* objectMaps(object) → [{ name, type, keySize, valueSize, maxEntries, flags, internal }] */
static napi_value object_maps(napi_env env, napi_callback_info info)
{
	napi_value args[1], list, row;
	struct bpf_object *object;
	struct bpf_map *map;
	uint32_t index = 0;

	read_args(env, info, 1, args);
	object = arg_object(env, args[0]);
	if (!object)
		return NULL;
	napi_create_array(env, &list);
	bpf_object__for_each_map(map, object) {
		napi_create_object(env, &row);
		set_member(env, row, "name", make_string(env, bpf_map__name(map)));
		set_member(env, row, "type", make_u32(env, bpf_map__type(map)));
		set_member(env, row, "keySize", make_u32(env, bpf_map__key_size(map)));
		set_member(env, row, "valueSize", make_u32(env, bpf_map__value_size(map)));
		set_member(env, row, "maxEntries", make_u32(env, bpf_map__max_entries(map)));
		set_member(env, row, "flags", make_u32(env, bpf_map__map_flags(map)));
		set_member(env, row, "internal", make_bool(env, bpf_map__is_internal(map)));
		napi_set_element(env, list, index++, row);
	}
	return list;
}

/* objectPrograms(object) → [{ name, section, type }] */
static napi_value object_programs(napi_env env, napi_callback_info info)
{
	napi_value args[1], list, row;
	struct bpf_object *object;
	struct bpf_program *program;
	uint32_t index = 0;

	read_args(env, info, 1, args);
	object = arg_object(env, args[0]);
	if (!object)
		return NULL;
	napi_create_array(env, &list);
	bpf_object__for_each_program(program, object) {
		napi_create_object(env, &row);
		set_member(env, row, "name", make_string(env, bpf_program__name(program)));
		set_member(env, row, "section", make_string(env, bpf_program__section_name(program)));
		set_member(env, row, "type", make_u32(env, bpf_program__type(program)));
		napi_set_element(env, list, index++, row);
	}
	return list;
}

/* objectSetMaxEntries(object, map, entries) */
static napi_value object_set_max_entries(napi_env env, napi_callback_info info)
{
	napi_value args[3];
	char name[NAME_SIZE];
	struct bpf_map *map;
	uint32_t entries;
	int err;

	read_args(env, info, 3, args);
	map = arg_map(env, args, name);
	if (!map || !arg_u32(env, args[2], "entries", &entries))
		return NULL;
	err = bpf_map__set_max_entries(map, entries);
	if (err)
		return throw_errno(env, err, "Cannot set the size of map \"%s\" to %u", name, entries);
	return make_undefined(env);
}

/* objectReuseMap(object, map, fd): load will use this map instead of making one; the descriptor is duplicated. */
static napi_value object_reuse_map(napi_env env, napi_callback_info info)
{
	napi_value args[3];
	char name[NAME_SIZE];
	struct bpf_map *map;
	int fd, err;

	read_args(env, info, 3, args);
	map = arg_map(env, args, name);
	if (!map || !arg_i32(env, args[2], "fd", &fd))
		return NULL;
	err = bpf_map__reuse_fd(map, fd);
	if (err)
		return throw_errno(env, err, "Cannot use the existing map \"%s\"", name);
	return make_undefined(env);
}

/* Where the variable lies in the data section of `map`, by its BTF. */
static const struct btf_var_secinfo *find_variable(const struct btf *btf, const char *section, const char *name)
{
	int id = btf__find_by_name_kind(btf, section, BTF_KIND_DATASEC);
	const struct btf_type *type;
	const struct btf_var_secinfo *variable;

	if (id < 0)
		return NULL;
	type = btf__type_by_id(btf, (uint32_t)id);
	variable = btf_var_secinfos(type);
	for (int i = 0; i < btf_vlen(type); i++, variable++) {
		const struct btf_type *var = btf__type_by_id(btf, variable->type);

		if (strcmp(btf__name_by_offset(btf, var->name_off), name) == 0)
			return variable;
	}
	return NULL;
}

static struct bpf_map *find_rodata(struct bpf_object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object) {
		const char *name = bpf_map__name(map);
		size_t length = strlen(name);

		/* libbpf calls it "<object>.rodata", the object's part shortened to fit the kernel's 15 characters. */
		if (length >= 7 && strcmp(name + length - 7, ".rodata") == 0)
			return map;
	}
	return NULL;
}

/* objectSetConstant(object, name, bytes): the value of a `const volatile` variable, of exactly its size. */
static napi_value object_set_constant(napi_env env, napi_callback_info info)
{
	napi_value args[3];
	char name[NAME_SIZE];
	struct bpf_object *object;
	const struct btf_var_secinfo *variable;
	struct bpf_map *map;
	struct bytes value;
	uint8_t *data;
	size_t size;

	read_args(env, info, 3, args);
	object = arg_object(env, args[0]);
	if (!object || !arg_string(env, args[1], "name", name, sizeof(name)) || !arg_bytes(env, args[2], "value", &value))
		return NULL;
	map = find_rodata(object);
	variable = map ? find_variable(bpf_object__btf(object), ".rodata", name) : NULL;
	if (!variable)
		return throw_errno(env, ENOENT, "Cannot set constant \"%s\": the bpf object has none of this name", name);
	if (variable->size != value.size)
		return throw_errno(env, EINVAL, "Cannot set constant \"%s\": it has %u bytes, the value %zu", name, variable->size,
				   value.size);
	data = (uint8_t *)bpf_map__initial_value(map, &size);
	if (!data || variable->offset + variable->size > size)
		return throw_errno(env, EBUSY, "Cannot set constant \"%s\": the object is loaded", name);
	memcpy(data + variable->offset, value.data, value.size);
	return make_undefined(env);
}

/* objectConstants(object) → [{ name, size }] */
static napi_value object_constants(napi_env env, napi_callback_info info)
{
	napi_value args[1], list, row;
	struct bpf_object *object;
	const struct btf *btf;
	const struct btf_type *type;
	const struct btf_var_secinfo *variable;
	int id;

	read_args(env, info, 1, args);
	object = arg_object(env, args[0]);
	if (!object)
		return NULL;
	napi_create_array(env, &list);
	btf = bpf_object__btf(object);
	id = btf ? btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC) : -ENOENT;
	if (id < 0)
		return list;
	type = btf__type_by_id(btf, (uint32_t)id);
	variable = btf_var_secinfos(type);
	for (int i = 0; i < btf_vlen(type); i++, variable++) {
		const struct btf_type *var = btf__type_by_id(btf, variable->type);

		napi_create_object(env, &row);
		set_member(env, row, "name", make_string(env, btf__name_by_offset(btf, var->name_off)));
		set_member(env, row, "size", make_u32(env, variable->size));
		napi_set_element(env, list, (uint32_t)i, row);
	}
	return list;
}

/* objectSetAutoload(object, program, load) */
static napi_value object_set_autoload(napi_env env, napi_callback_info info)
{
	napi_value args[3];
	char name[NAME_SIZE];
	struct bpf_program *program;
	bool load;
	int err;

	read_args(env, info, 3, args);
	program = arg_program(env, args, name);
	if (!program || !arg_bool(env, args[2], "load", &load))
		return NULL;
	err = bpf_program__set_autoload(program, load);
	if (err)
		return throw_errno(env, err, "Cannot choose whether to load program \"%s\"", name);
	return make_undefined(env);
}

/* objectLoad(object): verifies and makes everything; the error carries the end of the verifier's log. */
static napi_value object_load(napi_env env, napi_callback_info info)
{
	napi_value args[1];
	struct bpf_object *object;
	int err;

	read_args(env, info, 1, args);
	object = arg_object(env, args[0]);
	if (!object)
		return NULL;
	log_used = 0;
	log_tail[0] = '\0';
	libbpf_set_print(keep_log);
	err = bpf_object__load(object);
	if (err)
		return throw_errno(env, err, "Cannot load the bpf programs: %s", log_tail);
	return make_undefined(env);
}

static napi_value duplicate(napi_env env, int fd, const char *kind, const char *name)
{
	int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (copy < 0)
		return throw_errno(env, fd < 0 ? ENOENT : errno, "Cannot take %s \"%s\": is it loaded?", kind, name);
	return make_i32(env, copy);
}

/* objectMapFd(object, map) → a descriptor of the caller's own */
static napi_value object_map_fd(napi_env env, napi_callback_info info)
{
	napi_value args[2];
	char name[NAME_SIZE];
	struct bpf_map *map;

	read_args(env, info, 2, args);
	map = arg_map(env, args, name);
	return map ? duplicate(env, bpf_map__fd(map), "map", name) : NULL;
}

/* objectProgramFd(object, program) → a descriptor of the caller's own */
static napi_value object_program_fd(napi_env env, napi_callback_info info)
{
	napi_value args[2];
	char name[NAME_SIZE];
	struct bpf_program *program;

	read_args(env, info, 2, args);
	program = arg_program(env, args, name);
	return program ? duplicate(env, bpf_program__fd(program), "program", name) : NULL;
}

void export_object(napi_env env, napi_value exports)
{
	static const struct function functions[] = {
		{ "objectOpen", object_open },
		{ "objectClose", object_close },
		{ "objectMaps", object_maps },
		{ "objectPrograms", object_programs },
		{ "objectConstants", object_constants },
		{ "objectSetMaxEntries", object_set_max_entries },
		{ "objectReuseMap", object_reuse_map },
		{ "objectSetConstant", object_set_constant },
		{ "objectSetAutoload", object_set_autoload },
		{ "objectLoad", object_load },
		{ "objectMapFd", object_map_fd },
		{ "objectProgramFd", object_program_fd },
	};

	export_functions(env, exports, functions, ARRAY_SIZE(functions));
}
