// The code of docs/embedding.md, run.

import Foundation
import NeedletailBackend
import NeedletailSnapshot
import Testing

struct GuideTests {
  @Test func everythingTheGuideShows() throws {
    let directory = NSTemporaryDirectory() + "/needletail-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }

    let database = try Database.open(directory + "/fruit.db")
    defer { database.close() }
    try database.update(.durable) { update in
      let fruit = try update.tree("fruit")
      for (name, colour) in [("apple", "red"), ("banana", "yellow"), ("cherry", "dark red")] {
        try update.put(Array(name.utf8).span.bytes, Array(colour.utf8).span.bytes, in: fruit)
      }
    }
    try look(database)

    try database.backup(to: directory + "/fruit.snapshot")
    try Database.restore(directory + "/fruit.snapshot", to: directory + "/copy.db")
    try database.compact(to: directory + "/small.db")
    #expect(try database.shrink().outcome == .compact)
    for name in ["copy.db", "small.db"] {
      let copy = try Database.open(directory + "/" + name)
      defer { copy.close() }
      try look(copy)
    }
  }

  private func look(_ database: Database) throws {
    var reader = try database.reader()
    let snapshot = reader.begin()
    let fruit = try snapshot.tree("fruit")
    let length = try fruit.get(Array("apple".utf8).span.bytes)?.byteCount
    #expect(length == 3)

    var cursor = fruit.cursor()
    var names: [String] = []
    var more = try cursor.seek(Array("b".utf8).span.bytes)
    while more {
      if let key = try cursor.key() { names.append(key.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }) }
      more = try cursor.next()
    }
    #expect(names == ["banana", "cherry"])
    let inRange = try fruit.rank(of: Array("c".utf8).span.bytes) - fruit.rank(of: Array("a".utf8).span.bytes)
    #expect(inRange == 2)

    var keys = KeyList()
    for name in ["apple", "cherry", "plum"] { keys.append(Array(name.utf8).span.bytes) }
    var lengths: [Int?] = []
    try fruit.get(keys) { index, value in
      #expect(index == lengths.count)
      lengths.append(value?.byteCount)
    }
    #expect(lengths == [3, 8, nil])
  }
}
