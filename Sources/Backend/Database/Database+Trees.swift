// What copies of a whole database need to know: its trees as one snapshot shows them, and what it is.

extension Database {
  /// Names of all trees, in the order of their ids. A tree keeps its id; new ones come behind.
  package var treeNames: [String] { withWriter { $0.names } }

  /// As it was given to `open`.
  package var filePath: String { path }

  /// Random, given when the file was made.
  package var identifier: UInt64 { storeID }
}

extension SnapshotView {
  /// Trees that this snapshot has: those with ids below it.
  package var treeCount: Int { snapshot.pointee.treeCount }

  /// Words that the database's user set in the same commit as the data.
  package var words: [UInt64] { snapshot.pointee.wordList }
}
