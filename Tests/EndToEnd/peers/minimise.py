"""The smallest program that still shows a difference: delta debugging, each try on fresh stores."""

import time


def minimise(program, index, fails, say, seconds=180):
    """`fails(program)` runs one and tells whether it shows a difference. None when the whole doesn't show it again."""
    deadline = time.monotonic() + seconds
    program = program[: index + 1]
    for tail in (1, 4, 16, 64, 256, 1024, len(program)):
        if tail >= len(program) or fails(program[-tail:]):
            break
    if tail < len(program):
        program = program[-tail:]
    elif not fails(program):
        return None
    pieces = 2
    while len(program) > 1 and time.monotonic() < deadline:
        size = max(1, len(program) // pieces)
        for start in range(0, len(program), size):
            rest = program[:start] + program[start + size :]
            if rest and time.monotonic() < deadline and fails(rest):
                program, pieces = rest, max(2, pieces - 1)
                say(f"{len(program)} operations still differ")
                break
        else:
            if size == 1:
                break
            pieces = min(len(program), pieces * 2)
    return program
