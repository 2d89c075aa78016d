#include "proto/size_class.h"

#include <assert.h>

#define ROW(bytes, run)                                                                 \
	{                                                                               \
		.size = (bytes),                                                        \
		.reciprocal = (uint32_t)(((1ULL << 32) + (bytes)-1) / (bytes)),         \
		.slices = (run), .blocks = (uint16_t)(((run) << SLICE_SHIFT) / (bytes)) \
	}

/* Runs are the shortest whose tail is at most a sixteenth of them. */
const struct size_class size_classes[CLASSES] = {
	ROW(64, 1),     ROW(128, 1),    ROW(192, 1),    ROW(256, 1),    /* by 64 */
	ROW(320, 1),    ROW(384, 1),    ROW(448, 1),    ROW(512, 1),    /* */
	ROW(640, 1),    ROW(768, 1),    ROW(896, 1),    ROW(1024, 1),   /* by quarters */
	ROW(1280, 1),   ROW(1536, 1),   ROW(1792, 1),   ROW(2048, 1),   /* */
	ROW(2560, 1),   ROW(3072, 1),   ROW(3584, 1),   ROW(4096, 1),   /* */
	ROW(5120, 1),   ROW(6144, 1),   ROW(7168, 1),   ROW(8192, 1),   /* */
	ROW(10240, 1),  ROW(12288, 1),  ROW(14336, 2),  ROW(16384, 1),  /* */
	ROW(20480, 1),  ROW(24576, 2),  ROW(28672, 4),  ROW(32768, 1),  /* */
	ROW(40960, 2),  ROW(49152, 3),  ROW(57344, 7),  ROW(65536, 1),  /* */
	ROW(81920, 4),  ROW(98304, 3),  ROW(114688, 7), ROW(131072, 2), /* */
	ROW(163840, 5), ROW(196608, 3), ROW(229376, 7), ROW(262144, 4), /* */
	ROW(16, 1),     ROW(32, 1),     ROW(48, 1),     ROW(80, 1),     /* packed */
	ROW(96, 1),     ROW(112, 1),
};

#define QUARTERS                                                                               \
	[9 ... 12] = 2, [13 ... 16] = 3, [17 ... 20] = 4, [21 ... 24] = 5, [25 ... 28] = 6,    \
	       [29 ... 32] = 7, [33 ... 40] = 8, [41 ... 48] = 9, [49 ... 56] = 10,            \
	       [57 ... 64] = 11, [65 ... 80] = 12, [81 ... 96] = 13, [97 ... 112] = 14,        \
	       [113 ... 128] = 15, [129 ... 160] = 16, [161 ... 192] = 17, [193 ... 224] = 18, \
	       [225 ... 256] = 19

const struct class_lookup class_spaced = {
	.of = {[0 ... 4] = 0, [5 ... 8] = 1, QUARTERS},
};

const struct class_lookup class_packed = {
	.of = {[0 ... 1] = 44,
	       [2] = 45,
	       [3] = 46,
	       [4] = 0,
	       [5] = 47,
	       [6] = 48,
	       [7] = 49,
	       [8] = 1,
	       QUARTERS},
};
