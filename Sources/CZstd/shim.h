// zstd: the frames of snapshots.
#pragma once
#include <zstd.h>
