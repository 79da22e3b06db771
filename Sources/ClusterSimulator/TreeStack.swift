// The engine and the store of one member, over its simulated disk.

import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import NeedletailRaft
import NeedletailSimulator
import NeedletailWAL

final class TreeStack {
  let pages: SimulatedPageStore
  let database: Database
  let store: Store
  private let writer: StoreWriter
  private let reader: ReaderHandle
  /// The last entry in the tree. The beginning is an empty store as of entry 1.
  private(set) var applied: LogMark

  static let beginning = LogMark(index: 1, term: 1)
  private static let identity = StoreIdentity(clusterID: 7, memberID: 1)

  init(_ pages: SimulatedPageStore) throws {
    var options = DatabaseOptions()
    options.membarrier = false
    options.readersMax = 4
    self.pages = pages
    database = try Database(store: pages, path: "simulated", options: options)
    store = try Store.open(database, identity: TreeStack.identity)
    writer = StoreWriter(store)
    reader = try database.makeReader()
    let view = reader.pin()
    applied = LogMark(index: view.word(StoreWord.appliedIndex), term: view.word(StoreWord.appliedTerm))
    reader.unpin()
    if applied.index == 0 { applied = TreeStack.beginning }
  }

  func close() {
    reader.free()
    database.close()
  }

  /// Applies entries in one commit; an outcome for each that is a command: whose it is, and its answer.
  func apply(_ entries: [Entry]) throws -> [(index: UInt64, id: UInt64, answer: Result<[UInt8], MVCCError>)] {
    guard let last = entries.last else { return [] }
    var outcomes: [(index: UInt64, id: UInt64, answer: Result<[UInt8], MVCCError>)] = []
    try database.write { batch in
      try writer.begin(batch)
      for entry in entries {
        guard entry.index > applied.index else { continue }
        guard !entry.data.isEmpty else { continue }
        guard let command = ClusterCommand(entry.data) else { throw Violation("entry \(entry.index) is no command") }
        let answer = command.apply(writer, batch, term: entry.term)
        if case .failure(let error) = answer, error.isFatal { throw error }
        outcomes.append((entry.index, command.id, answer))
      }
      writer.finish(batch, appliedIndex: last.index, appliedTerm: last.term)
    }
    applied = LogMark(index: last.index, term: last.term)
    return outcomes
  }

  /// Removes a part of what compactions gave up.
  func removeCompacted(rowsMax: Int) throws {
    _ = try database.write { batch in try writer.removeCompacted(batch, rowsMax: rowsMax) }
  }

  /// The body of a range's answer.
  func range(_ key: [UInt8], end: [UInt8], revision: Int64) -> Result<[UInt8], MVCCError> {
    var out = OutBuffer()
    defer { out.free() }
    let view = reader.pin()
    defer { reader.unpin() }
    do throws(MVCCError) {
      try withPointers([key, end]) { (fields) throws(MVCCError) in
        var query = RangeQuery(key: fields[0], rangeEnd: fields[1])
        query.revision = revision
        try store.range(view, query, into: &out)
      }
      return .success(Array(out.bytes))
    } catch {
      return .failure(error)
    }
  }
}
