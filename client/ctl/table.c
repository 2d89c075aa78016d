#include "client/ctl/table.h"

#include <assert.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <string.h>

#include "base/base.h"
#include "base/size.h"
#include "client/ctl/text.h"

enum { CELL_MAX = 256, COLUMNS_MAX = 32 };

/* A value taken out of its row: bytes or a number. */
struct cell {
	const char *data;
	size_t size;
	uint64_t number;
	double ratio;
};

static struct cell cell_of(const struct table_column *column, const void *row)
{
	const char *at = (const char *)row + column->offset;
	struct cell cell = {0};
	uint32_t narrow;
	bool flag;

	switch (column->store) {
	case STORE_CHARS:
		cell.data = at;
		cell.size = strnlen(at, column->size);
		break;
	case STORE_U32:
		memcpy(&narrow, at, sizeof(narrow));
		cell.number = narrow;
		break;
	case STORE_U64:
		memcpy(&cell.number, at, sizeof(cell.number));
		break;
	case STORE_DOUBLE:
		memcpy(&cell.ratio, at, sizeof(cell.ratio));
		break;
	case STORE_BOOL:
		memcpy(&flag, at, sizeof(flag));
		cell.number = flag;
		break;
	}
	return cell;
}

static void ns_format(char *buf, size_t size, uint64_t ns)
{
	static const struct {
		uint64_t from, unit;
		const char *name;
	} units[] = {
		{1000000000, 1000000000, "s"}, {1000000, 1000000, "ms"}, {1000, 1000, "us"}};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (ns >= units[i].from) {
			snprintf(buf, size, "%" PRIu64 ".%" PRIu64 " %s", ns / units[i].unit,
				 ns % units[i].unit * 10 / units[i].unit, units[i].name);
			return;
		}
	snprintf(buf, size, "%" PRIu64 " ns", ns);
}

static void ms_format(char *buf, size_t size, uint64_t ms)
{
	uint64_t seconds = ms / 1000;
	unsigned hours = (unsigned)(seconds / 3600 % 24),
		 minutes = (unsigned)(seconds / 60 % 60);

	if (seconds < 60)
		snprintf(buf, size, "%u.%u s", (unsigned)seconds, (unsigned)(ms % 1000 / 100));
	else if (seconds < 86400)
		snprintf(buf, size, "%02u:%02u:%02u", hours, minutes, (unsigned)(seconds % 60));
	else
		snprintf(buf, size, "%" PRIu64 " d %02u:%02u:%02u", seconds / 86400, hours,
			 minutes, (unsigned)(seconds % 60));
}

static void user_format(char *buf, size_t size, uint64_t uid)
{
	char room[4096];
	struct passwd entry, *found = NULL;

	if (getpwuid_r((uid_t)uid, &entry, room, sizeof(room), &found) || !found)
		snprintf(buf, size, "%" PRIu64, uid);
	else
		snprintf(buf, size, "%s", entry.pw_name);
}

static void group_format(char *buf, size_t size, uint64_t gid)
{
	char room[4096];
	struct group entry, *found = NULL;

	if (getgrgid_r((gid_t)gid, &entry, room, sizeof(room), &found) || !found)
		snprintf(buf, size, "%" PRIu64, gid);
	else
		snprintf(buf, size, "%s", entry.gr_name);
}

static bool show_is_number(enum table_show show)
{
	return show == SHOW_COUNT || show == SHOW_BYTES || show == SHOW_NS || show == SHOW_MS ||
	       show == SHOW_RATIO;
}

/* For people (`exact` false) or for programs (`exact` true); the cell's own bytes or buf's. */
static struct cell cell_format(const struct table_column *column, struct cell cell, bool exact,
			       char buf[static CELL_MAX])
{
	if (column->store == STORE_CHARS)
		return cell;

	if (column->store == STORE_DOUBLE) {
		snprintf(buf, CELL_MAX, "%.*f", exact ? 9 : 4, cell.ratio);
		return (struct cell){.data = buf, .size = strlen(buf)};
	}

	switch (exact && show_is_number(column->show) ? SHOW_COUNT : column->show) {
	case SHOW_TEXT:
	case SHOW_COUNT:
	case SHOW_RATIO:
		snprintf(buf, CELL_MAX, "%" PRIu64, cell.number);
		break;
	case SHOW_BYTES:
		size_format(buf, CELL_MAX, cell.number);
		break;
	case SHOW_NS:
		ns_format(buf, CELL_MAX, cell.number);
		break;
	case SHOW_MS:
		ms_format(buf, CELL_MAX, cell.number);
		break;
	case SHOW_MODE:
		snprintf(buf, CELL_MAX, "%04" PRIo64, cell.number);
		break;
	case SHOW_USER:
		user_format(buf, CELL_MAX, cell.number);
		break;
	case SHOW_GROUP:
		group_format(buf, CELL_MAX, cell.number);
		break;
	case SHOW_YES_NO:
		snprintf(buf, CELL_MAX, "%s", cell.number ? "yes" : "no");
		break;
	}
	return (struct cell){.data = buf, .size = strlen(buf)};
}

static void json_value(FILE *out, const struct table_column *column, struct cell cell)
{
	char buf[CELL_MAX];

	if (column->store == STORE_CHARS) {
		text_print_json(out, cell.data, cell.size);
	} else if (column->store == STORE_DOUBLE) {
		fputs(cell_format(column, cell, true, buf).data, out);
	} else if (column->show == SHOW_MODE) {
		cell = cell_format(column, cell, true, buf);
		text_print_json(out, cell.data, cell.size);
	} else if (column->show == SHOW_YES_NO) {
		fputs(cell.number ? "true" : "false", out);
	} else {
		fprintf(out, "%" PRIu64, cell.number);
	}
}

static void json_members(FILE *out, const struct table_column *columns, size_t n_columns,
			 const void *row)
{
	for (size_t i = 0; i < n_columns; i++) {
		fprintf(out, "%s\"%s\":", i ? "," : "", columns[i].key);
		json_value(out, &columns[i], cell_of(&columns[i], row));
	}
}

/* Between what stands on the page and what comes next. */
static void page_part(struct table_page *page)
{
	assert(!page->lines);
	if (page->form == TABLE_JSON)
		putc(page->begun ? ',' : '{', page->out);
	else if (page->begun)
		putc('\n', page->out);
	page->begun = true;
}

static void spaces_print(FILE *out, size_t count)
{
	fprintf(out, "%*s", (int)count, "");
}

static void bold_begin(const struct table_page *page)
{
	if (page->bold)
		fputs("\033[1m", page->out);
}

static void bold_end(const struct table_page *page)
{
	if (page->bold)
		fputs("\033[0m", page->out);
}

void table_page_begin(struct table_page *page, FILE *out, enum table_form form, bool bold)
{
	*page = (struct table_page){
		.out = out,
		.form = form,
		.bold = bold && form == TABLE_TERMINAL,
	};
}

void table_page_end(struct table_page *page)
{
	if (page->form == TABLE_JSON && !page->lines)
		fputs(page->begun ? "}\n" : "{}\n", page->out);
}

static void rows_print_json(struct table_page *page, const char *name,
			    const struct table_column *columns, size_t n_columns,
			    const char *rows, size_t n_rows, size_t row_size)
{
	fprintf(page->out, "\"%s\":[", name);
	for (size_t i = 0; i < n_rows; i++) {
		fputs(i ? ",{" : "{", page->out);
		json_members(page->out, columns, n_columns, rows + i * row_size);
		putc('}', page->out);
	}
	putc(']', page->out);
}

static void rows_print_plain(struct table_page *page, const struct table_column *columns,
			     size_t n_columns, const char *rows, size_t n_rows, size_t row_size)
{
	const char *between = "";
	char buf[CELL_MAX];

	for (size_t i = 0; i < n_columns; i++) {
		if (!columns[i].title)
			continue;
		fprintf(page->out, "%s%s", between, columns[i].title);
		between = "\t";
	}
	putc('\n', page->out);

	for (size_t row = 0; row < n_rows; row++) {
		between = "";
		for (size_t i = 0; i < n_columns; i++) {
			struct cell cell = cell_of(&columns[i], rows + row * row_size);

			if (!columns[i].title)
				continue;
			cell = cell_format(&columns[i], cell, true, buf);
			fputs(between, page->out);
			text_print(page->out, cell.data, cell.size);
			between = "\t";
		}
		putc('\n', page->out);
	}
}

/* Numbers to the right, the rest to the left, and nothing behind the last column. */
static void aligned_print(FILE *out, const struct table_column *column, struct cell cell,
			  size_t width, bool last)
{
	size_t pad = width - text_width(cell.data, cell.size);
	bool right = show_is_number(column->show);

	if (right)
		spaces_print(out, pad);
	text_print(out, cell.data, cell.size);
	if (!right && !last)
		spaces_print(out, pad);
	if (!last)
		spaces_print(out, 2);
}

static void rows_print_terminal(struct table_page *page, const struct table_column *columns,
				size_t n_columns, const char *rows, size_t n_rows,
				size_t row_size)
{
	size_t widths[COLUMNS_MAX], last = 0;
	char buf[CELL_MAX];

	assert(n_columns <= COLUMNS_MAX);
	for (size_t i = 0; i < n_columns; i++) {
		if (!columns[i].title)
			continue;
		last = i;
		widths[i] = strlen(columns[i].title);
		for (size_t row = 0; row < n_rows; row++) {
			struct cell cell = cell_of(&columns[i], rows + row * row_size);

			cell = cell_format(&columns[i], cell, false, buf);
			widths[i] = u64_max(widths[i], text_width(cell.data, cell.size));
		}
	}

	bold_begin(page);
	for (size_t i = 0; i < n_columns; i++) {
		struct cell title = {.data = columns[i].title};

		if (!title.data)
			continue;
		title.size = strlen(title.data);
		aligned_print(page->out, &columns[i], title, widths[i], i == last);
	}
	bold_end(page);
	putc('\n', page->out);

	for (size_t row = 0; row < n_rows; row++) {
		for (size_t i = 0; i < n_columns; i++) {
			struct cell cell = cell_of(&columns[i], rows + row * row_size);

			if (!columns[i].title)
				continue;
			cell = cell_format(&columns[i], cell, false, buf);
			aligned_print(page->out, &columns[i], cell, widths[i], i == last);
		}
		putc('\n', page->out);
	}
}

void table_rows(struct table_page *page, const char *name, const struct table_column *columns,
		size_t n_columns, const void *rows, size_t n_rows, size_t row_size)
{
	page_part(page);
	switch (page->form) {
	case TABLE_JSON:
		rows_print_json(page, name, columns, n_columns, rows, n_rows, row_size);
		break;
	case TABLE_PLAIN:
		rows_print_plain(page, columns, n_columns, rows, n_rows, row_size);
		break;
	case TABLE_TERMINAL:
		rows_print_terminal(page, columns, n_columns, rows, n_rows, row_size);
		break;
	}
}

void table_lines(struct table_page *page, const struct table_column *columns, size_t n_columns,
		 const void *rows, size_t n_rows, size_t row_size)
{
	assert(!page->begun || (page->lines && page->form == TABLE_JSON));
	if (page->form != TABLE_JSON) {
		table_rows(page, NULL, columns, n_columns, rows, n_rows, row_size);
		return;
	}
	page->begun = page->lines = true;
	for (size_t i = 0; i < n_rows; i++) {
		putc('{', page->out);
		json_members(page->out, columns, n_columns, (const char *)rows + i * row_size);
		fputs("}\n", page->out);
	}
}

static void record_print_json(struct table_page *page, const char *name,
			      const struct table_column *columns, size_t n_columns,
			      const void *row)
{
	if (name)
		fprintf(page->out, "\"%s\":{", name);
	json_members(page->out, columns, n_columns, row);
	if (name)
		putc('}', page->out);
}

void table_record(struct table_page *page, const char *name, const struct table_column *columns,
		  size_t n_columns, const void *row)
{
	char buf[CELL_MAX];
	size_t width = 0;

	page_part(page);
	if (page->form == TABLE_JSON) {
		record_print_json(page, name, columns, n_columns, row);
		return;
	}

	for (size_t i = 0; i < n_columns; i++)
		if (columns[i].title)
			width = u64_max(width, strlen(columns[i].title));

	for (size_t i = 0; i < n_columns; i++) {
		const struct table_column *column = &columns[i];
		struct cell cell = cell_of(column, row);

		if (!column->title)
			continue;
		cell = cell_format(column, cell, page->form == TABLE_PLAIN, buf);
		bold_begin(page);
		fputs(column->title, page->out);
		bold_end(page);
		if (page->form == TABLE_TERMINAL)
			spaces_print(page->out, width - strlen(column->title) + 2);
		else
			putc('\t', page->out);
		text_print(page->out, cell.data, cell.size);
		putc('\n', page->out);
	}
}
