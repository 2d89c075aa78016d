/*
 * varbosctl - what an operator sees of Varbos.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/streams.h"
#include "base/word.h"
#include "client/ctl/place.h"
#include "client/ctl/verb.h"

#define BIT(option) ((uint64_t)1 << OPTION_##option)
#define GLOBAL (BIT(SOCKET) | BIT(JSON) | BIT(TIMEOUT) | BIT(HELP) | BIT(VERSION))
#define BUDGETS (BIT(LIMIT) | BIT(RESERVE) | BIT(CLIENT_LIMIT) | BIT(WEIGHT))
#define CREATING (BUDGETS | BIT(MODE) | BIT(PLACEMENT) | BIT(NUMA))
#define CACHING (BIT(CAPACITY) | BIT(POLICY) | BIT(TTL))
#define SIMULATING                                                                           \
	(BIT(POLICY) | BIT(CAPACITY) | BIT(FORMAT) | BIT(BYTES) | BIT(BELADY) | BIT(CURVE) | \
	 BIT(SVG))

static enum answer verb_help(struct call *call);

static const struct verb verbs[] = {
	{"stats", "[SPACE|CLIENT]",
	 "memory by space, node and client; also while the daemon is stopped",
	 GLOBAL | BIT(WATCH) | BIT(CLASSES), verb_stats},
	{"status", NULL, "the daemon about itself", GLOBAL | BIT(WATCH), verb_status},
	{"spaces", NULL, "which spaces there are", GLOBAL | BIT(WATCH), verb_spaces},
	{"spaces create", "NAME", "make a space", GLOBAL | CREATING, verb_spaces_create},
	{"spaces remove", "NAME", "remove a space and what is in it", GLOBAL | BIT(FORCE),
	 verb_spaces_remove},
	{"spaces chmod", "MODE SPACE", "say who may use a space", GLOBAL, verb_spaces_chmod},
	{"spaces chown", "USER[:GROUP] SPACE", "give a space to another user or group", GLOBAL,
	 verb_spaces_chown},
	{"caches", "[SPACE]", "which caches there are", GLOBAL | BIT(WATCH), verb_caches},
	{"caches show", "SPACE CACHE",
	 "which keys are hot, and who keeps memory from coming back", GLOBAL | BIT(WATCH),
	 verb_caches_show},
	{"caches create", "SPACE CACHE", "make a cache in a space", GLOBAL | CACHING,
	 verb_caches_create},
	{"caches set", "SPACE CACHE", "change what a cache may hold, and what it gives up",
	 GLOBAL | CACHING, verb_caches_set},
	{"caches remove", "SPACE CACHE", "remove a cache and what is in it",
	 GLOBAL | BIT(FORCE), verb_caches_remove},
	{"keys", "SPACE CACHE",
	 "which keys a cache has, one a line, as get takes them; it is no access", GLOBAL,
	 verb_keys},
	{"get", "SPACE CACHE KEY",
	 "write a value out, as raw bytes; a key is text, or hex behind 0x; it is no access",
	 GLOBAL, verb_get},
	{"put", "SPACE CACHE KEY [FILE|-]", "put a file's bytes, or those of standard input",
	 GLOBAL | BIT(TTL), verb_put},
	{"del", "SPACE CACHE KEY", "delete a value", GLOBAL, verb_del},
	{"evict", "SPACE CACHE SIZE", "let as many bytes of values go, as the policy says",
	 GLOBAL, verb_evict},
	{"budget get", "[SPACE]", "what spaces may have, and have", GLOBAL | BIT(WATCH),
	 verb_budget_get},
	{"budget set", "SPACE",
	 "change what a space may have; +64M, -64M: from what it is when asked",
	 GLOBAL | BUDGETS, verb_budget_set},
	{"numa", NULL, "the nodes, and where spaces asked for memory and have it",
	 GLOBAL | BIT(WATCH), verb_numa},
	{"doctor", NULL,
	 "would Varbos work here, and if not, what to do; also without a daemon",
	 GLOBAL | BIT(SIZE) | BIT(PAGES), verb_doctor},
	{"clients", NULL, "who is connected", GLOBAL | BIT(WATCH), verb_clients},
	{"who", "REF [SPACE]", "who holds a block; without SPACE: of any that you may open",
	 GLOBAL | BIT(WATCH), verb_who},
	{"ping", NULL, "how long an answer takes", GLOBAL | BIT(WATCH) | BIT(COUNT), verb_ping},
	{"upgrade", NULL,
	 "let the varbosd that is installed by now take over from the one that runs", GLOBAL,
	 verb_upgrade},
	{"sim", "FILE|-",
	 "replay a trace of requests: how often each eviction policy would miss; no daemon",
	 GLOBAL | SIMULATING, verb_sim},
	{"demo", NULL, "two processes share memory, and you watch", GLOBAL, verb_demo},
	{"help", "[VERB]", "explain a verb", GLOBAL, verb_help},
};

static void option_print(FILE *out, unsigned option)
{
	const struct option_info *info = &option_infos[option];
	char left[48];
	int n;

	if (info->letter)
		n = snprintf(left, sizeof(left), "-%c, --%s", info->letter, info->name);
	else
		n = snprintf(left, sizeof(left), "    --%s", info->name);
	if (info->kind == VALUE_MAYBE_SECONDS)
		snprintf(left + n, sizeof(left) - (size_t)n, "[=%s]", info->value);
	else if (info->value)
		snprintf(left + n, sizeof(left) - (size_t)n, " %s", info->value);
	fprintf(out, "  %-26s %s\n", left, info->text);
}

static void help_print(FILE *out)
{
	fputs("usage: varbosctl [OPTION...] VERB ...\n\nVerbs:\n", out);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		char left[48];

		snprintf(left, sizeof(left), "%s %s", verbs[i].name,
			 verbs[i].words ? verbs[i].words : "");
		fprintf(out, "  %-24s  %s\n", left, verbs[i].text);
	}
	fputs("\nOptions:\n", out);
	for (unsigned i = 0; i <= OPTION_VERSION; i++)
		option_print(out, i);
	fputs("\nExit: 0 done, 1 failed, 2 usage, 3 not found, 4 no daemon, 5 permission, 6 "
	      "memory or\nbudget, 8 timeout, 9 version. \"varbosctl help VERB\" says more.\n",
	      out);
}

static void verb_print(const struct verb *verb)
{
	printf("usage: varbosctl %s%s%s [OPTION...]\n\n%s\n\nOptions:\n", verb->name,
	       verb->words ? " " : "", verb->words ? verb->words : "", verb->text);
	for (unsigned i = 0; i < OPTIONS_N; i++)
		if (verb->options >> i & 1)
			option_print(stdout, i);
}

/* How many words the verb's name has if these begin with it, else 0. */
static size_t verb_match(const struct verb *verb, const char *const *words, size_t n_words)
{
	const char *name = verb->name;
	size_t n;

	for (n = 0; *name; n++) {
		size_t length = strcspn(name, " ");

		if (n == n_words || strlen(words[n]) != length ||
		    memcmp(words[n], name, length))
			return 0;
		name += length + (name[length] == ' ');
	}
	return n;
}

static const struct verb *verb_find(const char *const *words, size_t n_words, size_t *ret_taken)
{
	const struct verb *found = NULL;

	*ret_taken = 0;
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		size_t taken = verb_match(&verbs[i], words, n_words);

		if (taken > *ret_taken) {
			*ret_taken = taken;
			found = &verbs[i];
		}
	}
	return found;
}

/* Of all verbs or, if `first` is one's first word, of those that begin with it. */
static const char *verb_nearest(const char *said, const char *first)
{
	const char *nearest = verbs[0].name;
	size_t least = SIZE_MAX;

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		size_t distance = word_distance(said, verbs[i].name);

		if (first && !strchr(verbs[i].name, ' '))
			continue;
		if (first && strncmp(verbs[i].name, first, strlen(first)))
			continue;
		if (distance < least) {
			least = distance;
			nearest = verbs[i].name;
		}
	}
	return nearest;
}

static bool verb_has_more(const char *first)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strncmp(verbs[i].name, first, strlen(first)) &&
		    verbs[i].name[strlen(first)] == ' ')
			return true;
	return false;
}

static enum answer verb_unknown(const char *const *words, size_t n_words)
{
	const char *first = n_words > 1 && verb_has_more(words[0]) ? words[0] : NULL;
	char said[64];

	snprintf(said, sizeof(said), "%s%s%s", words[0], first ? " " : "",
		 first ? words[1] : "");
	return answer_say(ANSWER_USAGE, "no verb \"%s\"; the nearest is \"%s\"", said,
			  verb_nearest(said, first));
}

static enum answer verb_help(struct call *call)
{
	const struct options *options = call->options;
	const struct verb *verb;
	size_t taken;

	if (options->n_words == 1) {
		help_print(stdout);
		return ANSWER_OK;
	}
	verb = verb_find(options->words + 1, options->n_words - 1, &taken);
	if (!verb || taken < options->n_words - 1)
		return verb_unknown(options->words + 1, options->n_words - 1);
	verb_print(verb);
	return ANSWER_OK;
}

/* How many words it wants at least, and at most. */
static size_t words_wanted(const struct verb *verb, size_t *ret_most)
{
	size_t least = 0;

	*ret_most = 0;
	for (const char *word = verb->words; word && *word; word += strspn(word, " ")) {
		least += *word != '[';
		++*ret_most;
		word += strcspn(word, " ");
	}
	return least;
}

/* Are these words and options what the verb takes? */
static enum answer verb_check(const struct verb *verb, const struct options *options,
			      size_t taken)
{
	size_t more = options->n_words - taken, most, least = words_wanted(verb, &most);

	for (unsigned i = 0; i < OPTIONS_N; i++)
		if (options->given[i] && !(verb->options >> i & 1))
			return answer_say(ANSWER_USAGE, "%s takes no --%s", verb->name,
					  option_infos[i].name);
	if (verb->run == verb_help)
		return ANSWER_OK;
	if (more && !most && verb_has_more(verb->name))
		return verb_unknown(options->words, options->n_words);
	if (more > most)
		return answer_say(ANSWER_USAGE, "%s: one word too many: \"%s\"", verb->name,
				  options->words[taken + most]);
	if (more < least)
		return answer_say(ANSWER_USAGE, "%s needs %s", verb->name, verb->words);
	return ANSWER_OK;
}

static enum table_form form_of(const struct options *options)
{
	if (options->given[OPTION_JSON])
		return TABLE_JSON;
	return isatty(STDOUT_FILENO) ? TABLE_TERMINAL : TABLE_PLAIN;
}

static bool bold_wanted(void)
{
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

	return term && *term && strcmp(term, "dumb") && !(no_color && *no_color);
}

/* One page: made whole, then shown at once. */
static enum answer page_run(const struct verb *verb, struct call *call, bool watching)
{
	_cleanup_(freep) char *text = NULL;
	enum answer answer;
	size_t size = 0;
	FILE *out;

	out = open_memstream(&text, &size);
	if (!out)
		return answer_say(ANSWER_FAILED, "%s", strerror(errno));
	call->notice[0] = 0;
	call->exit = ANSWER_OK;
	table_page_begin(&call->page, out, form_of(call->options), bold_wanted());
	answer = verb->run(call);
	table_page_end(&call->page);
	if (fclose(out))
		return answer_say(ANSWER_FAILED, "%s", strerror(errno));
	if (answer)
		return answer;

	if (watching && call->page.form == TABLE_TERMINAL)
		fputs("\033[H\033[J", stdout);
	fwrite(text, 1, size, stdout);
	if (watching && call->page.form == TABLE_PLAIN)
		putchar('\n');
	if (fflush(stdout) || ferror(stdout))
		return answer_say(ANSWER_FAILED, "standard output: %s", strerror(errno));
	if (call->notice[0])
		answer_say(ANSWER_OK, "%s", call->notice);
	return call->exit;
}

static enum answer watch_run(const struct verb *verb, struct call *call)
{
	uint64_t period_ms = call->options->number[OPTION_WATCH];
	struct timespec next;
	enum answer answer;

	clock_gettime(CLOCK_MONOTONIC, &next);
	do {
		answer = page_run(verb, call, true);
		next.tv_sec += (time_t)(period_ms / 1000);
		next.tv_nsec += (long)(period_ms % 1000) * 1000000;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		while (!answer &&
		       clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL) == EINTR)
			;
	} while (!answer);
	return answer;
}

static enum answer words_run(const struct options *options)
{
	char socket[4096]; /* whether an address has room for it is for each verb to say */
	struct call call = {.options = options, .socket = socket, .timeout_ms = 5000};
	const struct verb *verb;
	enum answer answer;
	size_t taken;

	verb = verb_find(options->words, options->n_words, &taken);
	if (!verb)
		return verb_unknown(options->words, options->n_words);
	if (options->given[OPTION_HELP]) {
		verb_print(verb);
		return ANSWER_OK;
	}
	answer = verb_check(verb, options, taken);
	if (answer)
		return answer;
	call.words = options->words + taken;
	if (verb->run == verb_help)
		return verb_help(&call);

	answer = place_find(socket, sizeof(socket), options->text[OPTION_SOCKET]);
	if (answer)
		return answer;
	if (options->given[OPTION_TIMEOUT])
		call.timeout_ms = (int)options->number[OPTION_TIMEOUT];
	return options->given[OPTION_WATCH] ? watch_run(verb, &call)
					    : page_run(verb, &call, false);
}

int main(int argc, char **argv)
{
	struct options options;
	enum answer answer = ANSWER_OK;
	char complaint[256];

	streams_open();
	if (options_parse(&options, argc, argv, complaint, sizeof(complaint)))
		return answer_say(ANSWER_USAGE, "%s", complaint);

	if (options.given[OPTION_VERSION])
		puts("varbosctl " VARBOS_VERSION);
	else if (options.n_words)
		answer = words_run(&options);
	else if (options.given[OPTION_HELP])
		help_print(stdout);
	else {
		help_print(stderr);
		answer = ANSWER_USAGE;
	}

	if (fflush(stdout) || ferror(stdout))
		return answer ? answer
			      : answer_say(ANSWER_FAILED, "standard output: %s",
					   strerror(errno));
	return answer;
}
