/*
 * keys, get, put, del, evict, caches show - the values of a cache.
 *
 * A key is its characters or, behind 0x, its bytes in hex. Values are raw bytes. Looking at one is
 * no access: it stays as near to going as it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <varbos/cache.h>

#include "base/base.h"
#include "base/size.h"
#include "client/ctl/link.h"
#include "client/ctl/verb.h"
#include "proto/object.h"

enum { READ_FIRST = 64 << 10 };

struct values {
	const char *verb, *space_name, *cache_name;
	struct varbos *vb;
	struct varbos_space *space;
	struct varbos_cache *cache;
	char key[OBJECT_KEY_MAX];
	size_t key_size;
};

static void values_close(struct values *values)
{
	varbos_cache_close(values->cache);
	varbos_space_close(values->space);
	varbos_disconnect(values->vb);
}

static enum answer failed(const struct values *values)
{
	const struct varbos_error *error = varbos_error();

	if (error->code == VARBOS_E_NOT_FOUND && values->cache)
		return answer_say(ANSWER_NOT_FOUND, "%s: the cache has nothing of that key",
				  values->verb);
	if (error->code == VARBOS_E_NOT_FOUND && values->vb)
		return answer_say(ANSWER_NOT_FOUND, "%s: no such %s: %.63s", values->verb,
				  values->space ? "cache" : "space",
				  values->space ? values->cache_name : values->space_name);
	return answer_say(answer_of_code((uint64_t)error->code), "%s: %s (%s)", values->verb,
			  error->message, varbos_code_name((int)error->code));
}

/* ---- keys ---- */

static int digit(char from)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = memchr(digits, from >= 'A' && from <= 'F' ? from - 'A' + 'a' : from,
				sizeof(digits) - 1);

	return at ? (int)(at - digits) : -1;
}

static enum answer key_read(struct values *values, const char *text)
{
	bool hex = text[0] == '0' && text[1] == 'x';
	size_t n = strlen(text);

	if (hex) {
		text += 2;
		n -= 2;
		if (n % 2)
			return answer_say(ANSWER_USAGE,
					  "%s: a key in hex has two digits for each byte",
					  values->verb);
		n /= 2;
	}
	if (!n || n > OBJECT_KEY_MAX)
		return answer_say(ANSWER_USAGE, "%s: a key has 1 to %d bytes, not %zu",
				  values->verb, OBJECT_KEY_MAX, n);
	values->key_size = n;
	if (!hex) {
		memcpy(values->key, text, n);
		return ANSWER_OK;
	}
	for (size_t i = 0; i < n; i++) {
		int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return answer_say(ANSWER_USAGE,
					  "%s: behind 0x a key is digits 0 to 9 and a to f",
					  values->verb);
		values->key[i] = (char)(high << 4 | low);
	}
	return ANSWER_OK;
}

/* ---- the cache ---- */

static enum answer values_open(struct values *values, const struct call *call, const char *verb,
			       uint32_t flags)
{
	const struct varbos_space_options space = {.flags = VARBOS_SPACE_EXISTING | flags};
	const struct varbos_cache_options cache = {.flags = VARBOS_CACHE_EXISTING};
	enum answer answer;

	values->verb = verb;
	values->space_name = call->words[0];
	values->cache_name = call->words[1];
	answer = call->words[2] ? key_read(values, call->words[2]) : ANSWER_OK;
	if (answer)
		return answer;
	if (varbos_connect(&values->vb, call->socket) ||
	    varbos_set_timeout(values->vb, (uint32_t)call->timeout_ms) ||
	    varbos_space_open(&values->space, values->vb, call->words[0], &space) ||
	    varbos_cache_open(&values->cache, values->space, call->words[1], &cache))
		return failed(values);
	return ANSWER_OK;
}

struct value_line {
	uint64_t size, generation, flags, age_ms, expires_in_ms;
};

/* In JSON what is known about it: any bytes are no JSON. */
static void show(struct call *call, const struct varbos_view *view)
{
	static const struct table_column forever[] = {
#define VALUE(field, show) TABLE_COLUMN(struct value_line, field, NULL, #field, show)
		VALUE(size, SHOW_BYTES),
		VALUE(generation, SHOW_COUNT),
		VALUE(flags, SHOW_COUNT),
		VALUE(age_ms, SHOW_MS),
	};
	static const struct table_column expiring[] = {
		VALUE(size, SHOW_BYTES),       VALUE(generation, SHOW_COUNT),
		VALUE(flags, SHOW_COUNT),      VALUE(age_ms, SHOW_MS),
		VALUE(expires_in_ms, SHOW_MS),
#undef VALUE
	};
	struct value_line line = {
		.size = view->size,
		.generation = view->generation,
		.flags = view->flags,
		.age_ms = varbos_view_age_ms(view),
		.expires_in_ms = varbos_view_expires_in_ms(view),
	};

	if (call->page.form != TABLE_JSON)
		fwrite(view->data, 1, view->size, call->page.out);
	else if (line.expires_in_ms == UINT64_MAX)
		table_record(&call->page, NULL, forever, ARRAY_SIZE(forever), &line);
	else
		table_record(&call->page, NULL, expiring, ARRAY_SIZE(expiring), &line);
}

enum answer verb_get(struct call *call)
{
	_cleanup_(values_close) struct values values = {};
	struct varbos_view view;
	enum answer answer;

	answer = values_open(&values, call, "get", VARBOS_SPACE_READ_ONLY);
	if (answer)
		return answer;
	if (varbos_cache_peek(values.cache, values.key, values.key_size, &view))
		return failed(&values);
	show(call, &view);
	varbos_view_release(&view);
	return ANSWER_OK;
}

/* ---- keys ---- */

struct key_line {
	char key[2 + 2 * OBJECT_KEY_MAX + 1];
	uint64_t size, generation, flags, age_ms, expires_in_ms;
};

/* As key_read() takes it. */
static void key_show(char *ret, const unsigned char *key, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	bool text = size < 2 || memcmp(key, "0x", 2) != 0;

	for (size_t i = 0; i < size; i++)
		text &= key[i] > ' ' && key[i] <= '~';
	if (text) {
		memcpy(ret, key, size);
		ret[size] = 0;
		return;
	}
	*ret++ = '0';
	*ret++ = 'x';
	for (size_t i = 0; i < size; i++) {
		*ret++ = digits[key[i] >> 4];
		*ret++ = digits[key[i] & 15];
	}
	*ret = 0;
}

static void key_print(struct call *call, const struct varbos_key *key,
		      const struct varbos_view *view)
{
	static const struct table_column columns[] = {
#define KEY(field, show) TABLE_COLUMN(struct key_line, field, NULL, #field, show)
		KEY(key, SHOW_TEXT),    KEY(size, SHOW_BYTES), KEY(generation, SHOW_COUNT),
		KEY(flags, SHOW_COUNT), KEY(age_ms, SHOW_MS),  KEY(expires_in_ms, SHOW_MS),
#undef KEY
	};
	static struct key_line line;
	size_t n = ARRAY_SIZE(columns);

	key_show(line.key, key->data, key->size);
	if (call->page.form != TABLE_JSON) {
		fprintf(call->page.out, "%s\n", line.key);
		return;
	}
	line.size = view->size;
	line.generation = view->generation;
	line.flags = view->flags;
	line.age_ms = varbos_view_age_ms(view);
	line.expires_in_ms = varbos_view_expires_in_ms(view);
	/* What stays for ever does not say when it goes. */
	table_lines(&call->page, columns, line.expires_in_ms == UINT64_MAX ? n - 1 : n, &line,
		    1, sizeof(line));
}

enum answer verb_keys(struct call *call)
{
	_cleanup_(values_close) struct values values = {};
	struct varbos_cursor cursor = {};
	struct varbos_view view;
	struct varbos_key key;
	enum answer answer;
	int r;

	answer = values_open(&values, call, "keys", VARBOS_SPACE_READ_ONLY);
	if (answer)
		return answer;
	if (call->page.form == TABLE_JSON)
		table_lines(&call->page, NULL, 0, NULL, 0, 0);
	while (!(r = varbos_cache_next(values.cache, &cursor, &key, &view))) {
		key_print(call, &key, &view);
		varbos_view_release(&view);
	}
	return r == VARBOS_E_NOT_FOUND ? ANSWER_OK : failed(&values);
}

/* ---- put ---- */

static int space_limit(const struct values *values, const char *name, size_t *ret)
{
	_cleanup_(freep) struct varbos_space_info *infos = NULL;
	size_t n;
	int r;

	r = varbos_space_list(values->vb, &infos, &n);
	while (!r && n--)
		if (!infos[n].removed && !strcmp(infos[n].name, name))
			*ret = infos[n].limit;
	return r;
}

/* All of a file; no more than `most` bytes, which the caller finds too large. */
static enum answer value_read(const char *path, size_t most, char **ret, size_t *ret_size)
{
	bool file = path && strcmp(path, "-") != 0;
	int fd = file ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	size_t room = 0, size = 0;
	char *data = NULL, *more;
	ssize_t n = 1;

	while (fd >= 0 && n > 0) {
		if (size == room) {
			if (room > most) {
				errno = EFBIG;
				n = -1;
				break;
			}
			room = room ? room * 2 : READ_FIRST;
			more = realloc(data, room);
			if (!more) {
				n = -1;
				break;
			}
			data = more;
		}
		do
			n = read(fd, data + size, room - size);
		while (n < 0 && errno == EINTR);
		size += n > 0 ? (size_t)n : 0;
	}
	if (file && fd >= 0) {
		int error = errno;

		close(fd);
		errno = error;
	}
	if (fd < 0 || n < 0) {
		free(data);
		return answer_say(errno == EFBIG ? ANSWER_MEMORY : ANSWER_FAILED, "put: %s: %s",
				  file ? path : "standard input",
				  errno == EFBIG ? "it is larger than the space"
						 : strerror(errno));
	}
	*ret = data;
	*ret_size = size;
	return ANSWER_OK;
}

enum answer verb_put(struct call *call)
{
	_cleanup_(values_close) struct values values = {};
	const struct options *said = call->options;
	struct varbos_put_options options = {};
	_cleanup_(freep) char *data = NULL;
	enum answer answer;
	size_t most = 0, size = 0;

	if (said->given[OPTION_TTL])
		options.ttl_ms =
			said->number[OPTION_TTL] ? said->number[OPTION_TTL] : UINT64_MAX;
	answer = values_open(&values, call, "put", 0);
	if (answer)
		return answer;
	if (space_limit(&values, call->words[0], &most))
		return failed(&values);
	answer = value_read(call->words[3], most, &data, &size);
	if (answer)
		return answer;
	if (varbos_cache_put(values.cache, values.key, values.key_size, data, size, &options))
		return failed(&values);
	return ANSWER_OK;
}

enum answer verb_del(struct call *call)
{
	_cleanup_(values_close) struct values values = {};
	enum answer answer;

	answer = values_open(&values, call, "del", 0);
	if (answer)
		return answer;
	if (varbos_cache_del(values.cache, values.key, values.key_size))
		return failed(&values);
	return ANSWER_OK;
}

/* ---- evict ---- */

struct evict_line {
	uint64_t bytes;
};

/* A session that has the cache open. */
static enum answer cache_open(struct call *call, const char *what, bool read_only,
			      struct link **ret, struct wire_cache_handle *ret_cache)
{
	const struct wire_space_open open = {.name = wire_str(call->words[0]),
					     .read_only = read_only};
	struct wire_cache_open cache = {.name = wire_str(call->words[1]), .existing = true};
	const void *result;
	enum answer answer;

	answer = link_new(ret, call->socket, call->timeout_ms);
	if (!answer)
		answer = link_ask(*ret, what, WIRE_SPACE_OPEN, &open, &result);
	if (answer)
		return answer;
	cache.space = ret_cache->space = ((const struct wire_space_opened *)result)->space;
	answer = link_ask(*ret, what, WIRE_CACHE_OPEN, &cache, &result);
	if (!answer)
		ret_cache->cache = ((const struct wire_cache_opened *)result)->cache;
	return answer;
}

enum answer verb_evict(struct call *call)
{
	static const struct table_column columns[] = {
		TABLE_COLUMN(struct evict_line, bytes, "EVICTED", "bytes", SHOW_BYTES),
	};
	_cleanup_(link_freep) struct link *link = NULL;
	const struct wire_cache_evicted *evicted;
	struct wire_cache_handle cache = {};
	struct wire_cache_evict evict = {};
	struct evict_line line = {};
	const void *result;
	enum answer answer;
	bool more;

	if (!size_parse(call->words[2], &evict.bytes) || !evict.bytes)
		return answer_say(ANSWER_USAGE, "evict: \"%.60s\" is not a size (512M, 2G)",
				  call->words[2]);
	answer = cache_open(call, "evict", false, &link, &cache);
	evict.space = cache.space;
	evict.cache = cache.cache;
	do {
		if (!answer)
			answer = link_ask(link, "evict", WIRE_CACHE_EVICT, &evict, &result);
		if (answer)
			return answer;
		evicted = result;
		line.bytes += evicted->bytes;
		evict.bytes -= u64_min(evict.bytes, evicted->bytes);
		more = evicted->more && evict.bytes;
	} while (more);
	table_record(&call->page, NULL, columns, ARRAY_SIZE(columns), &line);
	return ANSWER_OK;
}

/* ---- caches show ---- */

struct hot_line {
	char key[128];
	uint64_t size, hash, count, over;
};

struct pin_line {
	char name[64];
	uint64_t session, pid, uid, bytes, ms;
};

static void hot_fill(struct hot_line *line, const struct wire_cache_hot_row *row)
{
	*line = (struct hot_line){
		.size = row->size, .hash = row->hash, .count = row->count, .over = row->over};
	wire_str_copy(line->key, sizeof(line->key), row->key);
}

static void pin_fill(struct pin_line *line, const struct wire_cache_pin_row *row)
{
	*line = (struct pin_line){
		.session = row->session,
		.pid = row->pid,
		.uid = row->uid,
		.bytes = row->bytes,
		.ms = row->ms,
	};
	wire_str_copy(line->name, sizeof(line->name), row->name);
}

enum answer verb_caches_show(struct call *call)
{
	static const struct table_column hot_columns[] = {
#define HOT(field, title, show) TABLE_COLUMN(struct hot_line, field, title, #field, show)
		HOT(key, "HOTTEST KEYS", SHOW_TEXT), HOT(count, "ACCESSES", SHOW_COUNT),
		HOT(over, NULL, SHOW_COUNT),         HOT(size, NULL, SHOW_COUNT),
		HOT(hash, NULL, SHOW_COUNT),
#undef HOT
	};
	static const struct table_column pin_columns[] = {
#define PIN(field, title, show) TABLE_COLUMN(struct pin_line, field, title, #field, show)
		PIN(session, "SESSION", SHOW_COUNT), PIN(pid, "PID", SHOW_COUNT),
		PIN(name, "NAME", SHOW_TEXT),        PIN(uid, "USER", SHOW_USER),
		PIN(bytes, "PINS", SHOW_BYTES),      PIN(ms, "SINCE", SHOW_MS),
#undef PIN
	};
	_cleanup_(link_freep) struct link *link = NULL;
	_cleanup_(freep) struct hot_line *hot = NULL;
	_cleanup_(freep) struct pin_line *pins = NULL;
	const struct wire_cache_detail *detail;
	struct wire_cache_handle cache = {};
	const void *result;
	enum answer answer;

	answer = cache_open(call, "caches show", true, &link, &cache);
	if (!answer)
		answer = link_ask(link, "caches show", WIRE_CACHE_DETAIL, &cache, &result);
	if (answer)
		return answer;
	detail = result;
	hot = calloc((size_t)detail->hot.count + 1, sizeof(*hot));
	pins = calloc((size_t)detail->pins.count + 1, sizeof(*pins));
	if (!hot || !pins)
		return answer_say(ANSWER_FAILED, "caches show: %s", strerror(ENOMEM));
	for (uint32_t i = 0; i < detail->hot.count; i++)
		hot_fill(&hot[i], (const struct wire_cache_hot_row *)detail->hot.rows + i);
	for (uint32_t i = 0; i < detail->pins.count; i++)
		pin_fill(&pins[i], (const struct wire_cache_pin_row *)detail->pins.rows + i);
	table_rows(&call->page, "hot", hot_columns, ARRAY_SIZE(hot_columns), hot,
		   detail->hot.count, sizeof(*hot));
	table_rows(&call->page, "pins", pin_columns, ARRAY_SIZE(pin_columns), pins,
		   detail->pins.count, sizeof(*pins));
	return ANSWER_OK;
}
