// Progress by member, in ascending order of members.

package struct ProgressMap: Equatable, Sendable {
  package private(set) var ids: [NodeID] = []
  private var values: [Progress] = []

  package init() {}

  private func position(of id: NodeID) -> Int? { ids.firstIndex(of: id) }

  package func contains(_ id: NodeID) -> Bool { position(of: id) != nil }

  package subscript(id: NodeID) -> Progress? {
    get {
      guard let at = position(of: id) else { return nil }
      return values[at]
    }
    set {
      switch (position(of: id), newValue) {
      case (let at?, let value?): values[at] = value
      case (let at?, nil):
        ids.remove(at: at)
        values.remove(at: at)
      case (nil, let value?):
        let at = ids.firstIndex { $0 > id } ?? ids.endIndex
        ids.insert(id, at: at)
        values.insert(value, at: at)
      case (nil, nil): break
      }
    }
  }

  /// Changes a progress in place. Nil if there is none.
  @discardableResult
  mutating func update<Result>(_ id: NodeID, _ body: (inout Progress) -> Result) -> Result? {
    guard let at = position(of: id) else { return nil }
    return body(&values[at])
  }

  mutating func updateAll(_ body: (NodeID, inout Progress) -> Void) {
    for i in ids.indices { body(ids[i], &values[i]) }
  }
}
