// How to open a database. The defaults are right for a server on a local file system.

public struct DatabaseOptions: Sendable {
  /// Bytes per page, a power of two from 512 to 65,536. Counts only when the file is created.
  public var pageSize = 4096
  /// Reader slots: at most this many readers at once.
  public var readersMax = 256
  /// Address space reserved for the file to grow into, bytes.
  public var reservation: UInt64 = 1 << 40
  /// Create the file where there is none.
  public var create = true
  /// Look without touching: nothing is written, not even what opening after a crash would, and `write` and `checkpoint`
  /// throw `latched`. Several programs may look at a file at once, none while it is open for writing.
  public var readOnly = false
  /// Compare a page's checksum when it is first read after opening. Off: only `check` and edits do.
  public var verifiesReads = true
  /// Let the writer order memory for all readers (`membarrier`). Off: each pin pays for a fence. For comparison.
  public var membarrier = true
  /// Keep the file in the page cache in pieces of 2 MiB, which the kernel maps as huge pages: random gets take 15–30 % less
  /// time. On ext4 a durable commit of few pages pays for it: each call walks all 512 blocks of the piece it writes to.
  public var hugePages = true

  public init() {}
}
