#include "client/ctl/sim_curve.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "client/ctl/text.h"

enum {
	PLACE = 7,  /* columns for a capacity, in text: letters, and one that stays free */
	MARGIN = 6, /* left of them: the ratio, and the axis */
	COLUMNS_MAX = 70,
	ROWS = 20, /* as many as make a whole number for each tenth */
	SHORT_MAX = 8,
};

/* Tenths between which all ratios are. */
struct span {
	unsigned from, to;
};

static double ratio_at(const struct sim_curve *curve, size_t point, size_t policy)
{
	return curve->rows[point * curve->n_policies + policy].miss_ratio;
}

static uint64_t capacity_at(const struct sim_curve *curve, size_t point)
{
	return curve->rows[point * curve->n_policies].capacity;
}

static const char *name_of(const struct sim_curve *curve, size_t policy)
{
	return curve->rows[policy].policy;
}

static struct span span_of(const struct sim_curve *curve)
{
	double least = 1, most = 0;
	struct span span;

	for (size_t i = 0; i < curve->n_points * curve->n_policies; i++) {
		least = fmin(least, curve->rows[i].miss_ratio);
		most = fmax(most, curve->rows[i].miss_ratio);
	}
	span.from = (unsigned)floor(least * 10);
	span.to = (unsigned)ceil(most * 10);
	if (span.from == span.to && span.from)
		span.from--;
	if (span.from == span.to)
		span.to++;
	return span;
}

static int per_tenth(struct span span)
{
	return ROWS / (int)(span.to - span.from);
}

/* "20484", "1.5M": objects by thousands, bytes by 1024, in 5 letters. */
static void short_format(char ret[static SHORT_MAX], uint64_t amount, bool bytes)
{
	static const char units[] = "\0kMGTPE";
	double value = (double)amount, step = bytes ? 1024 : 1000;
	size_t unit = 0;

	if (!bytes && amount < 100000) {
		snprintf(ret, SHORT_MAX, "%u", (unsigned)amount);
		return;
	}
	for (; value >= step - 0.5 && unit + 2 < sizeof(units); unit++)
		value /= step;
	snprintf(ret, SHORT_MAX, "%.*f%c", value < 9.95 && unit ? 1 : 0, value,
		 bytes && unit == 1 ? 'K' : units[unit]);
}

/* The first letter of its name that nobody before it has. */
static void letters_choose(const struct sim_curve *curve, char ret[static TASK_POLICIES_MAX])
{
	memset(ret, 0, TASK_POLICIES_MAX);
	for (size_t i = 0; i < curve->n_policies; i++) {
		const char *at = name_of(curve, i);

		while (*at && memchr(ret, toupper((unsigned char)*at), i))
			at++;
		ret[i] = *at ? (char)toupper((unsigned char)*at) : (char)('a' + i);
	}
}

/* The letters that belong into one place, and a + for those that find no room: is there one? */
static bool place_fill(char *place, const struct sim_curve *curve, const char *letters,
		       size_t point, int row, struct span span)
{
	size_t n = 0;

	for (size_t i = 0; i < curve->n_policies; i++) {
		double height = (ratio_at(curve, point, i) * 10 - span.from) * per_tenth(span);

		if ((int)lround(height) != row)
			continue;
		if (n == PLACE - 1) {
			place[n - 1] = '+';
			return true;
		}
		place[n++] = letters[i];
	}
	return false;
}

static bool rows_print(FILE *out, const struct sim_curve *curve, const char *letters)
{
	struct span span = span_of(curve);
	bool crowded = false;

	for (int row = (int)(span.to - span.from) * per_tenth(span); row >= 0; row--) {
		unsigned tenth = span.from + (unsigned)(row / per_tenth(span));
		size_t length = curve->n_points * PLACE;
		char line[TASK_CAPACITIES_MAX * PLACE];

		memset(line, row ? ' ' : '-', length);
		for (size_t i = 0; i < curve->n_points; i++)
			crowded |= place_fill(line + i * PLACE, curve, letters, i, row, span);
		while (length && line[length - 1] == ' ')
			length--;
		if (row % per_tenth(span))
			fprintf(out, "    |%s%.*s\n", length ? " " : "", (int)length, line);
		else
			fprintf(out, "%u.%u +%s%.*s\n", tenth / 10, tenth % 10,
				row ? &" "[!length] : "-", (int)length, line);
	}
	return crowded;
}

void curve_print(FILE *out, const struct sim_curve *curve)
{
	char letters[TASK_POLICIES_MAX], text[SHORT_MAX];
	int width = 0;
	bool crowded;

	letters_choose(curve, letters);
	fprintf(out, "miss ratio\n");
	crowded = rows_print(out, curve, letters);
	for (size_t i = 0; i < curve->n_points; i++) {
		short_format(text, capacity_at(curve, i), curve->bytes);
		fprintf(out, "%*s%s", i ? PLACE - width : MARGIN, "", text);
		width = (int)strlen(text);
	}
	fprintf(out, "\n%*scapacity in %s, from 0.1%% to 100%% of all keys\n\n", MARGIN, "",
		curve->bytes ? "bytes" : "objects");
	width = 0;
	for (size_t i = 0; i < curve->n_policies; i++) {
		int length = (int)strlen(name_of(curve, i)) + 4;

		if (width + length > COLUMNS_MAX) {
			putc('\n', out);
			width = 0;
		}
		width += fprintf(out, "%s%c %s", width ? "  " : "", letters[i],
				 name_of(curve, i));
	}
	fprintf(out, "%s\n", crowded ? "  + more" : "");
}

/* ---- the drawing */

enum {
	WIDTH = 900,
	HEIGHT = 540,
	LEFT = 70,
	RIGHT = 740,
	TOP = 56,
	BOTTOM = 460,
};

/* Okabe and Ito's colours, which the colour-blind tell apart, and two more. */
static const char *const colours[] = {
	"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9",
	"#e69f00", "#7f3c8d", "#8c564b", "#b8a900", "#000000",
};
static const char *const dashes[] = {"", "7 3", "2 3"};

static double x_of(const struct sim_curve *curve, size_t point)
{
	double first = log((double)capacity_at(curve, 0));
	double last = log((double)capacity_at(curve, curve->n_points - 1));
	double at = log((double)capacity_at(curve, point));

	return last > first ? LEFT + (RIGHT - LEFT) * (at - first) / (last - first) : LEFT;
}

static double y_of(double ratio, struct span span)
{
	return BOTTOM - (BOTTOM - TOP) * (ratio * 10 - span.from) / (span.to - span.from);
}

static void xml_print(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '&')
			fputs("&amp;", out);
		else if (*text == '<')
			fputs("&lt;", out);
		else if (*text == '>')
			fputs("&gt;", out);
		else
			text_print(out, text, 1);
	}
}

/* One of five shapes, so that colours need not do it alone. */
static void mark_draw(FILE *out, size_t policy, double x, double y)
{
	static const char *const shapes[] = {
		"M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
		"M-3.5 -3.5h7v7h-7z",
		"M0 -4.5l4.5 8h-9z",
		"M0 -5l5 5l-5 5l-5 -5z",
		"M0 4.5l4.5 -8h-9z",
	};

	fprintf(out, "<path transform=\"translate(%.1f %.1f)\" d=\"%s\"/>\n", x, y,
		shapes[policy % ARRAY_SIZE(shapes)]);
}

static void axes_draw(FILE *out, const struct sim_curve *curve, struct span span)
{
	char text[SHORT_MAX];

	fputs("<g stroke=\"#ddd\" fill=\"none\">\n", out);
	for (unsigned tenth = span.from; tenth <= span.to; tenth++)
		fprintf(out, "<path d=\"M%d %.1fH%d\"/>\n", LEFT, y_of(tenth / 10.0, span),
			RIGHT);
	for (size_t i = 0; i < curve->n_points; i++)
		fprintf(out, "<path d=\"M%.1f %dV%d\"/>\n", x_of(curve, i), TOP, BOTTOM);
	fprintf(out, "</g>\n<path stroke=\"#333\" fill=\"none\" d=\"M%d %dV%dH%d\"/>\n", LEFT,
		TOP, BOTTOM, RIGHT);

	fputs("<g text-anchor=\"end\">\n", out);
	for (unsigned tenth = span.from; tenth <= span.to; tenth++)
		fprintf(out, "<text x=\"%d\" y=\"%.1f\">%u.%u</text>\n", LEFT - 8,
			y_of(tenth / 10.0, span) + 4, tenth / 10, tenth % 10);
	fputs("</g>\n<g text-anchor=\"middle\">\n", out);
	for (size_t i = 0; i < curve->n_points; i++) {
		short_format(text, capacity_at(curve, i), curve->bytes);
		fprintf(out, "<text x=\"%.1f\" y=\"%d\">%s</text>\n", x_of(curve, i),
			BOTTOM + 20, text);
	}
	fprintf(out,
		"<text x=\"%d\" y=\"%d\">capacity in %s, from 0.1 %% to 100 %% of all keys "
		"(logarithmic)</text>\n",
		(LEFT + RIGHT) / 2, BOTTOM + 48, curve->bytes ? "bytes" : "objects");
	fprintf(out,
		"<text transform=\"translate(20 %d) rotate(-90)\">miss ratio</text>\n</g>\n",
		(TOP + BOTTOM) / 2);
}

static void line_draw(FILE *out, const struct sim_curve *curve, struct span span, size_t policy)
{
	double legend = TOP + 8 + 26.0 * (double)policy;
	const char *colour = colours[policy % ARRAY_SIZE(colours)];

	fprintf(out, "<g stroke=\"%s\" fill=\"%s\">\n", colour, colour);
	fprintf(out,
		"<polyline fill=\"none\" stroke-width=\"2\" stroke-dasharray=\"%s\" points=\"",
		dashes[policy % ARRAY_SIZE(dashes)]);
	for (size_t i = 0; i < curve->n_points; i++)
		fprintf(out, "%s%.1f,%.1f", i ? " " : "", x_of(curve, i),
			y_of(ratio_at(curve, i, policy), span));
	fputs("\"/>\n", out);
	for (size_t i = 0; i < curve->n_points; i++)
		mark_draw(out, policy, x_of(curve, i), y_of(ratio_at(curve, i, policy), span));
	fprintf(out, "<path stroke-width=\"2\" stroke-dasharray=\"%s\" d=\"M%d %.1fh40\"/>\n",
		dashes[policy % ARRAY_SIZE(dashes)], RIGHT + 24, legend);
	mark_draw(out, policy, RIGHT + 44, legend);
	fprintf(out, "</g>\n<text x=\"%d\" y=\"%.1f\">", RIGHT + 74, legend + 4);
	xml_print(out, name_of(curve, policy));
	fputs("</text>\n", out);
}

void curve_draw(FILE *out, const struct sim_curve *curve)
{
	struct span span = span_of(curve);

	fprintf(out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
		"viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"13\" "
		"fill=\"#333\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
		"<text x=\"%d\" y=\"30\" font-size=\"16\">",
		WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT);
	xml_print(out, curve->title);
	fprintf(out, ", %" PRIu64 " requests</text>\n", curve->rows[0].requests);
	axes_draw(out, curve, span);
	for (size_t i = 0; i < curve->n_policies; i++)
		line_draw(out, curve, span, i);
	fputs("</svg>\n", out);
}

/* Beside `path`, under a name of its own, which is in `ret`. */
static int file_make(const char *path, char *ret, size_t size)
{
	mode_t mask = umask(0);
	int fd;

	umask(mask);
	if (snprintf(ret, size, "%s.XXXXXX", path) >= (int)size) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = mkostemp(ret, O_CLOEXEC);
	if (fd >= 0)
		fchmod(fd, 0666 & ~mask);
	return fd;
}

static enum answer file_refuse(const char *path, int error)
{
	return answer_say(error == EACCES || error == EPERM || error == EROFS
				  ? ANSWER_PERMISSION
				  : ANSWER_FAILED,
			  "sim: --svg %s: %s", path, strerror(error));
}

enum answer curve_file_try(const char *path)
{
	_cleanup_(closep) int fd = -1;
	struct stat stat_of;
	char name[4096];

	if (!stat(path, &stat_of) && S_ISDIR(stat_of.st_mode))
		return file_refuse(path, EISDIR);
	fd = file_make(path, name, sizeof(name));
	if (fd < 0)
		return file_refuse(path, errno);
	unlink(name);
	return ANSWER_OK;
}

enum answer curve_file_write(const char *path, const struct sim_curve *curve)
{
	char name[4096];
	FILE *out;
	int fd, r;

	fd = file_make(path, name, sizeof(name));
	if (fd < 0)
		return file_refuse(path, errno);
	out = fdopen(fd, "w");
	if (!out) {
		r = errno;
		close(fd);
	} else {
		curve_draw(out, curve);
		r = fflush(out) || ferror(out) ? errno : 0;
		if (fclose(out) && !r)
			r = errno;
	}
	if (!r && rename(name, path))
		r = errno;
	if (!r)
		return ANSWER_OK;
	unlink(name);
	return file_refuse(path, r);
}
