// The engine as a program that embeds it sees it: public names only.

import NeedletailBackend
import Testing

struct EmbeddingTests {
  private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  /// Letting go of a database closes it, but not before its last reader has gone.
  @Test func lettingGoCloses() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("db")
    var reader: Reader? = try Database.open(path).reader()
    #expect(throws: DatabaseError.inUse(path: path)) { try Database.open(path) }
    #expect(open(&reader) < .max)
    reader = nil
    var other = DatabaseOptions()
    other.readOnly = true
    for _ in 0..<2 { _ = try Database.open(path, other) }
    try Database.open(path).update(.durable) { _ = try $0.tree("t") }
    #expect(try Database.open(path).tree(named: "t") != nil)
  }

  private func open(_ reader: inout Reader?) -> UInt64 { reader?.begin().transaction ?? .max }

  @Test func writeReadScan() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("fruit")
    do {
      let database = try Database.open(path)
      try database.update(.durable) { update in
        let fruit = try update.tree("fruit")
        for (name, colour) in [("apple", "red"), ("banana", "yellow"), ("cherry", "dark red")] {
          try update.put(bytes(name).span.bytes, bytes(colour).span.bytes, in: fruit)
        }
        #expect(try update.delete(bytes("banana").span.bytes, in: fruit))
        #expect(try update.get(bytes("apple").span.bytes, in: fruit) == bytes("red"))
        #expect(update.count(in: fruit) == 2)
      }
      database.close()
    }
    let database = try Database.open(path)
    defer { database.close() }
    var reader = try database.reader()
    let transaction = reader.begin()
    let fruit = try transaction.tree("fruit")
    #expect(fruit.count == 2)
    let length = try fruit.get(bytes("cherry").span.bytes)?.byteCount
    #expect(length == 8)
    let isMissing = try fruit.get(bytes("banana").span.bytes) == nil
    #expect(isMissing)
    #expect(try fruit.rank(of: bytes("b").span.bytes) == 1)

    var cursor = fruit.cursor()
    var names: [String] = []
    var more = try cursor.first()
    while more {
      if let key = try cursor.key() { names.append(key.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }) }
      more = try cursor.next()
    }
    #expect(names == ["apple", "cherry"])
  }

  @Test func errorsAreTyped() throws {
    let directory = try TemporaryDirectory()
    let database = try Database.open(directory.file("db"))
    #expect(throws: DatabaseError.inUse(path: directory.file("db"))) { try Database.open(directory.file("db")) }
    #expect(throws: DatabaseError.keyLength(0, maximum: 1000)) {
      try database.update { try $0.put([UInt8]().span.bytes, bytes("v").span.bytes, in: $0.tree("t")) }
    }
    #expect(throws: DatabaseError.treeName("")) { try database.update { _ = try $0.tree("") } }
    database.close()
    #expect(throws: DatabaseError.closed) { try database.update { _ = try $0.tree("t") } }
  }

  @Test func anAbandonedUpdateLeavesNothing() throws {
    struct Abandon: Error {}
    let directory = try TemporaryDirectory()
    let database = try Database.open(directory.file("db"))
    defer { database.close() }
    try database.update { update in try update.put(bytes("k").span.bytes, bytes("1").span.bytes, in: update.tree("t")) }
    #expect(throws: Abandon.self) {
      try database.update { update in
        try update.put(bytes("k").span.bytes, bytes("2").span.bytes, in: update.tree("t"))
        throw Abandon()
      }
    }
    var reader = try database.reader()
    let transaction = reader.begin()
    let value = try transaction.tree("t").get(bytes("k").span.bytes)?.unsafeLoad(as: UInt8.self)
    #expect(value == UInt8(ascii: "1"))
  }
}
