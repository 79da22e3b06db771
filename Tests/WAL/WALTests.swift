import Foundation
import Testing

@testable import NeedletailWAL

/// Real files, on both paths.
@Suite struct RealFileTests {
  @Test(arguments: [WALOptions.Path.pwritev2, .ioUring], [true, false])
  func roundTrip(_ path: WALOptions.Path, _ direct: Bool) throws {
    try withDirectory { directory in
      var options = smallOptions()
      options.path = path
      options.direct = direct
      options.background = true
      let model = try fill(directory, options)
      #expect(model.count == 400)
      let read = try replay(directory, options)
      #expect(read.log.entries == model)
      #expect(read.report.torn == nil)
      #expect(read.report.hardState == HardState(term: 2, vote: 3, commit: 399))
      #expect(read.report.metadata == Array("ids".utf8))
    }
  }

  private func fill(_ directory: String, _ options: WALOptions) throws -> [Entry] {
    var model: [Entry] = []
    let wal = try WAL.open(directory: directory, options: options) { _ in Issue.record("a new log is empty") }
    #expect(wal.recovery.created)
    #expect(wal.summary.contains(options.path.rawValue), "\(wal.summary)")
    try wal.append(metadata: Array("ids".utf8))
    for index in 1...400 as ClosedRange<UInt64> {
      let entry = Entry(index: index, term: 2, payload: payload(index, Int(index * 37 % 3000)))
      model.append(entry)
      try wal.append(entry)
      if index % 3 == 0 { try wal.submit() }
      if index % 7 == 0 { try wal.reap(wait: index % 2 == 0) }
    }
    try wal.append(HardState(term: 2, vote: 3, commit: 399))
    let group = try wal.submit()
    while try wal.reap(wait: true).group < group {}
    #expect(wal.durable == DurablePoint(group: group, index: 400, term: 2))
    wal.close()
    #expect(throws: WALError.closed) { try wal.append(Entry(index: 401, term: 2, payload: [])) }
    return model
  }

  /// Opened on one thread, run on another, which sleeps on the completion descriptor.
  @Test(arguments: [WALOptions.Path.pwritev2, .ioUring])
  func completionDescriptor(_ path: WALOptions.Path) throws {
    try withDirectory { directory in
      var options = smallOptions()
      options.path = path
      let wal = try WAL.open(directory: directory, options: options) { _ in }
      let outcome = OutcomeBox()
      let thread = Thread {
        do {
          for index in 1...50 as ClosedRange<UInt64> {
            try wal.append(Entry(index: index, term: 1, payload: payload(index, 900)))
            try wal.submit()
            while wal.durable.index < index {
              var descriptor = pollfd(fd: wal.completionDescriptor, events: Int16(POLLIN), revents: 0)
              guard poll(&descriptor, 1, 5000) == 1 else { throw WALError.closed }
              try wal.reap(wait: false)
            }
          }
          var descriptor = pollfd(fd: wal.completionDescriptor, events: Int16(POLLIN), revents: 0)
          outcome.isQuiet = poll(&descriptor, 1, 0) == 0
          wal.close()
        } catch { outcome.error = error }
        outcome.done.signal()
      }
      thread.start()
      outcome.done.wait()
      #expect(outcome.error == nil && outcome.isQuiet)
      #expect(try replay(directory, options).report.last.index == 50)
    }
  }

  /// Handed from one thread to the other by the semaphore.
  private final class OutcomeBox: @unchecked Sendable {
    let done = DispatchSemaphore(value: 0)
    var error: (any Error)?
    var isQuiet = false
  }

  /// The helper thread fills and retires while the log thread writes; the directory stays small.
  @Test(arguments: [WALOptions.Path.pwritev2, .ioUring])
  func recyclingInTheBackground(_ path: WALOptions.Path) throws {
    try withDirectory { directory in
      var options = smallOptions()
      options.path = path
      options.background = true
      options.spareSegments = 2
      for life in 0..<3 as Range<UInt64> {
        let wal = try WAL.open(directory: directory, options: options) { _ in }
        #expect(wal.last.index == life * 200)
        for index in life * 200 + 1...life * 200 + 200 {
          try wal.append(Entry(index: index, term: 1, payload: payload(index, index % 50 == 0 ? 20_000 : 2000)))
          try wal.submit()
          if index % 20 == 0 { try wal.recycle(through: try wal.reap(wait: true).index) }
        }
        wal.close()
      }
      let found = try replay(directory, options)
      #expect(found.report.last.index == 600 && found.report.floor.index > 400)
      #expect(found.log.entries.map(\.index) == Array(found.report.floor.index + 1...600))
      let files = try FileManager.default.contentsOfDirectory(atPath: directory)
      #expect(files.count < 45, "\(files.count) files")
      #expect(!files.contains { $0.hasPrefix("torn-") })
    }
  }

  /// Memory file systems and odd directories.
  @Test func otherPlaces() throws {
    if FileManager.default.fileExists(atPath: "/dev/shm") {
      try withDirectory(in: "/dev/shm") { directory in
        let wal = try WAL.open(directory: directory, options: smallOptions()) { _ in }
        try wal.append(Entry(index: 1, term: 1, payload: [1, 2, 3]))
        wal.close()
        #expect(try replay(directory, smallOptions()).log.entries == [Entry(index: 1, term: 1, payload: [1, 2, 3])])
      }
    }
    try withDirectory { directory in
      #expect(throws: WALError.system(operation: "mkdir", file: directory + "/a/b", code: ENOENT)) {
        try WAL.open(directory: directory + "/a/b", options: smallOptions()) { _ in }
      }
      #expect(FileManager.default.createFile(atPath: directory, contents: Data()))
      #expect(throws: WALError.system(operation: "open", file: directory, code: ENOTDIR)) {
        try WAL.open(directory: directory, options: smallOptions()) { _ in }
      }
    }
  }

  /// A page of damage in a real file is found and named.
  @Test func realDamage() throws {
    try withDirectory { directory in
      var options = smallOptions()
      options.path = .pwritev2
      let wal = try WAL.open(directory: directory, options: options) { _ in }
      for index in 1...9 as ClosedRange<UInt64> {
        try wal.append(Entry(index: index, term: 3, payload: payload(index, 3000)))
        try wal.submit()
        try wal.reap(wait: true)
      }
      wal.close()
      let handle = try #require(FileHandle(forUpdatingAtPath: directory + "/" + segmentName(1)))
      try handle.seek(toOffset: 3 * 4096 + 500)
      try handle.write(contentsOf: Data(repeating: 0xAA, count: 600))
      try handle.close()
      guard case .corrupt(let place) = #expect(throws: WALError.self, performing: { try replay(directory, options) })
      else { return }
      #expect(place.file == segmentName(1) && place.index == 3 && place.term == 3)
      #expect(place.lastIndex == 9 && place.lastTerm == 3)
    }
  }
}
