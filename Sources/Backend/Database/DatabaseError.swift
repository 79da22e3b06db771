// Every way the engine can say no. Bad input and bad files end here, never in a trap.

/// What a page or a file got wrong, in words a person can act on.
public enum CorruptionReason: String, Sendable, Equatable {
  case pageOutOfFile = "page number beyond the end of the file"
  case identity = "page carries another page's number"
  case kind = "page is not of the expected type or level"
  case transaction = "page is newer than its parent"
  case bounds = "an offset or a length points outside the page"
  case checksum = "checksum does not match the contents"
  case order = "keys are not in strictly ascending order"
  case fences = "a key lies outside its page's fences"
  case prefix = "a page's prefix does not follow from its fences"
  case count = "a live-entry count is wrong"
  case sharedPage = "page is reachable twice"
  case freePage = "page is reachable and marked free"
  case leakedPage = "page is neither reachable nor free"
  case depth = "tree is deeper than any valid tree"
  case stale = "page is not the one written last: the disk lost a write"
}

public enum DatabaseError: Error, Sendable, Equatable {
  /// A system call failed. `offset` is the byte in the file it worked on, where there is one.
  case io(operation: String, errno: Int32, offset: UInt64)
  /// The file system is full. The last published snapshot is intact; free some space and try again.
  case noSpace(bytes: UInt64)
  case corrupt(page: UInt32, reason: CorruptionReason)
  /// No meta page of the file can be used.
  case noValidMeta(path: String, detail: String)
  case notADatabase(path: String)
  case unsupportedVersion(found: UInt32, supported: UInt32)
  case pageSizeInvalid(Int)
  /// Another process, or another `Database` of this one, has the file open.
  case inUse(path: String)
  /// An earlier write or sync failed: what reached the disk is unknown, so nothing more is written.
  case latched(cause: String)
  case keyLength(Int, maximum: Int)
  case valueLength(Int, maximum: Int)
  /// A key that was to go behind all others of its tree does not: it is smaller than the last, or the same.
  case unsorted
  case readersFull(maximum: Int)
  case treesFull(maximum: Int)
  case treeName(String)
  case noSuchTree(String)
  /// A `WriteBatch` was used outside its `write` call.
  case batchClosed
  case closed
  case reservation(bytes: UInt64, errno: Int32)
}

extension DatabaseError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .io(let operation, let errno, let offset):
      "\(operation) failed at byte \(offset): \(systemMessage(errno)) (errno \(errno))"
    case .noSpace(let bytes): "no space left for \(bytes) bytes: free some space on the file system and try again"
    case .corrupt(let page, let reason): "page \(page) is corrupt: \(reason.rawValue)"
    case .noValidMeta(let path, let detail): "\(path): no valid meta page: \(detail)"
    case .notADatabase(let path): "\(path) is not a Needletail database"
    case .unsupportedVersion(let found, let supported):
      "the file has format version \(found); this program reads version \(supported)"
    case .pageSizeInvalid(let size): "page size \(size) is not a power of two from 512 to 65536"
    case .inUse(let path): "\(path) is in use by another process: stop it, or copy the file and open the copy"
    case .latched(let cause): "the database takes no more writes after an earlier failure: \(cause)"
    case .keyLength(let length, let maximum): "key of \(length) bytes: keys have 1 to \(maximum) bytes"
    case .valueLength(let length, let maximum): "value of \(length) bytes: values have at most \(maximum) bytes"
    case .unsorted: "keys that are appended must ascend: this one is not greater than the last of its tree"
    case .readersFull(let maximum): "all \(maximum) reader slots are taken"
    case .treesFull(let maximum): "a database holds at most \(maximum) trees"
    case .treeName(let name): "tree name \"\(name)\": names have 1 to 31 bytes"
    case .noSuchTree(let name): "there is no tree named \"\(name)\""
    case .batchClosed: "the write batch was used outside its write call"
    case .closed: "the database is closed"
    case .reservation(let bytes, let errno):
      "cannot reserve \(bytes) bytes of address space: \(systemMessage(errno)); raise the limit (ulimit -v)"
    }
  }
}
