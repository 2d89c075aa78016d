#include "client/late.h"

#include "base/base.h"

struct late_about late_about(enum wire_method method, const void *params)
{
	const struct wire_extent_alloc *alloc = params;
	const struct wire_cache_segment *segment = params;
	const struct wire_cache_fetch *fetch = params;

	if (method == WIRE_CACHE_FETCH)
		return (struct late_about){fetch->space, fetch->cache, fetch->hash};
	if (method == WIRE_CACHE_SEGMENT)
		return (struct late_about){.space = segment->space};
	return (struct late_about){.space = method == WIRE_EXTENT_ALLOC ? alloc->space : 0};
}

int late_give_back(char *buf, size_t size, uint64_t id, const struct wire_message *answer,
		   struct late_about about, enum wire_method *ret_method)
{
	const struct wire_extent_alloced *extent = &answer->body.extent_alloced;
	const struct wire_cache_fetched *fetched = &answer->body.cache_fetched;
	const struct wire_space_opened *opened = &answer->body.space_opened;
	int n = 0;

	if (answer->failed || mutant(client_late_kept))
		return 0;
	if (answer->method == WIRE_EXTENT_ALLOC) {
		*ret_method = WIRE_EXTENT_FREE;
		n = wire_encode_request(buf, size, id, *ret_method,
					&(struct wire_extent_free){.space = about.space,
								   .offset = extent->offset,
								   .tag = extent->tag});
	} else if (answer->method == WIRE_CACHE_SEGMENT) {
		*ret_method = WIRE_CACHE_SEAL;
		n = wire_encode_request(buf, size, id, *ret_method,
					&(struct wire_cache_seal){.space = about.space,
								  .offset = extent->offset,
								  .tag = extent->tag});
	} else if (answer->method == WIRE_CACHE_FETCH && fetched->token) {
		*ret_method = WIRE_CACHE_FETCH_END;
		n = wire_encode_request(
			buf, size, id, *ret_method,
			&(struct wire_cache_fetch_end){.space = about.space,
						       .cache = about.cache,
						       .hash = about.hash,
						       .token = fetched->token});
	} else if (answer->method == WIRE_SPACE_OPEN) {
		*ret_method = WIRE_SPACE_CLOSE;
		n = wire_encode_request(buf, size, id, *ret_method,
					&(struct wire_space_handle){.space = opened->space});
	}
	return n > 0 ? n : 0;
}
