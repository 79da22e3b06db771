// The face for programs that embed the engine: snapshots, values and cursors that the compiler won't let escape.

/// A reader: its own slot in the reader table. Make one per thread and keep it; beginning a transaction then costs one
/// store. Not shared between threads at the same time.
public struct Reader: ~Copyable {
  private let handle: ReaderHandle
  private let database: Database

  init(database: Database) throws(DatabaseError) {
    handle = try database.makeReader()
    self.database = database
  }

  deinit { handle.free() }

  /// A consistent view of the newest published batch, until it goes out of scope. While it lives, pages that
  /// writers replace are kept: a transaction held for long makes the file grow.
  @_lifetime(&self)
  public mutating func begin() -> ReadTransaction {
    ReadTransaction(handle: handle, database: database)
  }
}

/// A snapshot, pinned while this lives.
public struct ReadTransaction: ~Copyable, ~Escapable {
  private let handle: ReaderHandle
  private let view: SnapshotView
  private let database: Database

  @_lifetime(immortal)
  fileprivate init(handle: ReaderHandle, database: Database) {
    self.handle = handle
    view = handle.pin()
    self.database = database
  }

  deinit { handle.unpin() }

  /// The number of the batch that published this snapshot; grows with every batch.
  public var transaction: UInt64 { view.transaction }

  /// The tree of that name. Throws `noSuchTree`. Names are looked up under a lock: keep the tree for many accesses.
  @_lifetime(borrow self)
  public func tree(_ name: String) throws(DatabaseError) -> Tree {
    guard let id = database.tree(named: name) else { throw .noSuchTree(name) }
    return _overrideLifetime(Tree(view: view.tree(id)), borrowing: self)
  }
}

/// A tree in a snapshot.
public struct Tree: ~Escapable {
  private let view: TreeView

  @_lifetime(immortal)
  fileprivate init(view: TreeView) { self.view = view }

  /// Entries. O(1).
  public var count: UInt64 { view.count }

  /// The value of `key`: bytes in the mapped file, not a copy. O(log n), no allocation, no lock. Throws `corrupt`.
  @_lifetime(copy self)
  public func get(_ key: RawSpan) throws(DatabaseError) -> RawSpan? {
    guard let bytes = try key.withUnsafeBytes({ (key) throws(DatabaseError) in try view.get(key) }) else {
      return nil
    }
    return _overrideLifetime(RawSpan(_unsafeBytes: bytes), copying: self)
  }

  /// The values of many keys, handed to `body` in the keys' order: the index of the key, and its value or nil. The cache
  /// misses of up to 16 lookups overlap, which makes a lookup about three times as fast as one by itself.
  /// Throws `corrupt`; `body` was called for the keys before then.
  public func get(_ keys: borrowing KeyList, _ body: (Int, RawSpan?) -> Void) throws(DatabaseError) {
    try keys.withKeys { (first, keys) throws(DatabaseError) in
      try withUnsafeTemporaryAllocation(of: UnsafeRawBufferPointer?.self, capacity: keys.count) {
        (values) throws(DatabaseError) in
        guard let values = values.baseAddress else { return }
        try view.get(keys, into: values)
        for i in 0..<keys.count {
          if let value = values[i] { body(first + i, RawSpan(_unsafeBytes: value)) } else { body(first + i, nil) }
        }
      }
    }
  }

  /// Entries whose key is smaller than `key`. O(log n).
  public func rank(of key: RawSpan) throws(DatabaseError) -> UInt64 {
    try key.withUnsafeBytes { (key) throws(DatabaseError) in try view.rank(key) }
  }

  /// A position in the tree, at first nowhere.
  @_lifetime(copy self)
  public func cursor() -> TreeCursor { _overrideLifetime(TreeCursor(view.cursor()), copying: self) }
}

/// A position in a tree, moving both ways in key order. A step costs O(1) amortised.
public struct TreeCursor: ~Copyable, ~Escapable {
  private var cursor: Cursor

  @_lifetime(immortal)
  fileprivate init(_ cursor: consuming Cursor) { self.cursor = cursor }

  /// Whether the cursor stands on an entry.
  public var isValid: Bool { cursor.isValid }

  /// To the first entry whose key is not smaller than `key`; false where there is none.
  @_lifetime(self: copy self)
  public mutating func seek(_ key: RawSpan) throws(DatabaseError) -> Bool {
    try key.withUnsafeBytes { (key) throws(DatabaseError) in try cursor.seek(key) }
  }
  @_lifetime(self: copy self)
  public mutating func first() throws(DatabaseError) -> Bool { try cursor.first() }
  @_lifetime(self: copy self)
  public mutating func last() throws(DatabaseError) -> Bool { try cursor.last() }
  @_lifetime(self: copy self)
  public mutating func next() throws(DatabaseError) -> Bool { try cursor.next() }
  @_lifetime(self: copy self)
  public mutating func previous() throws(DatabaseError) -> Bool { try cursor.previous() }

  /// The entry's key; nil off the ends. Valid until the cursor moves.
  @_lifetime(&self)
  public mutating func key() throws(DatabaseError) -> RawSpan? {
    guard cursor.isValid else { return nil }
    let bytes = try cursor.key
    return _overrideLifetime(RawSpan(_unsafeBytes: bytes), mutating: &self)
  }

  /// The entry's value; nil off the ends.
  @_lifetime(borrow self)
  public func value() throws(DatabaseError) -> RawSpan? {
    guard cursor.isValid else { return nil }
    let bytes = try cursor.value
    return _overrideLifetime(RawSpan(_unsafeBytes: bytes), borrowing: self)
  }
}

extension Database {
  /// A reader for the calling thread. Throws `readersFull`.
  public func reader() throws(DatabaseError) -> Reader { try Reader(database: self) }
}
