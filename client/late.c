#include "client/late.h"

#include "base/base.h"

uint64_t late_space(enum wire_method method, const void *params)
{
	const struct wire_extent_alloc *alloc = params;
	const struct wire_cache_segment *segment = params;

	if (method == WIRE_CACHE_SEGMENT)
		return segment->space;
	return method == WIRE_EXTENT_ALLOC ? alloc->space : 0;
}

int late_give_back(char *buf, size_t size, uint64_t id, const struct wire_message *answer,
		   uint64_t space, enum wire_method *ret_method)
{
	const struct wire_extent_alloced *extent = &answer->body.extent_alloced;
	const struct wire_space_opened *opened = &answer->body.space_opened;
	int n = 0;

	if (answer->failed || mutant(client_late_kept))
		return 0;
	if (answer->method == WIRE_EXTENT_ALLOC) {
		*ret_method = WIRE_EXTENT_FREE;
		n = wire_encode_request(buf, size, id, *ret_method,
					&(struct wire_extent_free){.space = space,
								   .offset = extent->offset,
								   .tag = extent->tag});
	} else if (answer->method == WIRE_CACHE_SEGMENT) {
		*ret_method = WIRE_CACHE_SEAL;
		n = wire_encode_request(buf, size, id, *ret_method,
					&(struct wire_cache_seal){.space = space,
								  .offset = extent->offset,
								  .tag = extent->tag});
	} else if (answer->method == WIRE_SPACE_OPEN) {
		*ret_method = WIRE_SPACE_CLOSE;
		n = wire_encode_request(buf, size, id, *ret_method,
					&(struct wire_space_handle){.space = opened->space});
	}
	return n > 0 ? n : 0;
}
