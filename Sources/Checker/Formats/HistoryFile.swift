// Reads a file whole, up to a bound: a history is held in memory while it is checked.
import Glibc

package enum HistoryFile {
  package static let bytesMax = 256 << 20

  package static func read(_ path: String) throws(HistoryError) -> [UInt8] {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw HistoryError(String(cString: strerror(errno))) }
    defer { close(file) }
    var bytes: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 1 << 20)
    while true {
      let count = Glibc.read(file, &block, block.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw HistoryError(String(cString: strerror(errno))) }
      guard count > 0 else { return bytes }
      bytes.append(contentsOf: block[0..<count])
      guard bytes.count <= bytesMax else { throw HistoryError("larger than \(bytesMax >> 20) MiB") }
    }
  }
}
