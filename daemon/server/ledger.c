#include "daemon/server/ledger.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

#define LEDGER_MAGIC 0x3152474c52425256ULL /* "VRBRLGR1" */

enum { HEAD_BYTES = 32768 };

struct ledger_head {
	_Atomic uint64_t magic;
	uint32_t layout;
	uint32_t bytes; /* of the head as it was written */
	uint64_t records_bytes;
	struct ledger_region region;
};

static_assert(sizeof(struct ledger_head) <= HEAD_BYTES, "the records begin behind the head");

static struct ledger_head *head_of(const struct ledger *ledger)
{
	return ledger->memory;
}

static void *records_of(const struct ledger *ledger)
{
	return (char *)ledger->memory + HEAD_BYTES;
}

int ledger_new(struct ledger *ret, struct sys *sys, const struct ledger_region *region,
	       const struct record_capacity *capacity)
{
	struct ledger ledger = LEDGER_NONE;
	uint64_t bytes = records_size(capacity);
	struct ledger_head *head;
	int r;

	if (!u64_align_up(HEAD_BYTES + bytes, 4096, &ledger.size))
		return -EOVERFLOW;
	r = sys->table->ledger_create(sys, ledger.size, &ledger.fd, &ledger.memory);
	if (r)
		return r;
	head = head_of(&ledger);
	head->layout = LEDGER_LAYOUT;
	head->bytes = sizeof(*head);
	head->records_bytes = bytes;
	head->region = *region;
	ledger.records = records_init(records_of(&ledger), capacity);
	atomic_store_explicit(&head->magic, LEDGER_MAGIC, memory_order_release);
	*ret = ledger;
	return 0;
}

static bool text_ends(const char *text, size_t size)
{
	return memchr(text, '\0', size);
}

/* Does it fit together? Its words about memory the core looks at. */
static bool is_known(const struct ledger *ledger)
{
	const struct ledger_head *head = head_of(ledger);
	const struct ledger_region *region = &head->region;

	return (head->layout == LEDGER_LAYOUT || mutant(ledger_any_layout)) &&
	       head->bytes == sizeof(*head) &&
	       head->records_bytes <= ledger->size - HEAD_BYTES &&
	       text_ends(region->asked.nodes, sizeof(region->asked.nodes)) &&
	       text_ends(region->why, sizeof(region->why));
}

int ledger_open(struct ledger *ret, struct sys *sys, int fd, uint32_t *ret_layout)
{
	struct ledger ledger = {.fd = fd};
	const struct ledger_head *head;
	int r;

	*ret_layout = 0;
	r = sys->table->ledger_adopt(sys, fd, &ledger.size, &ledger.memory);
	if (r)
		return r;
	head = head_of(&ledger);
	if (ledger.size > HEAD_BYTES && head->magic == LEDGER_MAGIC) {
		*ret_layout = head->layout;
		if (is_known(&ledger))
			ledger.records = records_open(records_of(&ledger), head->records_bytes);
	}
	if (!ledger.records) {
		sys->table->file_unmap(sys, ledger.memory, ledger.size);
		return LEDGER_E_LAYOUT;
	}
	*ret = ledger;
	return 0;
}

void ledger_close(struct ledger *ledger, struct sys *sys)
{
	if (!ledger->memory)
		return;
	sys->table->file_unmap(sys, ledger->memory, ledger->size);
	close(ledger->fd);
	*ledger = LEDGER_NONE;
}

const struct ledger_region *ledger_region(const struct ledger *ledger)
{
	return &head_of(ledger)->region;
}

int ledger_used(const struct ledger *ledger, struct sys *sys, struct record_capacity *ret)
{
	for (enum record_kind kind = 0; kind < RECORD_KINDS; kind++) {
		uint64_t from, to, end;
		int r;

		records_span(ledger->records, kind, &from, &to);
		r = sys->table->data_end(sys, ledger->fd, HEAD_BYTES + from, HEAD_BYTES + to,
					 &end);
		if (r)
			return r;
		ret->slots[kind] =
			records_slots_before(ledger->records, kind, end - HEAD_BYTES);
	}
	return 0;
}
