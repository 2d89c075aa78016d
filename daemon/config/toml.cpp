#include "daemon/config/toml.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#define TOML_ENABLE_WINDOWS_COMPAT 0
#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

namespace
{

/* Each may open a table inside a table: outside of strings and comments a text has few. */
constexpr size_t DOTS_MAX = 1024;

struct entry {
	std::string name;
	const toml::node *node;
	toml_place key_place, place;
};

toml_place place_of(const toml::source_region &region)
{
	return {region.begin.line, region.begin.column};
}

/* How many dots stand outside of strings and comments before the text could be no TOML at all. */
size_t count_dots(const char *text, size_t size)
{
	size_t dots = 0;

	for (size_t i = 0; i < size; i++) {
		char c = text[i];

		if (c == '.') {
			dots++;
		} else if (c == '#') {
			while (i + 1 < size && text[i + 1] != '\n')
				i++;
		} else if (c == '"' || c == '\'') {
			bool is_long = size - i > 2 && text[i + 1] == c && text[i + 2] == c;

			for (i += is_long ? 3 : 1; i < size; i++) {
				if (text[i] == '\\' && c == '"')
					i++;
				else if (!is_long && (text[i] == c || text[i] == '\n'))
					break;
				else if (is_long && size - i > 2 && text[i] == c &&
					 text[i + 1] == c && text[i + 2] == c)
					break;
			}
			if (is_long)
				/* Up to two quotes may stand right before the three. */
				for (i += 2; i + 1 < size && text[i + 1] == c;)
					i++;
		}
	}
	return dots;
}

void gather(std::vector<entry> &entries, const std::string &section, const toml::table &table)
{
	for (const auto &[key, node] : table) {
		std::string name = section.empty() ? std::string(key.str())
						   : section + "." + std::string(key.str());
		const toml::table *inner = node.as_table();

		if (section.empty() && inner && !inner->empty())
			gather(entries, name, *inner);
		else
			entries.push_back({name, &node, place_of(key.source()),
					   place_of(node.source())});
	}
}

/* Integers that are not negative, all of them; or false. */
bool list_of(const toml::array &array, std::vector<uint64_t> &ret)
{
	for (const toml::node &item : array) {
		const toml::value<int64_t> *integer = item.as_integer();

		if (!integer || integer->get() < 0)
			return false;
		ret.push_back(static_cast<uint64_t>(integer->get()));
	}
	return true;
}

const char *kind_name(toml::node_type type)
{
	switch (type) {
	case toml::node_type::table:
		return "a table";
	case toml::node_type::array:
		return "an array of other things than numbers from 0";
	case toml::node_type::floating_point:
		return "a number with a fraction, or none at all";
	case toml::node_type::date:
	case toml::node_type::time:
	case toml::node_type::date_time:
		return "a date or time of day";
	default:
		return "something else";
	}
}

struct value value_of(const toml::node &node, std::vector<uint64_t> &list)
{
	struct value value = {};

	if (const auto *string = node.as_string()) {
		value.kind = VALUE_STRING;
		value.text = string->get().c_str();
		value.size = string->get().size();
	} else if (const auto *integer = node.as_integer()) {
		value.kind = VALUE_INTEGER;
		value.integer = integer->get();
	} else if (const auto *boolean = node.as_boolean()) {
		value.kind = VALUE_BOOLEAN;
		value.boolean = boolean->get();
	} else if (const auto *array = node.as_array(); array && list_of(*array, list)) {
		value.kind = VALUE_LIST;
		value.list = list.data();
		value.n = list.size();
	} else {
		value.kind = VALUE_OTHER;
		value.text = kind_name(node.type());
		value.size = strlen(value.text);
	}
	return value;
}

void read(const char *text, size_t size, toml_each each, void *userdata)
{
	const toml::table root = toml::parse(std::string_view(text, size));
	std::vector<entry> entries;

	gather(entries, "", root);
	std::sort(entries.begin(), entries.end(), [](const entry &a, const entry &b) {
		return a.key_place.line != b.key_place.line
			       ? a.key_place.line < b.key_place.line
			       : a.key_place.column < b.key_place.column;
	});
	for (const entry &entry : entries) {
		std::vector<uint64_t> list;
		struct toml_entry given = {};

		given.name = entry.name.c_str();
		given.is_section = entry.node->is_table() &&
				   entry.name.find('.') == std::string::npos;
		given.value = value_of(*entry.node, list);
		given.key_place = entry.key_place;
		given.place = entry.place;
		each(userdata, &given);
	}
}

} // namespace

int toml_read(const char *text, size_t size, toml_each each, void *userdata,
	      struct toml_fault *ret)
{
	if (count_dots(text, size) > DOTS_MAX) {
		*ret = {};
		ret->place = {1, 1};
		snprintf(ret->text, sizeof(ret->text),
			 "more than %zu dots outside of strings and comments", DOTS_MAX);
		return TOML_E_SYNTAX;
	}
	try {
		read(text, size, each, userdata);
		return 0;
	} catch (const toml::parse_error &error) {
		*ret = {};
		ret->place = place_of(error.source());
		snprintf(ret->text, sizeof(ret->text), "%.*s",
			 static_cast<int>(error.description().size()),
			 error.description().data());
		return TOML_E_SYNTAX;
	} catch (const std::bad_alloc &) {
		return -ENOMEM;
	} catch (const std::exception &error) {
		*ret = {};
		ret->place = {1, 1};
		snprintf(ret->text, sizeof(ret->text), "%s", error.what());
		return TOML_E_SYNTAX;
	}
}
