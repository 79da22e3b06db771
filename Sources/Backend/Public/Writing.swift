// The write side for programs that embed the engine.

/// How far a batch must have come when `update` returns.
public enum Durability: Sendable {
  /// Visible to readers; on disk at the next checkpoint. A crash before it undoes the batch, never a part of it.
  case published
  /// On disk.
  case durable
}

/// The edits of one `update` call: a view of a `WriteBatch` that can't leave it.
public struct Update: ~Copyable, ~Escapable {
  private let batch: WriteBatch

  @_lifetime(immortal)
  fileprivate init(_ batch: WriteBatch) { self.batch = batch }

  /// The tree of that name, created empty where there is none. Throws `treeName`, `treesFull`.
  public func tree(_ name: String) throws(DatabaseError) -> TreeName { TreeName(id: try batch.openTree(name)) }

  /// Sets `key` to `value`. Throws `keyLength`, `valueLength`, `noSpace`, `corrupt`; the entry then is as before.
  public func put(_ key: RawSpan, _ value: RawSpan, in tree: TreeName) throws(DatabaseError) {
    try key.withUnsafeBytes { (key) throws(DatabaseError) in
      try value.withUnsafeBytes { (value) throws(DatabaseError) in try batch.put(tree.id, key, value) }
    }
  }

  /// Removes `key`; false where it was not there.
  public func delete(_ key: RawSpan, in tree: TreeName) throws(DatabaseError) -> Bool {
    try key.withUnsafeBytes { (key) throws(DatabaseError) in try batch.delete(tree.id, key) }
  }

  /// Removes the keys from `from` on, up to and without `to`, and returns how many they were. Whole subtrees are cut off:
  /// entries inside them are not looked at, so that a large range costs little more than its pages.
  ///
  /// Throws `corrupt`; nothing is removed then.
  public func delete(from: RawSpan, to: RawSpan, in tree: TreeName) throws(DatabaseError) -> UInt64 {
    try from.withUnsafeBytes { (from) throws(DatabaseError) in
      try to.withUnsafeBytes { (to) throws(DatabaseError) in try batch.delete(tree.id, from: from, to: to) }
    }
  }

  /// Removes every key of `tree` and returns how many they were.
  public func deleteAll(in tree: TreeName) throws(DatabaseError) -> UInt64 {
    try batch.delete(tree.id, from: nil, to: nil)
  }

  /// Adds an entry behind all others of `tree`: the way to load sorted input, which leaves pages full and needs no search.
  ///
  /// Throws `unsorted` where `key` is not greater than the tree's last key, and what `put` throws.
  public func append(_ key: RawSpan, _ value: RawSpan, in tree: TreeName) throws(DatabaseError) {
    try key.withUnsafeBytes { (key) throws(DatabaseError) in
      try value.withUnsafeBytes { (value) throws(DatabaseError) in try batch.append(tree.id, key, value) }
    }
  }

  /// Says that edits of `keys` come next: what they need of a tree larger than the processor's caches is then loaded for
  /// all of them at once. Worth while for some 16 keys at a time; changes nothing.
  public func prefetch(_ keys: borrowing KeyList, in tree: TreeName) throws(DatabaseError) {
    try keys.withKeys { (_, keys) in batch.prefetch(tree.id, keys) }
  }

  /// The value of `key` as the batch has left it so far, as a copy: further edits may move the original.
  public func get(_ key: RawSpan, in tree: TreeName) throws(DatabaseError) -> [UInt8]? {
    try key.withUnsafeBytes { (key) throws(DatabaseError) in try batch.get(tree.id, key).map { [UInt8]($0) } }
  }

  public func count(in tree: TreeName) -> UInt64 { batch.count(tree.id) }
}

/// A tree found by name, for edits.
public struct TreeName: Sendable {
  let id: TreeID
}

extension Database {
  /// Runs `body` and publishes its edits at once; when it throws, nothing happened. One update at a time: others wait.
  ///
  /// Throws what `body` throws, `noSpace`, `latched`, `io`.
  public func update<R>(_ durability: Durability = .published, _ body: (borrowing Update) throws -> R) throws -> R {
    let result = try write { batch in try body(Update(batch)) }
    if durability == .durable { try checkpoint() }
    return result
  }

  /// Makes everything published so far durable.
  public func sync() throws(DatabaseError) { try checkpoint() }
}
