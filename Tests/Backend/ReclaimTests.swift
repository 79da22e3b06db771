// No page is used again under anyone who may still look at it. Freed pages are filled with garbage the moment the engine
// lets go of them, while readers hold snapshots of all ages; and real threads read while a writer churns.

import Foundation
import Synchronization
import Testing

@testable import NeedletailBackend
@testable import NeedletailSimulator

struct ReclaimTests {
  @Test(arguments: seeds(30)) func poisonedPages(seed: UInt64) throws {
    let store = SimulatedPageStore()
    store.poisonsReleased = true
    let database = try Database(store: store, path: "reclaim", options: options(pageSize: 512))
    let workload = Workload(seed: seed, store: store, database: database, state: ModelState())
    // Batches in the middle of checkpoints, and readers that come just then.
    store.observer = { [unowned workload] _ in
      guard workload.begun != nil, !workload.isWriting else { return }
      do {
        try workload.batch()
        try workload.compareAll()
      } catch { Issue.record("seed \(seed): \(error)") }
    }
    do {
      for _ in 0..<120 {
        try workload.step()
        try workload.compareAll()
      }
      try database.expectSound()
    } catch { Issue.record("seed \(seed): \(error)") }
    workload.finish()
    // With readers and checkpoints out of the way everything but the live pages is free.
    let again = try Database(store: store.processCrash(), path: "again", options: options(pageSize: 512))
    try again.expectSound()
    #expect(again.statistics.pendingBytes == 0)
  }

  /// A reader may take hold of the published snapshot at any moment, also between a batch's publication and the
  /// reuse of what it freed: whatever is published is whole while it is written over.
  @Test(arguments: seeds(10)) func publishedSnapshotIsWholeDuringWrites(seed: UInt64) throws {
    let store = SimulatedPageStore()
    store.poisonsReleased = true
    let database = try Database(store: store, path: "reclaim", options: options(pageSize: 512))
    let workload = Workload(seed: seed, store: store, database: database, state: ModelState())
    var failure: String?
    store.observer = { [unowned workload] _ in
      guard failure == nil else { return }
      do {
        let reader = try database.makeReader()
        defer { reader.free() }
        // Trees are found by name under the writer's lock, which is taken: ask the snapshot's roots alone.
        let view = reader.pin()
        defer { reader.unpin() }
        guard view.word(0) == workload.state.number else { throw Difference("word \(view.word(0))") }
        for tree in 0..<view.snapshot.pointee.treeCount {
          let entries = view.tree(TreeID(UInt8(tree)))
          guard workload.state.trees.values.contains(where: { (try? entries.compare($0)) != nil }) else {
            throw Difference("tree \(tree) of state \(workload.state.number)")
          }
        }
      } catch { failure = "\(error)" }
    }
    for _ in 0..<80 { try workload.step() }
    store.observer = nil
    workload.finish()
    #expect(failure == nil, "seed \(seed)")
  }

  @Test func reclaimerAgreesWithTheRule() {
    var random = SeededGenerator(seed: 11)
    for _ in 0..<300 {
      var reclaimer = Reclaimer()
      var waiting: [FreedPage] = []
      var epochs: [UInt64] = []
      var now: UInt64 = 10
      for _ in 0..<60 {
        now += 1
        epochs = epochs.filter { _ in random.below(4) != 0 }
        if random.below(2) == 0 { epochs.append(now - 1) }
        let pinned = (epochs + [now]).sorted()
        var freed = Set(reclaimer.reclaim(epochs: pinned).map { $0.first })
        let new = (0..<random.below(4)).map { i in
          FreedPage(
            first: PageID(now) * 10 + PageID(i), count: 1, born: 1 + UInt64(random.below(Int(now) - 1)), freed: now)
        }
        freed.formUnion(reclaimer.add(new, epochs: pinned).map { $0.first })
        waiting += new
        let free = waiting.filter { page in !pinned.contains { page.born <= $0 && $0 < page.freed } }
        #expect(Set(free.map { $0.first }) == freed)
        waiting.removeAll { freed.contains($0.first) }
        #expect(reclaimer.pendingPages == waiting.count)
      }
    }
  }

  @Test func bitmapAgreesWithASet() {
    var random = SeededGenerator(seed: 12)
    for size in [1, 63, 64, 65, 4095, 4096, 4097, 300_000] {
      var bitmap = Bitmap(count: size / 2)
      bitmap.grow(to: size)
      var model = Set<Int>()
      for _ in 0..<400 {
        let start = random.below(size)
        for bit in start..<min(size, start + random.below(130)) {
          if random.below(9) == 0 {
            bitmap.remove(bit)
            model.remove(bit)
          } else {
            bitmap.insert(bit)
            model.insert(bit)
          }
        }
        let probe = random.below(size)
        let first = model.filter { $0 >= probe }.min()
        #expect(bitmap.first(from: probe) == first)
        if let first {
          var run = 0
          while run < 100, model.contains(first + run) { run += 1 }
          #expect(bitmap.runLength(from: first, limit: 100) == run)
        }
      }
      #expect(bitmap.members == model.count)
    }
  }

  // MARK: Threads

  private static let accounts = 200

  /// A value that says what it should be: number of the batch, balance, and filling that follows from both and the key.
  private static func value(key: UInt64, batch: UInt64, balance: UInt64) -> [UInt8] {
    var generator = SeededGenerator(seed: key &* 31 &+ batch)
    var bytes: [UInt8] = []
    withUnsafeBytes(of: batch) { bytes += $0 }
    withUnsafeBytes(of: balance) { bytes += $0 }
    let length = key % 20 == 0 ? 9000 : Int(key % 300)
    for _ in 0..<length { bytes.append(UInt8(truncatingIfNeeded: generator.next())) }
    return bytes
  }

  private static func verify(_ view: SnapshotView, _ tree: TreeID) throws {
    var total: UInt64 = 0
    var newest: UInt64 = 0
    var cursor = view.tree(tree).cursor()
    var more = try cursor.first()
    var seen: UInt64 = 0
    while more {
      let key = try cursor.key.loadUnaligned(as: UInt64.self).bigEndian
      let bytes = try cursor.value
      let batch = bytes.loadUnaligned(as: UInt64.self)
      let balance = bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
      guard key == seen, value(key: key, batch: batch, balance: balance).elementsEqual(bytes) else {
        throw Difference("key \(key) at \(seen) of batch \(batch) in snapshot \(view.word(0))")
      }
      total += balance
      newest = max(newest, batch)
      seen += 1
      more = try cursor.next()
    }
    guard seen == UInt64(accounts), total == 1000 * UInt64(accounts), newest == view.word(0) else {
      throw Difference("\(seen) accounts, \(total) in all, newest \(newest), snapshot \(view.word(0))")
    }
  }

  private static func key(_ i: UInt64) -> [UInt8] { withUnsafeBytes(of: i.bigEndian) { [UInt8]($0) } }

  @Test(arguments: [true, false]) func readersBesideAWriter(membarrier: Bool) throws {
    let directory = try TemporaryDirectory()
    var options = DatabaseOptions()
    options.pageSize = 512
    options.reservation = 1 << 30
    options.membarrier = membarrier
    let database = try Database.open(directory.file("db"), options)
    let tree = try database.write { batch in
      let tree = try batch.openTree("accounts")
      for i in 0..<UInt64(Self.accounts) {
        try batch.put(tree, Self.key(i), Self.value(key: i, batch: 1, balance: 1000))
      }
      batch.setWord(0, 1)
      return tree
    }
    let stop = Atomic(false)
    let failures = Guarded<[String]>([])
    let snapshots = Atomic(0)
    let deadline = Date().addingTimeInterval(Double(setting("NEEDLETAIL_SECONDS") ?? 2))
    @Sendable func run(_ role: Int) {
      do {
        switch role {
        case 0: try Self.churn(database, tree, until: deadline)
        case 1: while !stop.load(ordering: .relaxed) { try database.checkpoint() }
        default:
          let reader = try database.makeReader()
          defer { reader.free() }
          while !stop.load(ordering: .relaxed) {
            let view = reader.pin()
            for i in 0..<8 {
              let key = Self.key(UInt64(i * 25))
              guard let bytes = try view.tree(tree).value(key) else { throw Difference("account \(i * 25) is gone") }
              let batch = bytes.withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) }
              guard batch <= view.word(0) else { throw Difference("value of batch \(batch) in \(view.word(0))") }
            }
            if role == 2 { try Self.verify(view, tree) }
            reader.unpin()
            snapshots.add(1, ordering: .relaxed)
          }
        }
      } catch { failures.withLock { $0.append("role \(role): \(error)") } }
      if role == 0 { stop.store(true, ordering: .relaxed) }
    }
    let threads = (0..<5).map { role in
      let done = DispatchSemaphore(value: 0)
      Thread.detachNewThread {
        run(role)
        done.signal()
      }
      return done
    }
    for done in threads { done.wait() }
    #expect(failures.withLock { $0 } == [])
    #expect(snapshots.load(ordering: .relaxed) > 10)
    #expect(try database.check().isClean)
    // Long churn in little space: pages are used again.
    #expect(database.statistics.fileBytes < 64 << 20)
    database.close()
  }

  private static func churn(_ database: Database, _ tree: TreeID, until deadline: Date) throws {
    var random = SeededGenerator(seed: 99)
    var balances = [UInt64](repeating: 1000, count: accounts)
    var number: UInt64 = 1
    while Date() < deadline {
      number += 1
      try database.write { batch in
        for _ in 0..<5 {
          let (from, to) = (random.below(accounts), random.below(accounts))
          let amount = min(balances[from], 7)
          balances[from] -= amount
          balances[to] += amount
          for i in [from, to] {
            try batch.put(tree, key(UInt64(i)), value(key: UInt64(i), batch: number, balance: balances[i]))
          }
        }
        batch.setWord(0, number)
      }
    }
  }
}
