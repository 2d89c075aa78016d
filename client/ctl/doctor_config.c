/*
 * What a daemon started here would be told: `varbosd --print-config` says it, with all layers, as
 * the daemon itself reads them. Only the keys that a check is about are taken out of it.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "base/size.h"
#include "client/ctl/doctor.h"

#define SYSTEM_SOCKET "/run/varbos/varbos.sock"

enum { TEXT_MAX = 1 << 16, SPOKEN = sizeof("varbosd: error: ") - 1 };

static bool run(const char *const *argv, int out, int err)
{
	posix_spawn_file_actions_t actions;
	int r, status;
	pid_t pid;

	if (posix_spawn_file_actions_init(&actions))
		return false;
	r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	if (!r)
		r = posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
	if (!r)
		r = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv,
				 environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r)
		return false;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	/* 127: an older C library tells so that there was no such program. */
	return WIFEXITED(status) && WEXITSTATUS(status) < 126;
}

/* What was written into a memfd, from its start. */
static void text_read(int fd, char *ret, size_t size)
{
	ssize_t n = pread(fd, ret, size - 1, 0);

	ret[n > 0 ? n : 0] = '\0';
}

/* `name = "value" # origin`; a value without quotes is one as well. */
static bool line_split(char *line, char **ret_value, char **ret_origin)
{
	char *value = strstr(line, " = "), *end;

	if (!value || *line == '#')
		return false;
	*value = '\0';
	value += 3;
	end = *value == '"' ? strstr(value, "\" # ") : strstr(value, " # ");
	if (!end)
		return false;
	*ret_origin = end + (*value == '"') + 3;
	*end = '\0';
	*ret_value = value + (*value == '"');
	return true;
}

static bool is_built_in(const char *origin)
{
	return !strcmp(origin, "built-in");
}

static void take(struct machine *machine, const char *section, const char *key,
		 const char *value, const char *origin)
{
	char name[64];

	snprintf(name, sizeof(name), "%s.%s", section, key);
	if (!strcmp(name, "memory.size") && size_parse(value, &machine->size))
		snprintf(machine->size_origin, sizeof(machine->size_origin), "%s", origin);
	else if (!strcmp(name, "memory.small") && size_parse(value, &machine->small))
		return;
	else if (!strcmp(name, "memory.pages") && pages_parse(value, &machine->pages))
		snprintf(machine->pages_origin, sizeof(machine->pages_origin), "%s", origin);
	else if (!strcmp(name, "memory.lock"))
		machine->lock = !strcmp(value, "true");
	else if (!strcmp(name, "socket.path") && !is_built_in(origin) && !strchr(value, '\\'))
		snprintf(machine->told_socket, sizeof(machine->told_socket), "%s", value);
}

void machine_take_config(char *text, struct machine *machine)
{
	char section[32] = "", *rest = text, *line, *value, *origin;

	while ((line = strsep(&rest, "\n"))) {
		if (*line == '[')
			snprintf(section, sizeof(section), "%.*s", (int)strcspn(line + 1, "]"),
				 line + 1);
		else if (line_split(line, &value, &origin))
			take(machine, section, line, value, origin);
	}
}

bool pages_parse(const char *text, enum doctor_pages *ret)
{
	static const struct {
		const char *name;
		enum doctor_pages pages;
	} known[] = {
		{"auto", PAGES_AUTO}, {"4K", PAGES_4K}, {"2M", PAGES_2M}, {"1G", PAGES_1G}};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (!strcmp(text, known[i].name)) {
			*ret = known[i].pages;
			return true;
		}
	return false;
}

/* As libvarbos looks for it: $VARBOS_DAEMON, $PATH, where it is installed. */
static bool ask_daemon(const char *const *more, int out, int err)
{
	const char *daemon = getenv("VARBOS_DAEMON");
	const char *argv[] = {daemon, "--print-config", more[0], more[1], NULL};

	if (daemon && *daemon)
		return run(argv, out, err);
	argv[0] = "varbosd";
	if (run(argv, out, err))
		return true;
	argv[0] = VARBOS_SBINDIR "/varbosd";
	return run(argv, out, err);
}

void machine_ask_config(struct machine *machine)
{
	_cleanup_(closep) int out = memfd_create("varbosctl-doctor", MFD_CLOEXEC);
	_cleanup_(closep) int err = memfd_create("varbosctl-doctor", MFD_CLOEXEC);
	_cleanup_(freep) char *text = malloc(TEXT_MAX);
	const char *more[2] = {NULL, NULL}, *runtime = getenv("XDG_RUNTIME_DIR");
	bool has_place = !geteuid() || (runtime && *runtime) || getenv("VARBOS_SOCKET");

	machine->config = CONFIG_NOT_THERE;
	if (out < 0 || err < 0 || !text)
		return;
	/* About the system's daemon, whoever asks; or one that needs a place for its socket. */
	if (!strcmp(machine->socket, SYSTEM_SOCKET)) {
		more[0] = "--config-dir=" VARBOS_CONFDIR;
		more[1] = "--socket=" SYSTEM_SOCKET;
	} else if (!has_place) {
		more[0] = "--socket";
		more[1] = machine->socket;
	}
	if (!ask_daemon(more, out, err))
		return;
	text_read(out, text, TEXT_MAX);
	if (*text) {
		machine->config = CONFIG_GOOD;
		machine_take_config(text, machine);
		return;
	}
	machine->config = CONFIG_WRONG;
	text_read(err, text, TEXT_MAX);
	text[strcspn(text, "\n")] = '\0';
	snprintf(machine->config_why, sizeof(machine->config_why), "%.255s",
		 strlen(text) > SPOKEN ? text + SPOKEN : text);
}
