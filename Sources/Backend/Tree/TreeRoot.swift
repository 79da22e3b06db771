// Where a named tree begins. A snapshot holds one per tree, so that finding a tree costs nothing.

/// A tree's number inside its database; found once by name, then used for every access.
package struct TreeID: Sendable, Equatable, Hashable {
  package let raw: UInt8
  package init(_ raw: UInt8) { self.raw = raw }
}

struct TreeRoot: Equatable {
  /// 0: the tree is empty (page 0 is a meta page and never a root).
  var page: PageID
  /// Level of the root page: 0 when it is a leaf.
  var level: Int32
  var live: UInt64

  static let empty = TreeRoot(page: 0, level: 0, live: 0)
}

/// Most trees a database can have; they lie in the meta page.
let treesMax = 48
