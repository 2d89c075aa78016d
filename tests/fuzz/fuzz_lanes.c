/*
 * Any records in a lane, thousands a second: a session with a space, a cache and lanes stands, and each
 * input is what it puts. fuzz_frames.c has records, too, but a whole life of sessions around them.
 *
 *   head, 1 byte     bit 0: the last 8 bytes are the first lane's head, whatever that is
 *   piece, 73 bytes  how:8  hazard:64  struct lane_record
 *
 *   how  bit 0: the offset is one of the session's segment    bit 1: the cache is the one it has open
 *        bit 2: into the second lane   bit 3: the hazard, as the offset   bit 4: of a kind that there is
 *        bit 5: of a size that fits    bit 6: of few keys
 */
#define LLVMFuzzerTestOneInput frames_input
#include "tests/fuzz/fuzz_frames.c"
#undef LLVMFuzzerTestOneInput

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	WHO = 1,     /* of the peers */
	LIVES = 256, /* inputs, before all is made anew */
	AUDITS = 16,
	LEASE = 64 << 10,
	HEAD_BYTES = 1,
	PIECE_BYTES = 1 + 8 + sizeof(struct lane_record),
	PIECES_MAX = 96,
};

static struct {
	bool stands;
	int before; /* descriptors */
	uint64_t id, inputs;
	uint64_t segment; /* its offset; the next object goes there */
} own;

static void say(enum wire_method method, const void *params)
{
	char buf[512];
	int n = wire_encode_request(buf, sizeof(buf), ++own.id, method, params);

	assert(n > 0 && send(host.peers[WHO].fd, buf, (size_t)n, MSG_NOSIGNAL) == n);
	settle();
	drain(host.peers[WHO].fd);
}

static struct lane *lanes_of_session(void)
{
	struct server *server = &host.server;

	for (uint32_t i = 0; i < server->n_clients_max; i++)
		if (server->clients[i] && server->clients[i]->lanes.fd >= 0)
			return server->clients[i]->lanes.at;
	abort();
}

/* Where it may publish; false: it got none. */
static bool lease(void)
{
	struct cache_run run;
	uint64_t at = 0;

	say(WIRE_CACHE_SEGMENT,
	    &(struct wire_cache_segment){.space = 1, .cache = 1, .size = LEASE});
	while (core_cache_run(host.server.core, &at, &run)) {
		own.segment = run.offset;
		if (run.session)
			return true;
	}
	return false;
}

static void stand(void)
{
	own.before = next_descriptor();
	own.id = 1; /* HELLO's */
	open_peer(WHO, 1);
	say(WIRE_SPACE_CREATE,
	    &(struct wire_space_create){.name = wire_str("a"), .limit = SIZE});
	say(WIRE_SPACE_OPEN, &(struct wire_space_open){.name = wire_str("a")});
	say(WIRE_CACHE_OPEN,
	    &(struct wire_cache_open){.space = 1, .name = wire_str("c"), .capacity = 16 << 10});
	say(WIRE_LANES_OPEN, &(struct wire_lanes_open){.lanes = 2});
	say(WIRE_CACHE_INDEX, &(struct wire_cache_index){.space = 1, .cache = 1});
	own.stands = true;
}

static void fall(void)
{
	server_audit(&host.server, true);
	processes_end();
	if (core_view(host.server.core).spaces)
		spaces_go();
	assert(!core_view(host.server.core).used);
	assert(own.before == next_descriptor());
	own.stands = false;
}

static void put_piece(struct lane *lanes, uint64_t heads[2], const uint8_t *bytes)
{
	uint8_t how = bytes[0];
	uint32_t at = how >> 2 & 1;
	struct lane *lane = &lanes[at];
	struct lane_record record;
	uint64_t hazard;

	memcpy(&hazard, bytes + 1, sizeof(hazard));
	memcpy(&record, bytes + 9, sizeof(record));
	if (how & 1)
		record.offset = own.segment + record.offset % (LEASE / 64) * 64;
	if (how & 2)
		record.cache = 1;
	if (how & 8)
		hazard = (uint64_t)1 << 44 | (own.segment + hazard % (LEASE / 64) * 64);
	if (how & 16)
		record.kind = record.kind % 6 | (record.kind >> 8) % 3 << 8;
	if (how & 32)
		record.size = 48 + record.size % 2000;
	if (how & 64)
		record.hash = record.hash % 7 * 0x9e3779b97f4a7c15;
	atomic_store(&lane->hazards[heads[at] % LANE_HAZARDS], hazard);
	lane->accesses[heads[at] % LANE_ACCESSES] = hazard;
	memcpy(&lane->records[heads[at]++ % LANE_RECORDS], &record, sizeof(record));
}

/* The byte is read, and then the lanes. */
static void ring(void)
{
	if (send(host.peers[WHO].fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1)
		for (int i = 0; i < 2; i++)
			settle();
}

/* As if nothing had been put. */
static void calm(struct lane *lanes)
{
	for (uint32_t i = 0; i < 2; i++) {
		memset((void *)lanes[i].hazards, 0, sizeof(lanes[i].hazards));
		atomic_store(&lanes[i].head, atomic_load(&lanes[i].taken));
	}
	say(WIRE_CACHE_CLEAR, &(struct wire_cache_handle){.space = 1, .cache = 1});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lane *lanes;
	uint64_t heads[2], head;
	bool any_head;

	if (!host.server.core) {
		start();
		bell_come();
	}
	if (own.stands && (++own.inputs % LIVES == 0 || !lease()))
		fall();
	if (!own.stands) {
		stand();
		assert(lease());
	}
	if (size < HEAD_BYTES)
		return 0;
	any_head = data[0] & 1;
	lanes = lanes_of_session();
	data += HEAD_BYTES;
	size -= HEAD_BYTES;
	for (uint32_t i = 0; i < 2; i++)
		heads[i] = atomic_load(&lanes[i].taken);
	for (uint32_t i = 0; i < PIECES_MAX && size >= PIECE_BYTES; i++) {
		put_piece(lanes, heads, data);
		data += PIECE_BYTES;
		size -= PIECE_BYTES;
	}
	if (any_head && size >= sizeof(head)) {
		memcpy(&head, data, sizeof(head));
		heads[0] = head;
	}
	for (uint32_t i = 0; i < 2; i++) {
		atomic_store(&lanes[i].head, heads[i]);
		atomic_store(&lanes[i].noted, heads[i]);
	}
	ring();
	if (own.inputs % AUDITS == 0)
		server_audit(&host.server, true);
	calm(lanes);
	return 0;
}
