// Files: the calls whose Swift overlay lacks them or loses flags.
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>
