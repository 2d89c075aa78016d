/*
 * Requests served from an arena: what a request needs is taken in passing, and gone in one step
 * when it has been answered. What is dear to make, a pool keeps between requests.
 */
#include <stdio.h>
#include <string.h>
#include <varbos/arena.h>
#include <varbos/pool.h>
#include <varbos/scope.h>

struct session {
	char name[32];
	int requests;
};

static int session_open(void *object, void *context)
{
	struct session *session = object;
	int *opened = context;

	snprintf(session->name, sizeof(session->name), "session %d", ++*opened);
	session->requests = 0;
	return 0;
}

/* Each word of the text, and how often it came so far. */
struct word {
	struct word *next;
	char *text;
	int times;
};

static struct word *count_words(struct varbos_arena *arena, const char *text)
{
	struct word *words = NULL, *word;
	size_t n;

	for (; *(text += strspn(text, " ")); text += n) {
		n = strcspn(text, " ");
		for (word = words; word; word = word->next)
			if (strlen(word->text) == n && !memcmp(word->text, text, n))
				break;
		if (!word) {
			word = varbos_arena_alloc(arena, sizeof(*word));
			if (!word || !(word->text = varbos_arena_alloc(arena, n + 1)))
				return NULL;
			memcpy(word->text, text, n);
			word->text[n] = '\0';
			word->times = 0;
			word->next = words;
			words = word;
		}
		word->times++;
	}
	return words;
}

static int serve(struct varbos_space *space)
{
	static const char *const requests[] = {"to be or not to be", "a rose is a rose"};
	int opened = 0;
	struct varbos_pool_options options = {
		.size = sizeof(struct session),
		.max = 8,
		.kind = VARBOS_POOL_LOCAL,
		.construct = session_open,
		.context = &opened,
	};
	struct varbos_scope *scope;
	struct varbos_arena *arena;
	struct varbos_pool *pool;
	int r;

	/* All of it ends with the scope, whichever of these fails. */
	r = varbos_scope_begin(&scope, varbos_in_space(space));
	if (r)
		return r;
	r = varbos_arena_create(&arena, varbos_in_scope(scope), NULL);
	if (!r)
		r = varbos_pool_create(&pool, varbos_in_scope(scope), &options);
	for (size_t i = 0; !r && i < sizeof(requests) / sizeof(*requests); i++) {
		struct session *session = varbos_pool_get(pool);
		struct word *words = count_words(arena, requests[i]);

		if (!session || !words) {
			r = varbos_error()->code;
			break;
		}
		session->requests++;
		printf("%s, request %d:", session->name, session->requests);
		for (; words; words = words->next)
			printf(" %s %d", words->text, words->times);
		printf("\n");
		varbos_pool_put(pool, session);
		varbos_arena_reset(arena);
	}
	varbos_scope_end(scope);
	return r;
}

int main(void)
{
	struct varbos *vb;
	struct varbos_space *space;

	if (varbos_connect_private(&vb, NULL) ||
	    varbos_space_open(&space, vb, "requests", NULL) || serve(space))
		return fprintf(stderr, "%s\n", varbos_error()->message), 1;
	varbos_disconnect(vb);
}
