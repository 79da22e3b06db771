// Why a file is no history.

package struct HistoryError: Error, Equatable, CustomStringConvertible, Sendable {
  /// From 1; 0 where it is the file as a whole.
  package var line: Int
  package var reason: String

  init(line: Int = 0, _ reason: String) {
    self.line = line
    self.reason = reason
  }

  package var description: String { line == 0 ? reason : "line \(line): \(reason)" }
}
