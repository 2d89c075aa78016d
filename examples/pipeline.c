/*
 * A pipeline of three processes that pass frames of 1 MiB: one fills them, one turns them over, one
 * looks at them and sends the memory back to be filled again. No byte is copied from process to
 * process, and after the first frames the daemon is not asked for anything.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <varbos/channel.h>

enum { FRAME = 1 << 20, FRAMES = 256, IN_FLIGHT = 4, PATIENCE_MS = 20000 };

static struct varbos_space *space;

static int fail(const char *who)
{
	return fprintf(stderr, "%s: %s\n", who, varbos_error()->message), 1;
}

/* It ends where the frames do: when whoever sends them has gone. */
static int end(const char *who)
{
	return varbos_error()->code == VARBOS_E_CLOSED ? 0 : fail(who);
}

static struct varbos_channel *channel(const char *name, uint32_t role)
{
	struct varbos_channel *opened;

	return varbos_channel_open(&opened, space, name, role, NULL) ? NULL : opened;
}

static int camera(void)
{
	struct varbos_channel *empty = channel("empty", VARBOS_CHANNEL_RECEIVE);
	struct varbos_channel *raw = channel("raw", VARBOS_CHANNEL_SEND);

	for (int i = 0; i < FRAMES; i++) {
		void *frame = i < IN_FLIGHT ? varbos_alloc_shared(space, FRAME)
					    : varbos_channel_receive(empty, PATIENCE_MS);

		if (!frame)
			return fail("camera");
		memset(frame, i, FRAME);
		if (varbos_channel_send(raw, frame, PATIENCE_MS))
			return fail("camera");
	}
	return 0;
}

static int filter(void)
{
	struct varbos_channel *raw = channel("raw", VARBOS_CHANNEL_RECEIVE);
	struct varbos_channel *done = channel("done", VARBOS_CHANNEL_SEND);
	unsigned char *frame;

	while ((frame = varbos_channel_receive(raw, PATIENCE_MS))) {
		for (size_t i = 0; i < FRAME; i++)
			frame[i] ^= 0xff;
		if (varbos_channel_send(done, frame, PATIENCE_MS))
			return fail("filter");
	}
	return end("filter");
}

static int screen(void)
{
	struct varbos_channel *done = channel("done", VARBOS_CHANNEL_RECEIVE);
	struct varbos_channel *empty = channel("empty", VARBOS_CHANNEL_SEND);
	unsigned char *frame;
	int n = 0;

	while ((frame = varbos_channel_receive(done, PATIENCE_MS))) {
		if (frame[0] != (unsigned char)~n || frame[FRAME - 1] != (unsigned char)~n)
			return fprintf(stderr, "screen: frame %d is not what it was\n", n), 1;
		n++;
		if (varbos_channel_send(empty, frame, PATIENCE_MS))
			varbos_free(space, frame); /* the camera has all that it needs */
	}
	printf("%d frames of 1 MiB went through 3 processes\n", n);
	return n == FRAMES ? end("screen") : 1;
}

static int run(int (*process)(void))
{
	struct varbos *vb;
	int status = 1;

	if (varbos_connect(&vb, NULL))
		return fail("connect");
	if (varbos_space_open(&space, vb, "frames", NULL))
		fail("open the space");
	else
		status = process();
	varbos_disconnect(vb);
	return status;
}

int main(void)
{
	int (*const others[])(void) = {camera, filter};
	int failed, status;

	for (int i = 0; i < 2; i++)
		if (!fork())
			_exit(run(others[i]));
	failed = run(screen);
	while (wait(&status) > 0)
		failed |= status != 0;
	return failed;
}
