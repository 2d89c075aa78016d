/*
 * The same with Boost: blocks of a managed_shared_memory, passed on as handles through an
 * spsc_queue of Boost.Lockfree inside it, the quickest way that Boost has between two processes.
 * Who finds it full, or empty, spins and then gives way.
 */
#include "bench/handover.h"

#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/lockfree/spsc_queue.hpp>
#include <cstdio>
#include <string>
#include <unistd.h>

namespace ipc = boost::interprocess;

namespace
{

constexpr std::size_t CAPACITY = 1024;
constexpr std::size_t SEGMENT = 128 << 20;

using handle = ipc::managed_shared_memory::handle_t;
using queue = boost::lockfree::spsc_queue<handle, boost::lockfree::capacity<CAPACITY>>;

ipc::managed_shared_memory *segment;
queue *passing;

std::string name_of(int maker)
{
	return "varbos-bench-" + std::to_string(maker);
}

/* Its end removes the segment, whatever it was: it is made by who sends. */
class remover
{
	std::string name;

      public:
	void set(const std::string &to)
	{
		name = to;
	}

	~remover()
	{
		if (!name.empty())
			ipc::shared_memory_object::remove(name.c_str());
	}
} remove_at_end;

} // namespace

void handover_send_start(const struct contender *)
{
	std::string name = name_of(getpid());

	remove_at_end.set(name);
	segment = new ipc::managed_shared_memory(ipc::create_only, name.c_str(), SEGMENT);
	passing = segment->construct<queue>("passing")();
}

void handover_receive_start(const struct contender *)
{
	segment = new ipc::managed_shared_memory(ipc::open_only, name_of(getppid()).c_str());
	passing = segment->find<queue>("passing").first;
	if (!passing)
		contender_die("handover: no queue");
}

void handover_send_stop()
{
}

void handover_send(const uint32_t *sizes, size_t n, uint64_t first)
{
	handle handles[HANDOVER_BATCH_MAX];
	unsigned turns = 0;

	for (size_t i = 0; i < n; i++) {
		void *block = segment->allocate(sizes[i]);

		*static_cast<uint64_t *>(block) = first + i;
		handles[i] = segment->get_handle_from_address(block);
	}
	for (size_t i = 0; i < n;) {
		size_t pushed = passing->push(handles + i, n - i);

		i += pushed;
		if (!pushed)
			contender_wait(&turns);
	}
}

size_t handover_receive(size_t n, uint64_t first)
{
	handle handles[HANDOVER_BATCH_MAX];
	unsigned turns = 0;
	size_t popped;

	while (!(popped = passing->pop(handles, n)))
		contender_wait(&turns);
	for (size_t i = 0; i < popped; i++) {
		void *block = segment->get_address_from_handle(handles[i]);

		if (*static_cast<uint64_t *>(block) != first + i)
			contender_die("handover: a block came as another");
		segment->deallocate(block);
	}
	return popped;
}
