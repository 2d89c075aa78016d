#include <stdio.h>
#include <string.h>
#include <varbos/varbos.h>

int main(void)
{
	struct varbos *vb;
	struct varbos_space *images;
	char *frame = NULL;

	if (!varbos_connect(&vb, NULL) && !varbos_space_open(&images, vb, "images", NULL))
		frame = varbos_alloc_shared(images, 1 << 20);
	if (!frame)
		return fprintf(stderr, "%s\n", varbos_error()->message), 1;
	strcpy(frame, "hello from another process");
	varbos_ref ref = varbos_ref_of(images, frame); /* 64 bits to send to anyone */
	printf("%s\n", (char *)varbos_ref_get(images, ref));
	varbos_free(images, frame);
	varbos_disconnect(vb);
}
