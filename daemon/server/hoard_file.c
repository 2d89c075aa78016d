#include "daemon/server/hoard_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "daemon/core/cache/object_record.h"
#include "daemon/sys/sys.h"

int hoard_objects_make(struct sys *sys, struct hoard_file *file, uint32_t slots)
{
	int r;

	file->size = file->span = object_records_size(slots);
	r = sys->table->file_create(sys, "varbos-objects", file->size, SYS_READ, &file->fd,
				    &file->memory);
	if (!r)
		object_records_init(file->memory);
	return r;
}

int hoard_objects_extend(struct sys *sys, struct hoard_file *file)
{
	return sys->table->file_grow(sys, file->fd, file->size, file->memory ? 0 : file->span,
				     &file->memory);
}

/* The numbers are touched here, so that the loop finds their pages there. */
int hoard_index_make(struct sys *sys, struct hoard_index *index,
		     const struct index_config *config)
{
	uint64_t bytes = index_positions(config->layout) * sizeof(uint32_t);
	struct hoard_file *file = &index->file;
	int r;

	file->size = index_file_size(config->layout.buckets, config->layout.overflow);
	file->span = file->size;
	index->numbers = malloc(bytes);
	if (!index->numbers)
		return -ENOMEM;
	memset(index->numbers, 0, bytes);
	r = sys->table->file_create(sys, "varbos-index", file->size, SYS_READ, &file->fd,
				    &file->memory);
	if (r)
		return r;
	index->generation = config->generation;
	index_format(file->memory, config);
	return 0;
}

void hoard_file_drop(struct sys *sys, struct hoard_file *file)
{
	if (file->memory)
		sys->table->file_unmap(sys, file->memory, file->span);
	if (file->fd >= 0)
		close(file->fd);
	*file = HOARD_FILE_NONE;
}

void hoard_index_drop(struct sys *sys, struct hoard_index *index)
{
	hoard_file_drop(sys, &index->file);
	free(index->numbers);
	*index = HOARD_INDEX_NONE;
}

void hoard_index_punch(struct sys *sys, const struct hoard_index *index)
{
	if (index->file.fd >= 0 && !mutant(index_kept))
		sys->table->scrub(sys, index->file.fd, INDEX_HEAD,
				  index->file.size - INDEX_HEAD);
}
