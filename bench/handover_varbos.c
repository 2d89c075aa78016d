#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include <varbos/channel.h>

#include "bench/handover.h"

enum { CAPACITY = 1024 };

static struct varbos *vb;
static struct varbos_space *space;
static struct varbos_channel *channel;
static char name[32];
static bool single;

static void check(int r)
{
	if (r)
		contender_die("handover: %s", varbos_error()->message);
}

static void start(const struct contender *contender, int maker, uint32_t role)
{
	snprintf(name, sizeof(name), "bench-%d", maker);
	single = contender->size == 1;
	check(varbos_connect(&vb, contender->socket));
	check(varbos_space_open(&space, vb, name,
				&(struct varbos_space_options){.limit = 128 << 20}));
	check(varbos_channel_open(&channel, space, "blocks", role,
				  &(struct varbos_channel_options){.capacity = CAPACITY}));
}

void handover_send_start(const struct contender *contender)
{
	start(contender, (int)getpid(), VARBOS_CHANNEL_SEND);
}

void handover_receive_start(const struct contender *contender)
{
	start(contender, (int)getppid(), VARBOS_CHANNEL_RECEIVE);
}

void handover_send_stop(void)
{
	varbos_channel_close(channel);
	varbos_space_close(space);
	/* The receiver was killed: it may still count. */
	check(varbos_space_remove(vb, name, 1));
	varbos_disconnect(vb);
}

static void *some_block(uint32_t size, uint64_t number)
{
	uint64_t *block = varbos_alloc_shared(space, size);

	if (!block)
		contender_die("handover: %s", varbos_error()->message);
	*block = number;
	return block;
}

void handover_send(const uint32_t *sizes, size_t n, uint64_t first)
{
	void *blocks[HANDOVER_BATCH_MAX];

	for (size_t i = 0; i < n; i++)
		blocks[i] = some_block(sizes[i], first + i);
	if (single)
		check(varbos_channel_send(channel, blocks[0], VARBOS_FOREVER));
	else
		check(varbos_channel_send_many(channel, blocks, n, VARBOS_FOREVER, NULL));
}

size_t handover_receive(size_t n, uint64_t first)
{
	void *blocks[HANDOVER_BATCH_MAX];

	if (single)
		n = (blocks[0] = varbos_channel_receive(channel, VARBOS_FOREVER)) ? 1 : 0;
	else
		n = varbos_channel_receive_many(channel, blocks, n, VARBOS_FOREVER);
	check(!n);
	for (size_t i = 0; i < n; i++) {
		if (*(uint64_t *)blocks[i] != first + i)
			contender_die("handover: block %" PRIu64 " came as %" PRIu64, first + i,
				      *(uint64_t *)blocks[i]);
		check(varbos_free(space, blocks[i]));
	}
	return n;
}
