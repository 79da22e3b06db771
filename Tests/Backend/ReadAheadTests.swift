// Files that do not stay in memory: single pages are read of them, and what comes next is asked for before it is needed.
import Foundation
import Testing

@testable import NeedletailBackend

/// One at a time: they set what counts as large.
@Suite(.serialized) struct ReadAheadTests {
  private static let normal = MemoryLimit.large.load(ordering: .relaxed)

  private func withLarge<R>(_ bytes: UInt64, _ body: () throws -> R) rethrows -> R {
    MemoryLimit.large.store(bytes, ordering: .relaxed)
    defer { MemoryLimit.large.store(Self.normal, ordering: .relaxed) }
    return try body()
  }

  /// The kernel's flags of the mapping that holds `address`: "rr" for random reads, "hg" and "nh" for huge pages or none.
  private func flags(at address: UnsafeRawPointer) throws -> [Substring] {
    let place = UInt(bitPattern: address)
    var isInside = false
    let smaps = try FileHandle(forReadingAtPath: "/proc/self/smaps")?.readToEnd() ?? Data()
    for line in String(decoding: smaps, as: UTF8.self).split(separator: "\n") {
      let head = line.prefix { $0 != " " }.split(separator: "-")
      if head.count == 2, let from = UInt(head[0], radix: 16), let to = UInt(head[1], radix: 16) {
        isInside = from <= place && place < to
      } else if isInside, line.hasPrefix("VmFlags:") {
        return line.dropFirst(8).split(separator: " ")
      }
    }
    return []
  }

  @Test func adviceFollowsTheSize() throws {
    try withLarge(12 << 20) {
      let directory = try TemporaryDirectory()
      func open() throws -> FilePageStore {
        try FilePageStore.open(
          directory.file("db"), create: true, readOnly: false, reservation: 1 << 30, hugePages: true)
      }
      var store = try open()
      try #require(try !flags(at: store.base).isEmpty)
      try store.grow(to: 8 << 20)
      #expect(try !flags(at: store.base).contains("rr"))
      try store.grow(to: 16 << 20)
      #expect(try flags(at: store.base).contains("rr"))
      try store.truncate(to: 8 << 20)
      #expect(try !flags(at: store.base).contains("rr"))
      store.close()
      // Opened small, it is read in huge pages until it grows out of memory.
      store = try open()
      defer { store.close() }
      #expect(try !flags(at: store.base).contains("nh"))
      try store.grow(to: 16 << 20)
      let grown = try flags(at: store.base)
      #expect(grown.contains("rr") && !grown.contains("hg"))
    }
  }

  /// Every child once, in order, in windows that grow; whichever way, and from wherever.
  @Test func windowsCoverWhatComes() {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 64)
    defer { memory.deallocate() }
    memset(memory, 0, 4096)
    var contents = BranchContents()
    contents.children = (0...100).map { .init(id: PageID($0 + 10), live: 1) }
    contents.separators = (0..<100).map { [UInt8($0 + 1)] }
    MutablePageHeader(memory).format(id: 1, transaction: 1, level: 1, tree: 0, pageSize: 4096)
    contents.encode(into: memory, pageSize: 4096, level: 1, prefix: UnsafeRawBufferPointer(start: nil, count: 0))
    let branch = BranchPage(UnsafeRawPointer(memory))
    #expect(branch.count == 100)
    for isForward in [true, false] {
      for start in [0, 1, 50, 99, 100] {
        var ahead = ReadAhead()
        var asked: [Int] = []
        var windows: [Int] = []
        for index in isForward ? Array(start...100) : Array((0...start).reversed()) {
          if let range = ahead.next(at: index, of: branch, isForward: isForward) {
            asked += isForward ? Array(range) : range.reversed()
            windows.append(range.count)
          }
          #expect(asked.contains(index), "entered before it was asked for")
        }
        #expect(asked == (isForward ? Array(start...100) : Array((0...start).reversed())))
        #expect(zip(windows, windows.dropFirst().dropLast()).allSatisfy { $1 == min(2 * $0, 64) })
      }
    }
  }

  /// Scans, batched gets, edits and large values of a file that counts as large: all is found, and a scan's leaves are in
  /// memory before it gets there.
  @Test(arguments: [true, false]) func scansAskAhead(isForward: Bool) throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("db")
    let n = 40_000
    let long = [UInt8](repeating: 7, count: 300_000)
    func key(_ i: Int) -> [UInt8] { Array(String(format: "%08d", i).utf8) }
    func value(_ i: Int) -> [UInt8] { i == n / 2 ? long : [UInt8](repeating: UInt8(i % 251), count: 80) }
    try Self.withDatabase(path) { database in
      try database.write { batch in
        let tree = try batch.openTree("t")
        for i in 0..<n { try batch.put(tree, key(i), value(i)) }
      }
      try database.checkpoint()
    }
    let isForgotten = try forget(path)
    try withLarge(1 << 20) {
      try Self.withDatabase(path) { database in
        let id = try #require(database.tree(named: "t"))
        try database.withSnapshot { view in
          var cursor = view.tree(id).cursor()
          _ = try isForward ? cursor.first() : cursor.last()
          let before = try resident(path)
          var leaves: Set<Int> = []
          for count in 0..<n {
            let i = isForward ? count : n - 1 - count
            try #require(try cursor.isValid && [UInt8](cursor.key) == key(i))
            #expect(try cursor.value.elementsEqual(value(i)))
            if leaves.insert((try cursor.value.baseAddress! - view.base) >> Int(view.shift)).inserted,
              leaves.count == 5,
              isForgotten
            {
              // Of five leaves four were touched after `before`; asked for were 4 and 8.
              #expect(try waits { try resident(path) >= before + 12 })
            }
            _ = try isForward ? cursor.next() : cursor.previous()
          }
          let isValid = cursor.isValid
          #expect(!isValid)
          let some = stride(from: 0, to: n, by: 611).map { $0 } + [n / 2]
          #expect(try view.tree(id).values(some.map(key) + [[1]]) == some.map(value) + [nil])
        }
        try database.write { batch in
          let keys = stride(from: 0, to: n, by: 997).map { key($0) }
          batch.prefetch(id, keys)
          for key in keys { try batch.put(id, key, [1]) }
        }
        #expect(try database.check().problems.isEmpty)
      }
    }
  }

  private static func withDatabase(_ path: String, _ body: (Database) throws -> Void) throws {
    let database = try Database.open(path)
    defer { database.close() }
    try body(database)
  }

  /// What the disk was asked for comes by itself.
  private func waits(_ condition: () throws -> Bool) throws -> Bool {
    let deadline = Date() + 60
    while try !condition() {
      guard Date() < deadline else { return false }
      usleep(1000)
    }
    return true
  }

  /// The page cache lets go of the file; false where the file system does not.
  private func forget(_ path: String) throws -> Bool {
    let descriptor = open(path, O_RDWR)
    try #require(descriptor >= 0 && fsync(descriptor) == 0)
    defer { close(descriptor) }
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
    return try resident(path) == 0
  }

  /// Pages of the file that are in memory.
  private func resident(_ path: String) throws -> Int {
    let descriptor = open(path, O_RDWR)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    let size = Int(lseek(descriptor, 0, SEEK_END))
    let memory = try #require(mmap(nil, size, PROT_READ, MAP_SHARED, descriptor, 0))
    defer { munmap(memory, size) }
    var pages = [UInt8](repeating: 0, count: (size + 4095) / 4096)
    try #require(mincore(memory, size, &pages) == 0)
    return pages.reduce(0) { $0 + Int($1 & 1) }
  }
}
