import Testing

@testable import NeedletailRaft

@Suite struct LogTests {
  private func makeLog(_ terms: [UInt64], stable: Int, compacted: UInt64 = 0) throws -> RaftLog {
    let storage = MemoryStorage()
    let entries = terms.enumerated().map { Entry(term: $1, index: UInt64($0 + 1), data: [UInt8($0)]) }
    try storage.append(Array(entries[..<stable]))
    if compacted > 0 { try storage.compact(to: compacted) }
    var log = RaftLog(storage: storage, applyingSizeMax: Limits.unlimited, listener: nil)
    log.append(entries[stable...])
    return log
  }

  @Test func readsAcrossStorageAndMemory() throws {
    for stable in 0...6 {
      let log = try makeLog([1, 1, 2, 2, 3, 3], stable: stable)
      #expect(log.lastIndex == 6 && log.firstIndex == 1)
      for low in 1...6 {
        for high in low...7 {
          let found = try log.slice(UInt64(low)..<UInt64(high), encodedSizeMax: Limits.unlimited)
          #expect(found.map(\.index) == (UInt64(low)..<UInt64(high)).map { $0 })
        }
      }
    }
  }

  /// The prefix that fits, and one entry at least, wherever entries lie.
  @Test func sizesAreKept() throws {
    let size = Entry(term: 1, index: 1, data: [0]).encodedSize
    for stable in 0...6 {
      let log = try makeLog([1, 1, 1, 1, 1, 1], stable: stable)
      for bytes in UInt64(0)...size * 7 {
        let found = try log.slice(1..<7, encodedSizeMax: bytes)
        #expect(UInt64(found.count) == min(6, max(1, bytes / size)), "\(bytes) bytes, \(stable) stable")
      }
    }
  }

  @Test func compactedAndMissingTermsAreTold() throws {
    let log = try makeLog([1, 1, 2, 2, 3], stable: 4, compacted: 2)
    #expect(throws: StorageError.compacted) { try log.term(at: 1) }
    #expect(try log.term(at: 2) == 1)
    #expect(try log.term(at: 5) == 3)
    #expect(throws: StorageError.unavailable) { try log.term(at: 6) }
    #expect(throws: StorageError.compacted) { try log.slice(2..<4, encodedSizeMax: 100) }
    #expect(throws: StorageError.unavailable) { try log.slice(3..<7, encodedSizeMax: 100) }
    #expect(!log.has(EntryID(term: 1, index: 1)) && log.has(EntryID(term: 1, index: 2)))
  }

  /// Against the definition, for every pair of short logs: the hint is where the logs may still agree, and never before
  /// where they do.
  @Test func conflictHintsAreSafe() throws {
    let terms: [[UInt64]] = [[1, 1, 1], [1, 2, 2], [1, 3, 3, 3], [1, 1, 2, 4], [2, 2, 2], [1, 1, 2, 2, 5, 5]]
    for ours in terms {
      for theirs in terms {
        let log = try makeLog(ours, stable: 1)
        let agree = UInt64(zip(ours, theirs).prefix { $0 == $1 }.count)
        for index in 1...theirs.count {
          let from = min(UInt64(index), log.lastIndex)
          let hint = log.conflict(upTo: from, term: theirs[index - 1])
          #expect(hint.index >= min(agree, from))
          if hint.index > 0 { #expect(hint.term == ours[Int(hint.index) - 1] && hint.term <= theirs[index - 1]) }
        }
      }
    }
  }

  /// Halving finds what looking at one after another does, also in compacted logs and beyond the end.
  @Test func conflictHintsAreThoseOfALinearSearch() throws {
    var random = Random(3)
    for _ in 0..<2000 {
      var terms: [UInt64] = [UInt64(1 + random.below(2))]
      for _ in 0..<random.below(12) { terms.append(terms[terms.count - 1] + UInt64(random.below(3) / 2)) }
      let stable = random.below(terms.count + 1)
      let log = try makeLog(terms, stable: stable, compacted: stable == 0 ? 0 : UInt64(random.below(stable)))
      for index in 0...UInt64(terms.count + 2) {
        for term in 0...(terms.last ?? 0) + 1 {
          var guess = index
          var expected = EntryID(term: 0, index: 0)
          while guess > 0 {
            let ours = try? log.term(at: guess)
            if ours == nil || ours ?? 0 <= term {
              expected = EntryID(term: ours ?? 0, index: guess)
              break
            }
            guess -= 1
          }
          #expect(log.conflict(upTo: index, term: term) == expected, "\(terms) \(index) \(term)")
        }
      }
    }
  }

  /// Against plain arrays: append, replace, hand over, become durable, in any order.
  @Test func randomLogsMatchAModel() throws {
    for seed in seeds(200) {
      var random = Random(seed)
      let storage = MemoryStorage()
      var log = RaftLog(storage: storage, applyingSizeMax: Limits.unlimited, listener: nil)
      var model: [Entry] = []
      var term: UInt64 = 1
      // A leader's log is ours up to here, then its own.
      var base = 0
      var writes: [(entries: [Entry], last: EntryID, term: UInt64)] = []
      for _ in 0..<300 {
        switch random.below(6) {
        case 0:
          term += 1
          base = max(Int(log.committed), random.below(model.count + 1))
        case 1, 2:
          let own = model[base...].prefix { $0.term == term }.count
          let previous = max(Int(log.committed), base + random.below(own + 1))
          let new = (0..<random.below(4)).map {
            Entry(term: term, index: UInt64(previous + 1 + $0), data: [UInt8(truncatingIfNeeded: term)])
          }
          let id = EntryID(term: previous == 0 ? 0 : model[previous - 1].term, index: UInt64(previous))
          let last = log.append(after: id, new, leaderCommit: UInt64(random.below(model.count + 2)))
          #expect(last == UInt64(previous + new.count))
          if let first = new.first, !(model.count >= first.index && model[Int(first.index) - 1].term == term) {
            model = model[..<previous] + new
          } else if model.count < previous + new.count {
            model = model[..<previous] + new
          }
        case 3:
          let next = Array(log.unstable.nextEntries)
          log.acceptUnstable()
          if !log.unstable.entries.isEmpty { writes.append((next, log.lastID, term)) }
        default:
          if writes.isEmpty { continue }
          let write = writes.removeFirst()
          try storage.append(write.entries)
          // What `Raft` believes: writes of its own term only.
          if write.term == term { log.stable(to: write.last) }
        }
        #expect(log.lastIndex == UInt64(model.count))
        if !model.isEmpty {
          #expect(try log.slice(1..<log.lastIndex + 1, encodedSizeMax: Limits.unlimited) == model, "seed \(seed)")
        }
        #expect(log.committed <= log.lastIndex)
      }
    }
  }

  @Test func longerAndLaterLogsAreUpToDate() throws {
    let log = try makeLog([1, 2, 2], stable: 2)
    #expect(log.isUpToDate(EntryID(term: 2, index: 3)))
    #expect(log.isUpToDate(EntryID(term: 3, index: 1)))
    #expect(!log.isUpToDate(EntryID(term: 2, index: 2)))
    #expect(!log.isUpToDate(EntryID(term: 1, index: 9)))
  }

  @Test func onlyTheOwnTermCommitsByCounting() throws {
    var log = try makeLog([1, 2, 2], stable: 3)
    let earlier = log.commitIfCurrent(3, term: 3)
    #expect(!earlier && log.committed == 0)
    let own = log.commitIfCurrent(3, term: 2)
    #expect(own && log.committed == 3)
  }
}
