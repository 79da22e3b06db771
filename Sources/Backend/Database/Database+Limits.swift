// What the layers above must respect.

extension Database {
  /// Longest key of a tree, bytes: it depends on the file's page size.
  package var maxKeyLength: Int { geometry.keyMax }
}
