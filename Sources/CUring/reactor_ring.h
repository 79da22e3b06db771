// io_uring for the reactor.
#pragma once
