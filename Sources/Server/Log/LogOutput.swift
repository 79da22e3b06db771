// Where log lines go, in the words of --log-outputs.
import Glibc

package enum LogOutput: Equatable, Sendable {
  case standardError
  case standardOutput
  case file(path: String)

  /// Nil where the words name nothing that is to be had here.
  package init?(_ word: String) {
    switch word {
    case "default", "stderr": self = .standardError
    case "stdout": self = .standardOutput
    case "", "systemd/journal": return nil
    default: self = .file(path: word)
    }
  }

  /// Files are appended to. The descriptor is never closed: the log ends with the process.
  package func open() throws(ServerError) -> Int32 {
    switch self {
    case .standardError: return STDERR_FILENO
    case .standardOutput: return STDOUT_FILENO
    case .file(let path):
      let descriptor = Glibc.open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o644)
      guard descriptor >= 0 else { throw .system(operation: "open", path: path, code: errno) }
      return descriptor
    }
  }
}
