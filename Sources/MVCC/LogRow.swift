// A row of the `log` tree: what a change did to a key, and the version it replaced.
//
//   offset  size
//   0       1     bits 0–1: 1 = put, 2 = delete; bits 4–5: replaced 0 = nothing, 1 = a record, 2 = a graveyard entry
//   1       4     key length k, little-endian
//   5       k     key
//   5+k     rest  the replaced record or graveyard entry, byte for byte as it lay in its tree
//
// A version lives in one place: the latest in `current` or `graveyard`, an older one in the row that superseded it.

/// A parsed row; pointers go into the page.
struct LogRow {
  enum Kind: UInt8 {
    case put = 1
    case delete = 2
  }

  enum Replaced: UInt8 {
    case nothing = 0
    case record = 1
    case tombstone = 2
  }

  static let fixedSize = 5

  var kind: Kind
  var replaced: Replaced
  var key: UnsafeRawBufferPointer
  private var rest: UnsafeRawBufferPointer

  init(_ bytes: UnsafeRawBufferPointer) throws(MVCCError) {
    guard bytes.count >= LogRow.fixedSize, bytes[0] & 0xcc == 0,
      let kind = Kind(rawValue: bytes[0] & 3), let replaced = Replaced(rawValue: bytes[0] >> 4 & 3)
    else { throw .corrupt("a log row's head") }
    let keyEnd = LogRow.fixedSize + Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 1, as: UInt32.self)))
    guard keyEnd <= bytes.count else { throw .corrupt("a log row's key") }
    self.kind = kind
    self.replaced = replaced
    key = UnsafeRawBufferPointer(rebasing: bytes[LogRow.fixedSize..<keyEnd])
    rest = UnsafeRawBufferPointer(rebasing: bytes[keyEnd...])
    guard (replaced == .nothing) == (rest.count == 0) else { throw .corrupt("a log row's replaced version") }
  }

  /// The version that this change replaced; nil where there was none.
  func replacedVersion() throws(MVCCError) -> Version? {
    switch replaced {
    case .nothing: nil
    case .record: try Version(record: rest)
    case .tombstone: try Version(tombstone: rest)
    }
  }
}
