// A script, read from a file and replayed against `NeedletailRaft`.

import Glibc

package struct ScriptReplay {
  package let actual: String

  package init(file: String) throws {
    guard let stream = fopen(file, "r") else { throw ScriptError(path: file, code: errno) }
    defer { fclose(stream) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while case let n = fread(&chunk, 1, chunk.count, stream), n > 0 { bytes += chunk[..<n] }
    actual = String(decoding: bytes, as: UTF8.self)
  }
}

package struct ScriptError: Error, CustomStringConvertible {
  var path: String
  var code: Int32
  package var description: String { "\(path): \(String(cString: strerror(code)))" }
}
