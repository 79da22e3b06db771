// The bytes of a TxnResponse: parts are written as they come, and what must stand before them is put there afterwards.
import NeedletailBytes

enum TransactionAnswer {
  /// Field of a ResponseOp.
  enum Part: UInt8 {
    case range = 1
    case put = 2
    case deleteRange = 3
    case transaction = 4
  }

  private static let succeeded: UInt8 = 2 << 3
  private static let responses: UInt8 = 3 << 3 | 2

  static func appendBranch(_ holds: Bool, to out: inout OutBuffer) {
    guard holds else { return }
    out.append(byte: succeeded)
    out.append(byte: 1)
  }

  /// The header of a nested transaction: there, and empty, as etcd's is.
  static func appendEmptyHeader(to out: inout OutBuffer) {
    out.append(byte: AnswerTag.header)
    out.append(byte: 0)
  }

  /// Makes the bytes from `start` on a ResponseOp in the list of responses.
  static func wrap(_ part: Part, from start: Int, in out: inout OutBuffer) {
    let bodySize = out.count - start
    let partSize = 1 + varintSize(UInt64(bodySize)) + bodySize
    let prefixSize = 1 + varintSize(UInt64(partSize)) + partSize - bodySize
    insert(prefixSize, at: start, in: &out) { p in
      let at = writeVarint(UInt64(partSize), writeByte(responses, p))
      _ = writeVarint(UInt64(bodySize), writeByte(part.rawValue << 3 | 2, at))
    }
  }

  /// Moves what lies from `start` on `size` bytes back and has `write` fill the gap.
  static func insert(_ size: Int, at start: Int, in out: inout OutBuffer, _ write: (UnsafeMutableRawPointer) -> Void) {
    _ = out.reserve(size)
    let count = out.count - start
    out.advance(size)
    guard let base = out.start else { return }
    let gap = base + start
    (gap + size).copyMemory(from: gap, byteCount: count)
    write(gap)
  }
}
