#include "daemon/server/options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "base/size.h"
#include "daemon/server/log.h"
#include "proto/layout.h"
#include "proto/wire.h"

#define SIZE_DEFAULT "256M"

static const char help[] =
	"varbosd - owns the machine's big memory and lets every process use it\n"
	"\n"
	"  varbosd [--socket PATH] [--size SIZE] [--pages auto|4K|2M]\n"
	"\n"
	"  --socket PATH   where clients connect (default: "
	"$XDG_RUNTIME_DIR/varbos/varbos.sock,\n"
	"                  for root /run/varbos/varbos.sock); PATH.stats is what `varbosctl\n"
	"                  stats` reads\n"
	"  --size SIZE     how much memory clients may have together (default " SIZE_DEFAULT
	");\n"
	"                  512M, 2G, 1TiB: powers of two; a multiple of 2 MiB\n"
	"  --pages WHICH   2M: hugepages, or refuse to start; 4K; auto (default): 2M if enough "
	"of\n"
	"                  them are free, else 4K, and says so\n"
	"  --lifeline FD   end when FD, a socket or pipe, is at its end; \"READY\" or the "
	"reason\n"
	"                  of a failure is written to it\n"
	"  --version, --help\n"
	"\n"
	"It stays in the foreground, logs to standard error, and ends cleanly on SIGTERM.\n";

static int usage(const char *format, ...) _printf_(1, 2);

static int usage(const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_error("%s (`varbosd --help` shows what there is)", text);
	return OPTIONS_E_USAGE;
}

static int set_socket(struct options *options, const char *path)
{
	/* Room for the files beside it: PATH.stats, PATH.lock. */
	if (!*path || strlen(path) + sizeof(".stats") > sizeof(options->socket))
		return usage("--socket: a path of 1 to %zu bytes is wanted, this one has %zu",
			     sizeof(options->socket) - sizeof(".stats"), strlen(path));
	strcpy(options->socket, path);
	return 0;
}

static int set_size(struct options *options, const char *text)
{
	uint64_t size;

	if (!size_parse(text, &size))
		return usage("--size: '%s' is not a size; 512M or 2G is", text);
	if (!size || size % CHUNK_BYTES)
		return usage("--size: %s is not a multiple of 2 MiB", text);
	options->size = size;
	return 0;
}

static int set_pages(struct options *options, const char *text)
{
	static const struct {
		const char *name;
		uint32_t shift;
	} pages[] = {{"auto", 0}, {"4K", 12}, {"2M", 21}};

	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		if (!strcmp(text, pages[i].name)) {
			options->page_shift = pages[i].shift;
			return 0;
		}
	return usage("--pages: '%s' is none of auto, 4K, 2M", text);
}

static int set_lifeline(struct options *options, const char *text)
{
	uint64_t fd;

	if (!size_parse(text, &fd) || fd > INT32_MAX || fcntl((int)fd, F_GETFD) < 0)
		return usage("--lifeline: '%s' is not an open descriptor", text);
	options->lifeline = (int)fd;
	return 0;
}

static int default_socket(struct options *options)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char path[4096];

	options->socket_is_default = true;
	if (!geteuid())
		return set_socket(options, "/run/varbos/varbos.sock");
	if (!runtime || !*runtime)
		return usage("--socket is needed: there is no $XDG_RUNTIME_DIR to default to");
	snprintf(path, sizeof(path), "%s/varbos/varbos.sock", runtime);
	return set_socket(options, path);
}

int options_parse(struct options *ret, int argc, char **argv)
{
	static const struct option known[] = {
		{"socket", required_argument, NULL, 's'},
		{"size", required_argument, NULL, 'm'},
		{"pages", required_argument, NULL, 'p'},
		{"lifeline", required_argument, NULL, 'l'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{},
	};
	struct options options = {.lifeline = -1};
	int r = set_size(&options, SIZE_DEFAULT);

	opterr = 0;
	for (int c; !r && (c = getopt_long(argc, argv, ":", known, NULL)) >= 0;) {
		switch (c) {
		case 's':
			r = set_socket(&options, optarg);
			break;
		case 'm':
			r = set_size(&options, optarg);
			break;
		case 'p':
			r = set_pages(&options, optarg);
			break;
		case 'l':
			r = set_lifeline(&options, optarg);
			break;
		case 'v':
			printf("varbosd %s (protocol %d, layout %d)\n", VARBOS_VERSION,
			       WIRE_PROTOCOL, LAYOUT_VERSION);
			return OPTIONS_DONE;
		case 'h':
			fputs(help, stdout);
			return OPTIONS_DONE;
		case ':':
			r = usage("%s needs a value", argv[optind - 1]);
			break;
		default:
			r = usage("unknown option '%s'", argv[optind - 1]);
			break;
		}
	}
	if (!r && optind < argc)
		r = usage("unexpected argument '%s'", argv[optind]);
	if (!r && !*options.socket)
		r = default_socket(&options);
	if (r) {
		ret->lifeline = options.lifeline;
		return r;
	}

	*ret = options;
	return 0;
}
