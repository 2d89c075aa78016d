/*
 * demo - what Varbos does, in two processes, checked step by step.
 *
 * The parent and the child it forks each connect on their own; what the one shows the other goes
 * as a 64-bit reference over a socket. A step that is not as it should be ends the demo, and the
 * space is removed in any case.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <varbos/varbos.h>

#include "base/size.h"
#include "client/ctl/verb.h"
#include "proto/layout.h"

enum {
	STEPS_MAX = 16,
	UNIT_MAX = 1 << 20,
	UNITS = 8,    /* in the space at least: twice what is ever in use */
	PATIENCE = 4, /* calls of the child that the parent's wait covers */
};
#define SPACE_BYTES ((uint64_t)64 << 20)
#define SIZE_TEXT(bytes) size_format((char[SIZE_TEXT_MAX]){0}, SIZE_TEXT_MAX, (bytes))

static const char parent_words[] = "written by the parent";
static const char child_words[] = "answered by the child";

struct step {
	uint32_t step;
	char text[224];
};

struct demo {
	struct call *call;
	char space_name[32];
	struct varbos *vb;
	struct varbos_space *space;
	pid_t child;
	int peer; /* socket to the child */
	struct step steps[STEPS_MAX];
	uint32_t n_steps;
	/* How much it takes of what was granted. */
	uint64_t private_bytes, shared_bytes, child_bytes;
};

static const struct table_column columns[] = {
	TABLE_COLUMN(struct step, step, "STEP", "step", SHOW_COUNT),
	TABLE_COLUMN(struct step, text, "WHAT HAPPENED", "text", SHOW_TEXT),
};

static void say(struct demo *demo, const char *format, ...) _printf_(2, 3);

/* A step that was verified: shown as it comes or, in JSON, kept for the page. */
static void say(struct demo *demo, const char *format, ...)
{
	struct step *step = &demo->steps[demo->n_steps];
	va_list args;

	assert(demo->n_steps < STEPS_MAX);
	step->step = ++demo->n_steps;
	va_start(args, format);
	vsnprintf(step->text, sizeof(step->text), format, args);
	va_end(args);
	if (demo->call->page.form != TABLE_JSON) {
		printf("%2" PRIu32 ". %s\n", step->step, step->text);
		fflush(stdout);
	}
}

static enum answer fail_library(const char *what)
{
	const struct varbos_error *error = varbos_error();

	return answer_say(answer_of_code((uint64_t)error->code), "demo: %s: %s (%s)", what,
			  error->message, varbos_code_name((int)error->code));
}

static enum answer fail_step(const char *what)
{
	return answer_say(ANSWER_FAILED, "demo: %s", what);
}

/*
 * The parent tells the child how much to take, then nothing but references; the child gives each
 * back when it is done with it.
 */
static bool word_send(int fd, uint64_t word)
{
	return send(fd, &word, sizeof(word), MSG_NOSIGNAL) == sizeof(word);
}

static bool word_receive(int fd, uint64_t *ret)
{
	return recv(fd, ret, sizeof(*ret), 0) == sizeof(*ret);
}

/* A child that ended has said why: its status is the demo's. After a failed send or recv. */
static enum answer fail_child(struct demo *demo)
{
	int status;

	if (waitpid(demo->child, &status, errno == EAGAIN ? WNOHANG : 0) != demo->child)
		return answer_say(ANSWER_TIMEOUT, "demo: the child does not answer");
	demo->child = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status))
		return (enum answer)WEXITSTATUS(status);
	return fail_step("the child has ended without a word");
}

/* Let the child use a reference, until it gives it back. */
static enum answer child_ask(struct demo *demo, varbos_ref ref)
{
	uint64_t back;

	errno = 0;
	if (!word_send(demo->peer, ref) || !word_receive(demo->peer, &back))
		return fail_child(demo);
	return ANSWER_OK;
}

/*
 * The child: reads what the first references name and writes back through it; takes memory of its
 * own, says so, and waits to be killed.
 */
static enum answer child_run(const struct demo *demo, int peer)
{
	struct varbos_space *space;
	struct varbos *vb;
	varbos_ref ref;
	uint64_t bytes;
	char *memory;

	/* A parent that gave up has said why. */
	if (!word_receive(peer, &bytes) || !word_receive(peer, &ref))
		return ANSWER_FAILED;
	if (varbos_connect(&vb, demo->call->socket))
		return fail_library("child: connect");
	if (varbos_space_open(&space, vb, demo->space_name,
			      &(struct varbos_space_options){.flags = VARBOS_SPACE_EXISTING}))
		return fail_library("child: open the space");

	for (int i = 0; i < 2; i++) {
		memory = varbos_ref_get(space, ref);
		if (!memory)
			return fail_library("child: follow the reference");
		if (memcmp(memory, parent_words, sizeof(parent_words)))
			return fail_step("child: the parent's bytes are not what it wrote");
		memcpy(memory, child_words, sizeof(child_words));
		if (!word_send(peer, ref) || !word_receive(peer, &ref))
			return ANSWER_FAILED;
	}

	/* By now the parent has freed what this reference named. */
	if (varbos_ref_get(space, ref) || varbos_error()->code != VARBOS_E_REFERENCE)
		return fail_step("child: a stale reference was not refused");
	memory = varbos_alloc(space, bytes);
	if (!memory)
		return fail_library("child: allocate");
	memset(memory, 1, bytes);
	if (!word_send(peer, ref))
		return ANSWER_FAILED;
	for (;;)
		pause();
}

static enum answer child_start(struct demo *demo)
{
	/* The child has its own timeout to say what it waited for in vain: leave it the word. */
	int64_t patience_ms = (int64_t)demo->call->timeout_ms * PATIENCE;
	struct timeval timeout = {
		.tv_sec = patience_ms / 1000,
		.tv_usec = patience_ms % 1000 * 1000,
	};
	pid_t parent = getpid();
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return answer_say(ANSWER_FAILED, "demo: %s", strerror(errno));
	demo->peer = pair[0];
	setsockopt(demo->peer, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));

	demo->child = fork();
	if (demo->child < 0) {
		close(pair[1]);
		return answer_say(ANSWER_FAILED, "demo: fork: %s", strerror(errno));
	}
	if (!demo->child) {
		close(pair[0]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			_exit((int)child_run(demo, pair[1]));
		_exit(ANSWER_FAILED);
	}
	close(pair[1]);
	return ANSWER_OK;
}

/* What the daemon says that the space holds. */
static enum answer space_look(const struct demo *demo, struct varbos_space_info *ret)
{
	_cleanup_(freep) struct varbos_space_info *rows = NULL;
	size_t n_rows;

	if (varbos_space_list(demo->vb, &rows, &n_rows))
		return fail_library("list the spaces");
	for (size_t i = 0; i < n_rows; i++)
		if (!strcmp(rows[i].name, demo->space_name)) {
			*ret = rows[i];
			return ANSWER_OK;
		}
	return fail_step("the space is not in the daemon's list");
}

/* A free is not waited for, and a death is noticed when it is: give it the timeout. */
static enum answer used_await(const struct demo *demo, uint64_t used)
{
	struct timespec pause_time = {.tv_nsec = 2000000};
	struct varbos_space_info info = {0};
	enum answer answer;

	varbos_trim(demo->space);
	for (int waited_ms = 0; waited_ms <= demo->call->timeout_ms; waited_ms += 2) {
		answer = space_look(demo, &info);
		if (answer || info.used == used)
			return answer;
		nanosleep(&pause_time, NULL);
	}
	return answer_say(ANSWER_FAILED,
			  "demo: the space should hold %" PRIu64 " bytes, and holds %" PRIu64,
			  used, info.used);
}

/* Half of the space at most, in whole slices, and no more than a demo needs. */
static enum answer sizes_choose(struct demo *demo, const struct varbos_space_info *info)
{
	uint64_t unit = u64_align_down(u64_min(info->limit / UNITS, UNIT_MAX), SLICE_BYTES);

	if (!unit)
		return answer_say(ANSWER_MEMORY,
				  "demo: the space may hold %s, and the demo needs %s",
				  SIZE_TEXT(info->limit), SIZE_TEXT(UNITS * SLICE_BYTES));
	demo->private_bytes = unit;
	demo->shared_bytes = 2 * unit;
	demo->child_bytes = 3 * unit;
	if (!word_send(demo->peer, demo->child_bytes))
		return fail_child(demo);
	return ANSWER_OK;
}

static enum answer space_make(struct demo *demo)
{
	struct varbos_space_options options = {.limit = SPACE_BYTES, .flags = VARBOS_SPACE_NEW};
	struct varbos_space_info info;
	enum answer answer;
	int r;

	r = varbos_space_open(&demo->space, demo->vb, demo->space_name, &options);
	if (r == VARBOS_E_BUDGET || r == VARBOS_E_TOO_LARGE || r == VARBOS_E_LIMIT ||
	    r == VARBOS_E_MEMORY) {
		/* A small region: what is the default there will do, too. */
		options.limit = 0;
		r = varbos_space_open(&demo->space, demo->vb, demo->space_name, &options);
	}
	if (r)
		return fail_library("make a space");
	answer = space_look(demo, &info);
	if (answer)
		return answer;
	say(demo, "The parent (pid %d) made the space \"%s\": it may hold %s.", getpid(),
	    demo->space_name, SIZE_TEXT(info.limit));
	return sizes_choose(demo, &info);
}

/* Lend `memory` to the child and see its answer in it. */
static enum answer lend(struct demo *demo, char *memory, const char *kind, varbos_ref *ret)
{
	enum answer answer;
	varbos_ref ref;

	memcpy(memory, parent_words, sizeof(parent_words));
	ref = varbos_ref_of(demo->space, memory);
	if (!ref)
		return fail_library("make a reference");
	answer = child_ask(demo, ref);
	if (answer)
		return answer;
	if (memcmp(memory, child_words, sizeof(child_words)))
		return fail_step("the child's bytes are not in the parent's memory");
	say(demo,
	    "The parent wrote \"%s\" into the %s memory and sent the child reference "
	    "%016" PRIx64 ". The child read that there, and wrote \"%s\": the parent sees it.",
	    parent_words, kind, ref, child_words);
	*ret = ref;
	return ANSWER_OK;
}

static enum answer exchange(struct demo *demo)
{
	char *private, *shared;
	enum answer answer;
	varbos_ref ref;

	private = varbos_alloc(demo->space, demo->private_bytes);
	shared = varbos_alloc_shared(demo->space, demo->shared_bytes);
	if (!private || !shared)
		return fail_library("allocate");
	answer = used_await(demo, demo->private_bytes + demo->shared_bytes);
	if (answer)
		return answer;
	say(demo,
	    "It took %s of private memory (which dies with it) and %s of shared memory (which "
	    "does not). The space holds %s.",
	    SIZE_TEXT(demo->private_bytes), SIZE_TEXT(demo->shared_bytes),
	    SIZE_TEXT(demo->private_bytes + demo->shared_bytes));

	answer = lend(demo, private, "private", &ref);
	if (!answer)
		answer = lend(demo, shared, "shared", &ref);
	if (answer)
		return answer;

	if (varbos_free(demo->space, shared))
		return fail_library("free");
	answer = used_await(demo, demo->private_bytes);
	if (answer)
		return answer;
	if (varbos_ref_get(demo->space, ref) || varbos_error()->code != VARBOS_E_REFERENCE)
		return fail_step("a stale reference was not refused");
	answer = child_ask(demo, ref);
	if (answer)
		return answer;
	say(demo,
	    "The parent freed the shared memory. Both used reference %016" PRIx64
	    " once more, and were refused: it is stale.",
	    ref);
	return used_await(demo, demo->private_bytes + demo->child_bytes);
}

static enum answer child_kill(struct demo *demo)
{
	enum answer answer;

	say(demo, "The child (pid %d) took %s of private memory: the space holds %s.",
	    demo->child, SIZE_TEXT(demo->child_bytes),
	    SIZE_TEXT(demo->private_bytes + demo->child_bytes));
	if (kill(demo->child, SIGKILL) || waitpid(demo->child, NULL, 0) != demo->child)
		return answer_say(ANSWER_FAILED, "demo: kill: %s", strerror(errno));
	demo->child = 0;
	answer = used_await(demo, demo->private_bytes);
	if (answer)
		return answer;
	say(demo,
	    "The child was killed with SIGKILL: its %s came back by themselves. The "
	    "space holds exactly the parent's %s.",
	    SIZE_TEXT(demo->child_bytes), SIZE_TEXT(demo->private_bytes));
	return ANSWER_OK;
}

static enum answer space_remove(struct demo *demo)
{
	struct varbos_space_info info;
	enum answer answer;

	varbos_space_close(demo->space);
	demo->space = NULL;
	answer = used_await(demo, 0);
	if (answer)
		return answer;
	answer = space_look(demo, &info);
	if (answer)
		return answer;
	if (info.sessions)
		return fail_step("the space is closed, and still has sessions");
	if (varbos_space_remove(demo->vb, demo->space_name, 0))
		return fail_library("remove the space");
	demo->space_name[0] = 0;
	say(demo, "The parent closed the space, which then held nothing, and removed it.");
	return ANSWER_OK;
}

static enum answer demo_run(struct demo *demo)
{
	enum answer answer;

	varbos_set_timeout(NULL, (uint32_t)demo->call->timeout_ms);
	/* First of all, so that the child has nothing of the parent's. */
	answer = child_start(demo);
	if (answer)
		return answer;
	if (varbos_connect(&demo->vb, demo->call->socket))
		return fail_library("connect");
	answer = space_make(demo);
	if (!answer)
		answer = exchange(demo);
	if (!answer)
		answer = child_kill(demo);
	if (!answer)
		answer = space_remove(demo);
	return answer;
}

static void demo_deinit(struct demo *demo)
{
	if (demo->child > 0) {
		kill(demo->child, SIGKILL);
		waitpid(demo->child, NULL, 0);
	}
	closep(&demo->peer);
	varbos_space_close(demo->space);
	if (demo->vb && demo->space_name[0])
		varbos_space_remove(demo->vb, demo->space_name, 1);
	varbos_disconnect(demo->vb);
}

enum answer verb_demo(struct call *call)
{
	_cleanup_(demo_deinit) struct demo demo = {.call = call, .peer = -1};
	enum answer answer;

	snprintf(demo.space_name, sizeof(demo.space_name), "demo-%d", getpid());
	answer = demo_run(&demo);
	if (!answer && call->page.form == TABLE_JSON)
		table_rows(&call->page, "steps", columns, ARRAY_SIZE(columns), demo.steps,
			   demo.n_steps, sizeof(*demo.steps));
	return answer;
}
