// Where results and progress go: results to standard output or a file, everything meant for eyes to standard error.
import Glibc

final class Output {
  private let descriptor: Int32

  /// Results to `path`, or to standard output when there is none.
  init(path: String?) throws {
    guard let path else {
      descriptor = STDOUT_FILENO
      return
    }
    descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    if descriptor < 0 { throw BenchError("cannot write \(path): \(String(cString: strerror(errno)))") }
  }

  deinit { if descriptor != STDOUT_FILENO { close(descriptor) } }

  func result(_ line: JSONLine) throws {
    if !Self.write(line.line + "\n", descriptor) {
      throw BenchError("cannot write results: \(String(cString: strerror(errno)))")
    }
  }

  func progress(_ text: String) { _ = Self.write(text + "\n", STDERR_FILENO) }

  private static func write(_ text: String, _ descriptor: Int32) -> Bool {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let written = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if written < 0 && errno == EINTR { continue }
      if written <= 0 { return false }
      rest = rest.dropFirst(written)
    }
    return true
  }
}

/// Fixed-width text for the tables on standard error.
func padded(_ text: String, _ width: Int) -> String {
  let missing = abs(width) - text.count
  if missing <= 0 { return text }
  let blanks = String(repeating: " ", count: missing)
  return width < 0 ? text + blanks : blanks + text
}

/// 1234567 as `1.23 M`.
func readable(_ value: Double) -> String {
  switch abs(value) {
  case 1e6...: return JSONLine.figure((value / 1e4).rounded() / 100) + " M"
  case 1e3...: return JSONLine.figure((value / 1e2).rounded() / 10) + " k"
  default: return JSONLine.figure((value * 10).rounded() / 10)
  }
}

func median(_ values: [Double]) -> Double {
  if values.isEmpty { return .nan }
  let sorted = values.sorted()
  let middle = sorted.count / 2
  return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}
