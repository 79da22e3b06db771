// When a page that a batch replaced may be used again. One rule:
//
//   a page that was part of transactions [born, freed) is reusable iff no pinned epoch e has born ≤ e < freed.
//
// Pinned epochs are the readers' snapshots, the durable checkpoint, the checkpoint in flight, and the published
// snapshot (a reader may be about to pin it). The rule covers long readers, pages born and dead between two readers, and
// everything since the last checkpoint.

struct FreedPage: Equatable {
  var first: PageID
  var count: UInt32
  var born: UInt64
  var freed: UInt64
}

/// Pages that wait, filed under one epoch that holds them: only when that epoch is gone need they be looked at again, so
/// a page is examined at most once per reader that held it.
struct Reclaimer {
  private var waiting: [UInt64: [FreedPage]] = [:]
  private(set) var pendingPages = 0

  /// Files freed pages; returns those that are reusable at once. `epochs` is ascending.
  mutating func add(_ pages: [FreedPage], epochs: [UInt64]) -> [FreedPage] {
    pendingPages += pages.reduce(0) { $0 + Int($1.count) }
    return file(pages, epochs: epochs)
  }

  /// Looks again at pages whose holder is no longer pinned; returns those that are reusable now.
  mutating func reclaim(epochs: [UInt64]) -> [FreedPage] {
    // Order does not matter for the outcome: each page's fate depends on `epochs` alone.
    let gone = waiting.keys.filter { !Self.contains(epochs, $0) }
    var reusable: [FreedPage] = []
    for epoch in gone {
      if let pages = waiting.removeValue(forKey: epoch) { reusable += file(pages, epochs: epochs) }
    }
    return reusable
  }

  private mutating func file(_ pages: [FreedPage], epochs: [UInt64]) -> [FreedPage] {
    var reusable: [FreedPage] = []
    for page in pages {
      // The newest pinned epoch below `freed` is the only one to ask: if it is below `born`, so are all others.
      let index = Self.lowerBound(epochs, page.freed)
      if index > 0, epochs[index - 1] >= page.born {
        waiting[epochs[index - 1], default: []].append(page)
      } else {
        pendingPages -= Int(page.count)
        reusable.append(page)
      }
    }
    return reusable
  }

  /// Pages held by each epoch, for reports of what a long reader costs.
  func pages(heldBy epoch: UInt64) -> Int { waiting[epoch]?.reduce(0) { $0 + Int($1.count) } ?? 0 }

  private static func lowerBound(_ epochs: [UInt64], _ epoch: UInt64) -> Int {
    var low = 0
    var high = epochs.count
    while low < high {
      let middle = (low + high) / 2
      if epochs[middle] < epoch { low = middle + 1 } else { high = middle }
    }
    return low
  }

  private static func contains(_ epochs: [UInt64], _ epoch: UInt64) -> Bool {
    let index = lowerBound(epochs, epoch)
    return index < epochs.count && epochs[index] == epoch
  }
}
