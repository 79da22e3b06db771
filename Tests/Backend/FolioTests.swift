// A file written by calls and through a mapping at once holds what was written last, and the mapping is used only where the
// disk does not pay for it.
import CNeedletail
import Foundation
import Testing

@testable import NeedletailBackend

struct FolioTests {
  private let pageSize = 4096
  private let folio: UInt64 = 2 << 20

  @Test func aFolioIsDenseFromAQuarterOnUntilTheNextSync() {
    var folios = DirtyFolios()
    folios.add(UInt64(DirtyFolios.quarter) - 4096, to: 3)
    #expect(!folios.isDense(3))
    folios.add(4096, to: 3)
    #expect(folios.isDense(3) && !folios.isDense(2) && !folios.isDense(4) && !folios.isDense(1 << 40))
    folios.fill(9)
    folios.noteSyncs(0)
    #expect(folios.isDense(3) && folios.isDense(9))
    folios.noteSyncs(1)
    #expect(!folios.isDense(3) && !folios.isDense(9))
  }

  /// Who wrote densely needs less the next time, until it was a mistake.
  @Test func aThirtySecondIsEnoughAfterDenseWriting() {
    var folios = DirtyFolios()
    func publish(_ bytes: UInt32, _ number: Int = 0) { folios.add(UInt64(bytes), to: number) }
    #expect(folios.threshold == DirtyFolios.quarter)
    // Half of it.
    publish(DirtyFolios.size / 2)
    folios.noteSyncs(1)
    #expect(folios.threshold == DirtyFolios.thirtySecond)
    publish(DirtyFolios.thirtySecond)
    #expect(folios.isDense(0))
    publish(DirtyFolios.size, 1)
    // One is full, one hardly written: half all in all.
    folios.noteSyncs(2)
    #expect(folios.threshold == DirtyFolios.thirtySecond)
    // What was never dense cost nothing, and teaches nothing.
    publish(4096)
    folios.noteSyncs(3)
    #expect(folios.threshold == DirtyFolios.thirtySecond)
    publish(DirtyFolios.thirtySecond)
    folios.noteSyncs(4)
    #expect(folios.threshold == DirtyFolios.quarter)
    // A file that only grew tells nothing about pages here and there; one with more in each of its new folios does.
    folios.fill(0)
    folios.noteSyncs(5)
    #expect(folios.threshold == DirtyFolios.quarter)
    folios.fill(0)
    for _ in 0..<256 { publish(8192) }
    folios.noteSyncs(6)
    #expect(folios.threshold == DirtyFolios.thirtySecond)
  }

  /// Random runs of random lengths, syncs and growth, against the same bytes in memory.
  @Test(arguments: seeds(4)) func publishedRunsAreReadBack(seed: UInt64) throws {
    var rng = SeededGenerator(seed: seed)
    try withStore { store in
      var model = [UInt8](repeating: 0, count: 4 << 20)
      try store.grow(to: UInt64(model.count))
      var bytes = [UInt8](repeating: 0, count: 64 * pageSize)
      for round in 0..<600 {
        if rng.below(100) == 0 { try store.sync() }
        if rng.below(100) == 0, model.count < 24 << 20 {
          model += [UInt8](repeating: 0, count: 2 << 20)
          try store.grow(to: UInt64(model.count))
        }
        for i in 0..<bytes.count / 8 {
          bytes.withUnsafeMutableBytes { $0.storeBytes(of: rng.next(), toByteOffset: 8 * i, as: UInt64.self) }
        }
        try bytes.withUnsafeBytes { source in
          let runs = randomRuns(&rng, in: model.count, from: source)
          for run in runs {
            model.replaceSubrange(Int(run.offset)..<Int(run.offset) + run.bytes.count, with: run.bytes)
          }
          try rng.below(4) == 0 ? store.write(runs) : store.publish(runs)
        }
        if round % 20 == 0 {
          let same = model.withUnsafeBytes { memcmp($0.baseAddress!, store.base, model.count) == 0 }
          #expect(same, "seed \(seed) round \(round)")
        }
      }
      if nt_overwrites_in_place(store.descriptor) != 0 {
        #expect(store.storedBytes > 0, "seed \(seed): the mapping was never used")
      }
      // What came through the mapping must reach the file, not only this process's view of it.
      let path = "/proc/self/fd/\(store.descriptor)"
      let whole = try Data(contentsOf: URL(fileURLWithPath: path))
      #expect(whole == Data(model), "seed \(seed)")
    }
  }

  @Test func pagesHereAndThereAreNotStored() throws {
    try withStore { store in
      try store.grow(to: 64 << 20)
      let page = [UInt8](repeating: 7, count: pageSize)
      try page.withUnsafeBytes { bytes in
        for i in 0..<32 { try store.publish([PageRun(offset: UInt64(i) * folio, bytes: bytes)]) }
        try store.sync()
        let before = store.storedBytes
        for i in 0..<32 {
          for k in 1..<64 {
            try store.publish([PageRun(offset: UInt64(i) * folio + UInt64(k * pageSize), bytes: bytes)])
          }
        }
        #expect(store.storedBytes == before)
      }
    }
  }

  /// Ascending runs that do not overlap, some side by side.
  private func randomRuns(_ rng: inout SeededGenerator, in size: Int, from source: UnsafeRawBufferPointer) -> [PageRun]
  {
    var runs: [PageRun] = []
    var page = rng.below(size / pageSize)
    // Mostly in a few folios, so that some of them become dense.
    if rng.below(2) == 0 { page %= 512 }
    for _ in 0...rng.below(40) {
      let pages = 1 + rng.below(rng.below(8) == 0 ? 60 : 3)
      guard (page + pages) * pageSize <= size else { break }
      let start = rng.below(source.count / pageSize - pages + 1) * pageSize
      runs.append(
        PageRun(
          offset: UInt64(page * pageSize),
          bytes: UnsafeRawBufferPointer(rebasing: source[start..<start + pages * pageSize])))
      page += pages + (rng.below(2) == 0 ? 0 : rng.below(9))
    }
    return runs
  }

  private func withStore(_ body: (FilePageStore) throws -> Void) throws {
    let directory = try TemporaryDirectory()
    let store = try FilePageStore.open(
      directory.file("folios"), create: true, readOnly: false, reservation: 1 << 30, hugePages: true)
    defer { store.close() }
    try body(store)
  }

  /// What may stay in memory is what the control group allows, whichever version it is of, its own limit or one above.
  @Test func memoryIsWhatTheControlGroupAllows() {
    func smallest(_ groups: String, _ files: [String: UInt64]) -> UInt64? {
      MemoryLimit.smallest(groups: groups) { files[$0] }
    }
    #expect(smallest("0::/a/b\n", ["/sys/fs/cgroup/a/b/memory.max": 700]) == 700)
    #expect(smallest("0::/a/b\n", ["/sys/fs/cgroup/a/memory.max": 500, "/sys/fs/cgroup/a/b/memory.max": 700]) == 500)
    #expect(smallest("0::/\n", ["/sys/fs/cgroup/memory.max": 300]) == 300)
    #expect(smallest("0::/a\n", [:]) == nil)
    let old = "12:cpu,cpuacct:/x\n4:memory:/c\n1:name=systemd:/y\n0::/z\n"
    #expect(smallest(old, ["/sys/fs/cgroup/memory/c/memory.limit_in_bytes": 900]) == 900)
    #expect(smallest(old, ["/sys/fs/cgroup/memory/x/memory.limit_in_bytes": 1]) == nil)
    #expect(smallest("garbage\n\n0:memory\n", ["/sys/fs/cgroup/memory.max": 5]) == nil)
    #expect(MemoryLimit.bytes > 1 << 20)
  }
}
