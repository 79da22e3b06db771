// The first read of a page after opening compares its checksum: damage is an error, never an answer.

import Foundation
import Testing

@testable import NeedletailBackend

struct VerifiedReadTests {
  private func key(_ i: Int) -> [UInt8] { Array("key \(i)".utf8) }
  private func value(_ i: Int, _ length: Int) -> [UInt8] {
    Array("value \(i) ".utf8) + [UInt8](repeating: 7, count: length)
  }

  /// A value in a leaf and one in an overflow run, each with one bit flipped on disk.
  @Test(arguments: [20, 20_000]) func aFlippedBitIsAnError(length: Int) throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("db")
    let database = try Database.open(path)
    try database.write { batch in
      let tree = try batch.openTree("t")
      for i in 0..<50 { try batch.put(tree, key(i), value(i, length)) }
    }
    try database.checkpoint()
    database.close()

    var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
    let place = try #require(bytes.range(of: Data("value 17 ".utf8)))
    bytes[place.lowerBound + 3] ^= 1
    try bytes.write(to: URL(fileURLWithPath: path))

    #expect(try outcome(path, verifies: true, length) == "corrupt")
    // Unasked, a read does not look: the wrong bytes come back, which shows what the check is worth.
    #expect(try outcome(path, verifies: false, length) == "wrong")
  }

  private func outcome(_ path: String, verifies: Bool, _ length: Int) throws -> String {
    var options = DatabaseOptions()
    options.verifiesReads = verifies
    let database = try Database.open(path, options)
    defer { database.close() }
    return try database.withSnapshot { snapshot in
      let tree = try #require(database.tree(named: "t"))
      do {
        return try snapshot.tree(tree).value(key(17)) == value(17, length) ? "right" : "wrong"
      } catch DatabaseError.corrupt(_, .checksum) {
        // Again and again, not only the first time.
        #expect(throws: DatabaseError.self) { try snapshot.tree(tree).value(key(17)) }
        return "corrupt"
      }
    }
  }
}
