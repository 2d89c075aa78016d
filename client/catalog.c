/*
 * Catalog - the daemon's spaces, open here or not.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <varbos/varbos.h>

#include "base/base.h"
#include "client/connection.h"
#include "client/error.h"
#include "proto/layout.h"

enum {
	SPACES_MAX = 1 << 20, /* rows, before we stop believing in them */
};

struct rows {
	struct varbos_space_info *infos;
	size_t count, room;
};

static void rows_deinit(struct rows *rows)
{
	free(rows->infos);
}

static uint32_t narrow(uint64_t value)
{
	return (uint32_t)u64_min(value, UINT32_MAX);
}

static int rows_add(struct rows *rows, const struct wire_space_row *row)
{
	struct varbos_space_info *infos, *info;
	size_t room;

	if (rows->count == rows->room) {
		room = rows->room ? rows->room * 2 : 16;
		infos = reallocarray(rows->infos, room, sizeof(*infos));
		if (!infos)
			return error_system(ENOMEM, "a list of spaces");
		rows->infos = infos;
		rows->room = room;
	}
	info = &rows->infos[rows->count++];
	*info = (struct varbos_space_info){
		.uid = narrow(row->uid),
		.gid = narrow(row->gid),
		.mode = narrow(row->mode),
		.weight = narrow(row->weight),
		.sessions = narrow(row->sessions),
		.removed = row->removed,
		.limit = row->limit,
		.reserve = row->reserve,
		.client_limit = row->client_limit,
		.used = row->used,
		.committed = row->committed,
	};
	wire_str_copy(info->name, sizeof(info->name), row->name);
	wire_str_copy(info->placement, sizeof(info->placement), row->placement);
	return 0;
}

/* One page; *after moves on to the next, or becomes 0 after the last. */
static int add_page(struct varbos *vb, struct rows *rows, uint64_t *after)
{
	struct wire_page_after request = {.after = *after};
	_cleanup_(call_endp) struct call *call = NULL;
	const struct wire_space_rows *page;
	const struct wire_space_row *row;
	int r;

	r = call_begin(&call, &vb->calls, WIRE_SPACE_LIST, &request, 0);
	if (r)
		return r;
	page = &call->message.body.space_rows;
	row = page->rows.rows;
	if (page->next && (page->next <= *after || rows->count > SPACES_MAX))
		return error_set(VARBOS_E_PROTOCOL, "next", "the daemon's list has no end");
	for (uint32_t i = 0; i < page->rows.count; i++) {
		r = rows_add(rows, &row[i]);
		if (r)
			return r;
	}
	*after = page->next;
	return 0;
}

_public_ int varbos_space_list(struct varbos *vb, struct varbos_space_info **ret,
			       size_t *ret_count)
{
	_cleanup_(rows_deinit) struct rows rows = {};
	uint64_t after = 0;
	int r;

	error_enter("varbos_space_list");
	if (!ret || !ret_count)
		return error_null(ret ? "ret_count" : "ret");
	r = connection_enter(vb);
	if (r)
		return r;
	do {
		r = add_page(vb, &rows, &after);
		if (r)
			return r;
	} while (after);

	*ret_count = rows.count;
	*ret = TAKE_PTR(rows.infos);
	return 0;
}

_public_ int varbos_space_remove(struct varbos *vb, const char *name, int force)
{
	struct wire_space_remove request = {.name = wire_str(name), .force = force};
	_cleanup_(call_endp) struct call *call = NULL;
	int r;

	error_enter("varbos_space_remove");
	if (request.name.size > SPACE_NAME_MAX || !wire_str_is_clean(request.name))
		return error_set(VARBOS_E_INVALID, "name",
				 "there can be no space of that name");
	r = connection_enter(vb);
	if (r)
		return r;
	return call_begin(&call, &vb->calls, WIRE_SPACE_REMOVE, &request, 0);
}
