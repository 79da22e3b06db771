// Running another program and waiting for it.

import Glibc
import NeedletailRPC

enum ChildProcess {
  /// Runs `words` with more variables in its environment; it shares our output. Gives why it failed, in Go's words, or nil.
  static func run(_ words: [[UInt8]], variables: [[UInt8]]) -> String? {
    var inherited: [[UInt8]] = []
    var entry = environ
    while let text = entry.pointee {
      inherited.append([UInt8](UnsafeRawBufferPointer(start: text, count: strlen(text))))
      entry += 1
    }
    var child: pid_t = 0
    let code = withStrings(words) { arguments in
      withStrings(inherited + variables) { environment -> Int32 in
        guard let program = arguments[0] else { return ENOENT }
        // Signals that are kept from this program's threads are the other's to take.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        return posix_spawnp(&child, program, nil, &attributes, arguments, environment)
      }
    }
    if code == ENOENT {
      return "exec: \(quoted(words.first ?? [])): executable file not found in $PATH"
    }
    guard code == 0 else { return "fork/exec: \(String(cString: strerror(code)).lowercased())" }
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0 {
      guard errno == EINTR else { return "wait: \(String(cString: strerror(errno)).lowercased())" }
    }
    if status & 0x7f != 0 { return "signal: \(String(cString: strsignal(status & 0x7f)).lowercased())" }
    let exit = status >> 8 & 0xff
    return exit == 0 ? nil : "exit status \(exit)"
  }

  /// Go's %q of bytes.
  static func quoted(_ bytes: [UInt8]) -> String {
    var text = OutBuffer()
    defer { text.free() }
    text.appendQuoted(bytes)
    return String(decoding: text.bytes, as: UTF8.self)
  }

  private static func withStrings<R>(
    _ strings: [[UInt8]], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> R
  ) -> R {
    let copies = strings.map { string in
      let copy = UnsafeMutablePointer<CChar>.allocate(capacity: string.count + 1)
      for (at, byte) in string.enumerated() { copy[at] = CChar(bitPattern: byte) }
      copy[string.count] = 0
      return copy
    }
    defer { for copy in copies { copy.deallocate() } }
    let list = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: copies.count + 1)
    defer { list.deallocate() }
    for (at, copy) in copies.enumerated() { list[at] = copy }
    list[copies.count] = nil
    return body(list)
  }
}
