// Files, and what can go wrong with them.

import Glibc

package struct ScriptError: Error, CustomStringConvertible {
  package var path: String
  package var reason: String
  package var description: String { "\(path): \(reason)" }
}

func readFile(_ path: String) throws(ScriptError) -> String {
  guard let stream = fopen(path, "r") else { throw ScriptError(path: path, reason: String(cString: strerror(errno))) }
  defer { fclose(stream) }
  var bytes: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 1 << 16)
  while case let count = fread(&chunk, 1, chunk.count, stream), count > 0 { bytes += chunk[..<count] }
  if ferror(stream) != 0 { throw ScriptError(path: path, reason: String(cString: strerror(errno))) }
  guard let text = String(validating: bytes, as: UTF8.self) else {
    throw ScriptError(path: path, reason: "not UTF-8 text")
  }
  return text
}
