// Shared by the engine's tests: seeded randomness, key shapes, temporary files, plain-array access.

import Foundation

@testable import NeedletailBackend

/// splitmix64. A failing test prints its seed; NEEDLETAIL_SEED=n runs that one alone.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }
  mutating func below(_ n: Int) -> Int { Int(next(upperBound: UInt64(n))) }
}

func setting(_ name: String) -> Int? { ProcessInfo.processInfo.environment[name].flatMap { Int($0) } }

/// The seeds of a randomised test: NEEDLETAIL_SEED alone, or `count` (NEEDLETAIL_SEEDS) from 1.
func seeds(_ count: Int) -> [UInt64] {
  if let seed = setting("NEEDLETAIL_SEED") { return [UInt64(seed)] }
  return (1...UInt64(setting("NEEDLETAIL_SEEDS") ?? count)).map { $0 }
}

/// A directory of its own, removed when the test is done with it.
final class TemporaryDirectory {
  let path: String
  init() throws {
    path = FileManager.default.temporaryDirectory.appendingPathComponent("needletail-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }
  func file(_ name: String) -> String { path + "/" + name }
}

/// Ways in which keys can be nasty to a tree that strips prefixes and compares heads.
enum KeyShape: CaseIterable {
  case short, sharedPrefix, equalHeads, noPrefix, nested, long, zeros

  func key(_ i: Int, keyMax: Int) -> [UInt8] {
    let digits = Array(String(i).utf8)
    let padded = Array(String(format: "%07d", i).utf8)
    let key: [UInt8]
    switch self {
    case .short: key = i < 256 ? [UInt8(i)] : [UInt8(i >> 8 & 255), UInt8(i & 255)]
    case .sharedPrefix: key = Array("/registry/pods/".utf8) + padded
    case .equalHeads:
      key = Array("/a/common/prefix/".utf8) + [UInt8](repeating: 0x61, count: [8, 16, 30][i % 3]) + padded
    case .noPrefix: key = [UInt8(truncatingIfNeeded: i &* 167)] + padded
    case .nested: key = (0..<(i % 9 + 1)).flatMap { _ in Array("/x".utf8) } + digits
    case .long: key = [UInt8](repeating: UInt8(i % 3), count: keyMax - 1 - i % 7) + [UInt8(i & 127)]
    case .zeros: key = [UInt8](repeating: 0, count: i % 20) + (i % 2 == 0 ? [] : [UInt8(i % 5)]) + [0]
    }
    return Array(key.prefix(keyMax))
  }
}

extension WriteBatch {
  func put(_ tree: TreeID, _ key: [UInt8], _ value: [UInt8]) throws {
    try key.withUnsafeBytes { key in try value.withUnsafeBytes { try self.put(tree, key, $0) } }
  }
  func delete(_ tree: TreeID, _ key: [UInt8]) throws -> Bool {
    try key.withUnsafeBytes { try self.delete(tree, $0) }
  }
  func append(_ tree: TreeID, _ key: [UInt8], _ value: [UInt8]) throws {
    try key.withUnsafeBytes { key in try value.withUnsafeBytes { try self.append(tree, key, $0) } }
  }
  func deleteRange(_ tree: TreeID, from: [UInt8]?, to: [UInt8]?) throws -> UInt64 {
    func run(_ from: UnsafeRawBufferPointer?) throws -> UInt64 {
      guard let to else { return try self.delete(tree, from: from, to: nil) }
      return try to.withUnsafeBytes { try self.delete(tree, from: from, to: $0) }
    }
    guard let from else { return try run(nil) }
    return try from.withUnsafeBytes { try run($0) }
  }
  func prefetch(_ tree: TreeID, _ keys: [[UInt8]]) {
    let bytes = keys.joined().map { $0 }
    bytes.withUnsafeBytes { bytes in
      var start = 0
      let views = keys.map { key in
        defer { start += key.count }
        return UnsafeRawBufferPointer(rebasing: bytes[start..<start + key.count])
      }
      views.withUnsafeBufferPointer { self.prefetch(tree, $0) }
    }
  }
  func value(_ tree: TreeID, _ key: [UInt8]) throws -> [UInt8]? {
    try key.withUnsafeBytes { try self.get(tree, $0).map { [UInt8]($0) } }
  }
}

extension TreeView {
  func value(_ key: [UInt8]) throws -> [UInt8]? { try key.withUnsafeBytes { try get($0).map { [UInt8]($0) } } }
  func rank(_ key: [UInt8]) throws -> UInt64 { try key.withUnsafeBytes { try rank($0) } }
}

extension Database {
  /// Runs `body` on a pinned snapshot.
  func withSnapshot<R>(_ body: (SnapshotView) throws -> R) throws -> R {
    let reader = try makeReader()
    defer { reader.free() }
    let view = reader.pin()
    defer { reader.unpin() }
    return try body(view)
  }
}

func lexicographic(_ a: [UInt8], _ b: [UInt8]) -> Bool {
  a.lexicographicallyPrecedes(b)
}
