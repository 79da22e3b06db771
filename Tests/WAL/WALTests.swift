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
}
