// Loading sorted input: entries that go behind all others, without a descent for each.

import CNeedletail
import Glibc

/// The tree's last leaf, and with `WriteBatch.path` the way to it. Any descent makes it void.
struct AppendPosition {
  var tree: TreeID
  var page: UnsafeMutableRawPointer
}

extension WriteBatch {
  /// Adds an entry behind all others of the tree. O(1) amortised; pages are left full, as no later key comes between.
  ///
  /// Throws `unsorted` where `key` is not greater than the tree's last key, and what `put` throws.
  package func append(
    _ tree: TreeID, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
  ) throws(DatabaseError) {
    var isBehind = false
    if let position = appendPosition, position.tree == tree {
      switch try append(at: position, key, value) {
      case .done: return
      case .isBehind: isBehind = true
      case .unknown: break
      }
    }
    if !isBehind {
      let view = try view(tree)
      guard try view.rank(key) == view.count, try view.get(key) == nil else { throw .unsorted }
    }
    try put(tree, key, value)
    // The put's last descent ended at the leaf it put the entry into, which is the last of the tree.
    guard let page = scratch.page(lastInsert.leaf) else { return }
    appendPosition = AppendPosition(tree: tree, page: UnsafeMutableRawPointer(mutating: page))
  }

  private enum Attempt {
    case done
    /// Nothing was done: the key is greater than all, but its entry does not go into the last leaf as that is.
    case isBehind
    case unknown
  }

  private func append(
    at position: AppendPosition, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
  ) throws(DatabaseError) -> Attempt {
    let leaf = LeafEditor(position.page, pageSize: geometry.pageSize)
    let prefix = leaf.view.prefixLength
    let length = key.count
    let n = leaf.view.count
    guard n > 0, let bytes = key.baseAddress, length >= prefix, length <= geometry.keyMax,
      equalBytes(leaf.view.prefix, bytes, prefix)
    else { return .unknown }
    let head = keyHead(bytes, prefix, length)
    let last = leaf.view.head(n - 1)
    guard
      mutant(.appendsUnsorted) || head > last
        || head == last
          && leaf.view.compare(n - 1, bytes, length, prefix: prefix, count: n, pageSize: geometry.pageSize) > 0
    else { throw .unsorted }
    let rest = length - prefix
    let tail = max(0, rest - 8)
    guard leafEntryOverhead + length + value.count <= geometry.entryMax,
      leaf.free >= leafEntryOverhead + tail + value.count
    else { return .isBehind }
    leaf.insert(
      at: n, head: head, rest: rest, tail: bytes + (length - tail), value: StoredValue(bytes: value, isOverflow: false))
    addLive(position.tree, +1)
    lastInsert.index = n
    changed()
    return .done
  }
}
