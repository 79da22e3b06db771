// The one error of this folder: a system call that failed.

import Glibc

@usableFromInline
package struct ReactorError: Error, Equatable, CustomStringConvertible {
  /// What was attempted, e.g. "listen on 127.0.0.1:2379".
  package let call: String
  /// errno.
  package let code: Int32

  package init(call: String, code: Int32) {
    self.call = call
    self.code = code
  }

  @usableFromInline
  package var description: String { "\(call): \(String(cString: strerror(code)))" }
}
