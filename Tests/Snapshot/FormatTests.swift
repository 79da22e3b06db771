// The file format: what is written comes back, and a file with any byte changed, cut, moved or added is an error.

import Foundation
import NeedletailBackend
import Testing

@testable import NeedletailSnapshot

struct FormatTests {
  private func pairs(_ path: String) throws -> (header: SnapshotHeader, trees: [[Contents.Pair]], digest: [UInt8]) {
    let reader = try SnapshotReader(path)
    var trees = [[Contents.Pair]](repeating: [], count: reader.header.trees.count)
    while try reader.next({ (tree, key, value) throws(SnapshotError) in
      trees[tree].append(.init(key: [UInt8](key), value: [UInt8](value)))
    }) {}
    return (reader.header, trees, reader.digest)
  }

  @Test(arguments: seeds(6)) func roundTrip(seed: UInt64) throws {
    let directory = try TemporaryDirectory()
    var random = SeededGenerator(seed: seed)
    let database = try openDatabase(directory.file("db"), pageSize: [512, 4096, 65536][Int(seed % 3)])
    defer { database.close() }
    // From nothing to several frames, values longer than a frame among them.
    let entries = [0, 1, 300, 1000, 2500][Int(seed % 5)]
    try fill(database, &random, entries: entries, largest: seed % 3 == 0 ? 20_000 : 3 << 20)
    let expected = try database.contents()
    var last = SnapshotProgress()
    let written = try database.backup(to: directory.file("snapshot")) { progress in
      #expect(progress.entries >= last.entries && progress.bytes > last.bytes)
      last = progress
      return true
    }
    let found = try pairs(directory.file("snapshot"))
    #expect(found.header == written)
    #expect(found.header.words == expected.words)
    #expect(found.header.trees.map(\.name) == expected.names)
    #expect(found.trees == expected.trees, "seed \(seed)")
    #expect(last.entries == written.entries)
    #expect(last.bytes == UInt64(try read(directory.file("snapshot")).count))
    #expect(found.digest.count == 32)
  }

  @Test func headerKeepsWhatTheStoreSays() throws {
    let directory = try TemporaryDirectory()
    let database = try openDatabase(directory.file("db"))
    defer { database.close() }
    try database.put("t", [1], [2])
    var said = StoreInformation()
    said.clusterID = 1
    said.memberID = 2
    said.revision = 3
    said.compactedRevision = 4
    said.index = 5
    said.term = 6
    said.membership = [7, 8, 9]
    let stream = try SnapshotStream(database) { _ in said }
    _ = try stream.save(to: directory.file("snapshot"))
    #expect(try SnapshotReader(directory.file("snapshot")).header.store == said)
  }

  private func small(_ directory: TemporaryDirectory) throws -> [UInt8] {
    let database = try openDatabase(directory.file("small"))
    defer { database.close() }
    var random = SeededGenerator(seed: 1)
    for i in 0..<12 {
      try database.put(i < 8 ? "one" : "two", [UInt8(i)], (0..<10).map { _ in UInt8(random.below(256)) })
    }
    try database.backup(to: directory.file("small.snapshot"))
    return try read(directory.file("small.snapshot"))
  }

  private func verify(_ bytes: [UInt8], _ path: String) throws -> SnapshotError? {
    try write(bytes, path)
    return failure { () throws(SnapshotError) in try SnapshotReader(path).verify() }
  }

  private func isDamage(_ error: SnapshotError?) -> Bool {
    switch error {
    case .damaged, .notASnapshot, .unsupportedVersion: true
    default: false
    }
  }

  /// Every byte, one bit of it and all of them, and every length.
  @Test func everyByteCounts() throws {
    let directory = try TemporaryDirectory()
    let whole = try small(directory)
    let path = directory.file("damaged")
    #expect(try verify(whole, path) == nil)
    for at in whole.indices {
      for mask in [UInt8(1) << (at % 8), 0xFF] {
        var damaged = whole
        damaged[at] ^= mask
        let error = try verify(damaged, path)
        #expect(isDamage(error), "byte \(at) ^ \(mask): \(String(describing: error))")
      }
      let error = try verify(Array(whole[..<at]), path)
      #expect(isDamage(error), "cut at \(at): \(String(describing: error))")
    }
    #expect(try verify(whole + [0], path) == .damaged(.trailingBytes, offset: UInt64(whole.count)))
  }

  /// Damage that a simple checksum would not see: sound pieces in wrong places.
  @Test func framesKnowTheirPlaces() throws {
    let directory = try TemporaryDirectory()
    let database = try openDatabase(directory.file("db"))
    defer { database.close() }
    var random = SeededGenerator(seed: 3)
    for i in 0..<40 {
      try database.put("t", Array("key\(i)".utf8), (0..<100_000).map { _ in UInt8(truncatingIfNeeded: random.next()) })
    }
    let stream = try SnapshotStream(database)
    var pieces: [[UInt8]] = []
    while let piece = try stream.next() { pieces.append([UInt8](piece)) }
    #expect(pieces.count >= 5)
    let path = directory.file("damaged")
    #expect(try verify(Array(pieces.joined()), path) == nil)

    var swapped = pieces
    swapped.swapAt(1, 2)
    #expect(try verify(Array(swapped.joined()), path) == .damaged(.frameHeader, offset: UInt64(pieces[0].count)))
    var missing = pieces
    missing.remove(at: 2)
    #expect(isDamage(try verify(Array(missing.joined()), path)))
    var twice = pieces
    twice.insert(pieces[1], at: 2)
    #expect(isDamage(try verify(Array(twice.joined()), path)))
    // A frame of another snapshot of the same data, in its right place.
    let other = try SnapshotStream(database)
    var others: [[UInt8]] = []
    while let piece = try other.next() { others.append([UInt8](piece)) }
    var mixed = pieces
    mixed[2] = others[2]
    #expect(isDamage(try verify(Array(mixed.joined()), path)))
    mixed = pieces
    mixed[pieces.count - 1] = others[pieces.count - 1]
    #expect(
      try verify(Array(mixed.joined()), path)
        == .damaged(.digest, offset: UInt64(pieces.dropLast().reduce(0) { $0 + $1.count })))
  }

  @Test(arguments: seeds(100)) func randomBytesAreTypedErrors(seed: UInt64) throws {
    let directory = try TemporaryDirectory()
    var random = SeededGenerator(seed: seed)
    var bytes = try small(directory)
    // Damage with a right checksum: what a hostile file would hold.
    let at = 16 + random.below(200)
    bytes[at] ^= UInt8(1 + random.below(255))
    for _ in 0..<random.below(4) { bytes[at + 1 + random.below(3)] = UInt8(random.below(256)) }
    let size = bytes.withUnsafeBytes { Int($0.u32(12)) }
    let crc = bytes.withUnsafeBytes { checksum($0[..<(size - 4)]) }
    bytes.withUnsafeMutableBytes { $0.put(crc, size - 4) }
    let error = try verify(bytes, directory.file("damaged"))
    #expect(isDamage(error), "seed \(seed): \(String(describing: error))")
  }

  /// A file of these frames of records, every checksum right.
  private func forge(
    _ header: SnapshotHeader, _ frames: [(raw: [UInt8], first: UInt32, records: UInt32)], entries: UInt64? = nil
  ) throws -> [UInt8] {
    var bytes = header.encoded()
    let seed = bytes.withUnsafeBytes { $0.u32($0.count - 4) }
    let compressor = try Compressor()
    for (i, frame) in frames.enumerated() {
      var stored = [UInt8](repeating: 0, count: Compressor.bound(frame.raw.count))
      let size = try frame.raw.withBytes { (raw) throws(SnapshotError) in
        try stored.withMutableBytes { (out) throws(SnapshotError) in try compressor.compress(raw, into: out) }
      }
      stored = Array(stored[..<size])
      var head = [UInt8](repeating: 0, count: SnapshotFrame.headerSize)
      let made = SnapshotFrame(
        number: UInt32(i), rawLength: frame.raw.count, storedLength: size, firstRecord: frame.first,
        records: frame.records, dataChecksum: stored.withUnsafeBytes { checksum($0[...]) })
      head.withUnsafeMutableBytes { made.encode(into: $0, seed: seed) }
      bytes += head + stored
    }
    let trailer = SnapshotTrailer(
      frames: UInt32(frames.count), entries: entries ?? frames.reduce(0) { $0 + UInt64($1.records) },
      rawBytes: frames.reduce(0) { $0 + UInt64($1.raw.count) }, fileBytes: UInt64(bytes.count + SnapshotTrailer.size))
    bytes += trailer.encodedStart()
    let digest = try Digest()
    try bytes.withBytes { (bytes) throws(SnapshotError) in try digest.update(bytes) }
    return bytes + (try digest.value())
  }

  private func record(_ tree: Int, _ key: [UInt8], _ value: [UInt8], valueLength: Int? = nil) -> [UInt8] {
    var head = [UInt8](repeating: 0, count: RecordHead.size)
    let made = RecordHead(tree: tree, keyLength: key.count, valueLength: valueLength ?? value.count)
    head.withUnsafeMutableBytes { made.encode(into: $0) }
    return head + key + value
  }

  /// What nobody but a liar writes: sound checksums over wrong records.
  @Test func forgedRecords() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("forged")
    var header = SnapshotHeader()
    header.pageSize = 4096
    header.trees = [.init(name: "a", entries: 2), .init(name: "b", entries: 1)]
    let good = record(0, [1], [1]) + record(0, [2], []) + record(1, [1], [9])
    #expect(try verify(forge(header, [(good, 0, 3)]), path) == nil)
    let wrong: [String: [UInt8]] = [
      "a tree that is not there": record(0, [1], []) + record(0, [2], []) + record(2, [1], []),
      "trees out of order": record(1, [1], []) + record(0, [1], []) + record(0, [2], []),
      "keys out of order": record(0, [2], []) + record(0, [1], []) + record(1, [1], []),
      "a key twice": record(0, [1], []) + record(0, [1], []) + record(1, [1], []),
      "an empty key": record(0, [], []) + record(0, [1], []) + record(1, [1], []),
      "a key too long":
        record(0, [UInt8](repeating: 1, count: 20_000), []) + record(0, [2], []) + record(1, [1], []),
      "a value that goes on beyond the end": good.dropLast(9) + record(1, [1], [9], valueLength: 100),
      "a value of 4 GiB": good.dropLast(9) + record(1, [1], [9], valueLength: Int(UInt32.max)),
      "half a head": good + [0, 1],
      "a tree with too many entries": record(0, [1], []) + record(1, [1], []) + record(1, [2], []),
    ]
    for (what, raw) in wrong {
      let error = try verify(forge(header, [(raw, 0, 3)]), path)
      #expect(isDamage(error), "\(what): \(String(describing: error))")
    }
    #expect(isDamage(try verify(forge(header, [(good, 0, 2)]), path)), "records miscounted")
    #expect(isDamage(try verify(forge(header, [(good, 9, 3)]), path)), "the first record elsewhere")
    #expect(isDamage(try verify(forge(header, [(good, 0, 3)], entries: 4), path)), "totals")
    #expect(isDamage(try verify(forge(header, []), path)), "no records at all")
    // Only the last frame may be short.
    let split = [(Array(good[..<9]), UInt32(0), UInt32(1)), (Array(good[9...]), UInt32(0), UInt32(2))]
    #expect(isDamage(try verify(forge(header, split), path)), "two short frames")
  }

  @Test func noSnapshot() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("file")
    #expect(try verify([], path) == .notASnapshot(path: path))
    #expect(try verify([UInt8](repeating: 7, count: 5000), path) == .notASnapshot(path: path))
    #expect(
      failure { () throws(SnapshotError) in _ = try SnapshotReader(directory.file("none")) }
        == .io(operation: "open", path: directory.file("none"), errno: ENOENT))
    var newer = try small(directory)
    newer[8] = 2
    #expect(try verify(newer, path) == .unsupportedVersion(found: 2, supported: 1))
  }

  /// The stream goes on from any byte as if it had never stopped.
  @Test(arguments: seeds(4)) func goesBack(seed: UInt64) throws {
    let directory = try TemporaryDirectory()
    var random = SeededGenerator(seed: seed)
    let database = try openDatabase(directory.file("db"))
    defer { database.close() }
    try fill(database, &random, entries: 1500, largest: 3 << 20)
    let stream = try SnapshotStream(database)
    var whole: [UInt8] = []
    while let piece = try stream.next() { whole += [UInt8](piece) }
    for _ in 0..<20 {
      let offset = random.below(whole.count)
      try stream.seek(to: UInt64(offset))
      #expect(stream.position <= offset)
      var position = Int(stream.position)
      for _ in 0..<(1 + random.below(6)) {
        guard let piece = try stream.next() else { break }
        #expect([UInt8](piece) == Array(whole[position..<(position + piece.count)]), "seed \(seed) at \(position)")
        position += piece.count
      }
    }
    try stream.seek(to: 0)
    var again: [UInt8] = []
    while let piece = try stream.next() { again += [UInt8](piece) }
    #expect(again == whole)
  }
}
