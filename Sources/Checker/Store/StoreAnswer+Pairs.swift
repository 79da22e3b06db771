// What answers tell beyond their own calls.

extension ActionResult {
  var pairs: [ObservedPair] {
    switch self {
    case .put(.yes(let pair)): pair.map { [$0] } ?? []
    case .delete(_, .yes(let pairs)): pairs
    case .range(let result): result.pairs
    case .put(.not), .delete(_, .not): []
    }
  }

  var makesRevision: Bool {
    switch self {
    case .put: true
    case .delete(let count, _): count > 0
    case .range: false
    }
  }
}

extension StoreAnswer {
  /// Pairs that the answer shows. Those of a transaction may have been made by itself.
  var pairs: [ObservedPair] {
    switch self {
    case .single(let result, _): result.pairs
    case .transaction(_, let results, _): results.flatMap(\.pairs)
    case .done, .kept, .gone, .lives, .refused: []
    }
  }
}

extension StoreComparison.Relation {
  /// `order` is what was found, compared with what was asked for: less, equal or greater than 0.
  func holds(_ order: Int64) -> Bool {
    switch self {
    case .equal: order == 0
    case .notEqual: order != 0
    case .less: order < 0
    case .greater: order > 0
    }
  }
}
