// Standard output, gathered into large writes; standard error, written at once.

import Glibc
import NeedletailRPC

/// One thread writes at a time: the main thread, or a task that it waits for.
enum StandardOutput {
  nonisolated(unsafe) private static var pending = OutBuffer()
  nonisolated(unsafe) private static var isBroken = false

  static func write(_ text: String) { write { $0.append(text) } }

  /// Appends with `body`, and sends what has gathered when it is much.
  static func write(_ body: (inout OutBuffer) -> Void) {
    body(&pending)
    if pending.count >= 1 << 16 { flush() }
  }

  /// Sends everything. False when the output is gone: nobody has read all of it.
  @discardableResult
  static func flush() -> Bool {
    if !isBroken && !writeAll(STDOUT_FILENO, pending.bytes) {
      isBroken = true
      StandardError.write("Error: can't write to standard output: \(String(cString: strerror(errno)))\n")
    }
    pending.removeAll()
    return !isBroken
  }
}

enum StandardError {
  static var isTerminal: Bool { isatty(STDERR_FILENO) == 1 }

  static func write(_ text: String) {
    var text = text
    text.withUTF8 { _ = writeAll(STDERR_FILENO, UnsafeRawBufferPointer($0)) }
  }
}

/// Writes all bytes, however often the system takes only some.
private func writeAll(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Bool {
  var rest = bytes
  while !rest.isEmpty {
    let written = write(descriptor, rest.baseAddress, rest.count)
    if written > 0 {
      rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(written))
    } else if errno != EINTR {
      return false
    }
  }
  return true
}
