// io_uring for the write-ahead log.
#pragma once
