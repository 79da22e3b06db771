// A disk with a page cache, for tests of what a crash leaves.
//
// What was written is visible at once; what is durable is kept apart. A power cut leaves the durable bytes and any subset
// of what was written since, torn at sectors; a process crash leaves the page cache, of which a later power cut may still
// take all that no sync has written. Any operation can be made to fail.

import Glibc
import NeedletailBackend

/// Driven by one thread. Unchecked Sendable because `PageStore` asks for it.
package final class SimulatedPageStore: PageStore, @unchecked Sendable {
  package enum Operation: Sendable, Equatable {
    case write(offset: UInt64, count: Int)
    case sync
    case grow(from: UInt64, to: UInt64)
    case truncate(from: UInt64, to: UInt64)
  }

  /// How an operation fails.
  package enum Fault: Sendable, Hashable, CaseIterable {
    /// EIO, nothing done.
    case error
    /// ENOSPC, nothing done.
    case noSpace
    /// EIO after the first half was done.
    case partial
    /// A sync reports EIO; of what it should have written a part is on disk, and the rest is clean in the page cache:
    /// visible, but no later sync will write it.
    case lost
  }

  /// What a power cut keeps of the writes since the last sync.
  package enum Survival: Sendable, CaseIterable {
    case none, all, allButLast, onlyLast, half, torn
  }

  private enum Change {
    case write(offset: Int, bytes: [UInt8])
    case grow(to: UInt64)
    case truncate(to: UInt64)
  }

  package static let sector = 512
  package static let poison: UInt8 = 0xDB

  package let capacity: UInt64
  package private(set) var size: UInt64
  private let visible: DiskImage
  private let durable: DiskImage
  private var durableSize: UInt64
  private var pending: [Change]

  /// Operations so far; the number of one is what this was before it.
  package private(set) var operations = 0
  /// Faults by operation number.
  package var faults: [Int: Fault] = [:]
  /// Growing beyond this finds the disk full.
  package var spaceLimit = UInt64.max
  /// Called in the middle of each operation: a write or a grow may or may not have reached the disk; a sync has not
  /// begun to.
  package var observer: ((Operation) -> Void)?
  /// Released bytes are overwritten, as if at once reused and written out.
  package var poisonsReleased = false
  /// What the engine must never do.
  package private(set) var violations: [String] = []

  /// An empty disk.
  package convenience init(capacity: UInt64 = 16 << 20) {
    let length = Int(capacity)
    self.init(
      visible: DiskImage(capacity: length, size: 0), durable: DiskImage(capacity: length, size: length), size: 0,
      durableSize: 0)
  }

  private init(
    visible: DiskImage, durable: DiskImage, size: UInt64, durableSize: UInt64, pending: [Change] = []
  ) {
    capacity = UInt64(visible.capacity)
    self.visible = visible
    self.durable = durable
    self.size = size
    self.durableSize = durableSize
    self.pending = pending
  }

  package var base: UnsafeRawPointer { UnsafeRawPointer(visible.memory) }

  // MARK: Operations

  package func write(_ runs: [PageRun]) throws(DatabaseError) {
    var end: UInt64 = 0
    for run in runs {
      if run.offset < end { violations.append("runs out of order at \(run.offset)") }
      end = run.offset + UInt64(run.bytes.count)
      guard end <= size else {
        violations.append("write of \(run.bytes.count) bytes at \(run.offset), beyond the end \(size)")
        throw .io(operation: "write", errno: EINVAL, offset: run.offset)
      }
      let fault = begin()
      switch fault {
      case .error, .noSpace: break
      case .partial, .lost:
        let half = run.bytes.count / 2 / Self.sector * Self.sector
        put(UnsafeRawBufferPointer(rebasing: run.bytes[..<half]), at: run.offset)
      case nil: put(run.bytes, at: run.offset)
      }
      observer?(.write(offset: run.offset, count: run.bytes.count))
      if let fault {
        throw .io(operation: "pwritev", errno: fault == .noSpace ? ENOSPC : EIO, offset: run.offset)
      }
    }
  }

  private func put(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
    visible.write(bytes, at: Int(offset))
    pending.append(.write(offset: Int(offset), bytes: [UInt8](bytes)))
  }

  package func sync() throws(DatabaseError) {
    let fault = begin()
    // What the observer writes is newer than this sync.
    let count = pending.count
    observer?(.sync)
    if fault == .lost {
      // Every other one, beginning with the first or the second: a lone write is lost in some runs, kept in others.
      for (i, change) in pending[..<count].enumerated() where (i + operations) & 1 == 0 { persist(change) }
      pending.removeSubrange(..<count)
    }
    if fault != nil { throw .io(operation: "fdatasync", errno: fault == .noSpace ? ENOSPC : EIO, offset: 0) }
    for change in pending[..<count] { persist(change) }
    pending.removeSubrange(..<count)
  }

  package func grow(to newSize: UInt64) throws(DatabaseError) {
    guard newSize > size else { return }
    guard newSize <= capacity else { throw .noSpace(bytes: newSize - size) }
    let fault = begin()
    guard newSize <= spaceLimit, fault != .noSpace else { throw .noSpace(bytes: newSize - size) }
    if fault == .error || fault == .lost { throw .io(operation: "fallocate", errno: EIO, offset: size) }
    let old = size
    extend(to: fault == .partial ? size + (newSize - size) / 2 : newSize)
    observer?(.grow(from: old, to: newSize))
    if fault != nil { throw .io(operation: "fallocate", errno: EIO, offset: old) }
  }

  private func extend(to newSize: UInt64) {
    size = newSize
    visible.protect(beyond: Int(newSize))
    pending.append(.grow(to: newSize))
  }

  package func truncate(to newSize: UInt64) throws(DatabaseError) {
    guard newSize < size else { return }
    let fault = begin()
    let old = size
    if fault == nil || fault == .partial {
      visible.clear(from: Int(newSize))
      size = newSize
      visible.protect(beyond: Int(newSize))
      pending.append(.truncate(to: newSize))
    }
    observer?(.truncate(from: old, to: newSize))
    if fault != nil { throw .io(operation: "ftruncate", errno: EIO, offset: newSize) }
  }

  package func release(offset: UInt64, count: UInt64) {
    guard poisonsReleased else { return }
    visible.fill(Self.poison, at: Int(offset), count: Int(count))
    let bytes = [UInt8](repeating: Self.poison, count: Int(count))
    // On disk already, and still to come over whatever else is on its way there.
    durable.fill(Self.poison, at: Int(offset), count: Int(count))
    pending.append(.write(offset: Int(offset), bytes: bytes))
  }

  package func close() {}

  private func begin() -> Fault? {
    operations += 1
    return faults[operations - 1]
  }

  private func persist(_ change: Change) {
    switch change {
    case .grow(let to): durableSize = max(durableSize, to)
    case .truncate(let to):
      durable.clear(from: Int(to))
      durableSize = to
    case .write(let offset, let bytes): bytes.withUnsafeBytes { durable.write($0, at: offset) }
    }
  }

  // MARK: Crashes

  /// The disk after a power cut now.
  package func powerCut(
    _ survival: Survival, using random: inout some RandomNumberGenerator
  ) -> SimulatedPageStore {
    let (newSize, sizeChanges) = sizeAfterPowerCut(survival, using: &random)
    let image = durable.copy(size: Int(newSize), edge: durable.capacity)
    var sizeChange = 0
    for (i, change) in pending.enumerated() {
      guard case .write(let offset, let bytes) = change else {
        sizeChange += 1
        if case .truncate(let to) = change, sizeChange <= sizeChanges { image.clear(from: Int(to)) }
        continue
      }
      let isLast = i == pending.count - 1
      let keeps: Bool
      switch survival {
      case .none: keeps = false
      case .all: keeps = true
      case .allButLast: keeps = !isLast
      case .onlyLast: keeps = isLast
      case .half: keeps = Bool.random(using: &random)
      case .torn: keeps = true
      }
      // What lies behind the end is gone, should the file grow again.
      guard keeps, offset < Int(newSize) else { continue }
      bytes[..<min(bytes.count, Int(newSize) - offset)].withUnsafeBytes { bytes in
        guard survival == .torn else { return image.write(bytes, at: offset) }
        for start in stride(from: 0, to: bytes.count, by: Self.sector) where Bool.random(using: &random) {
          let end = min(bytes.count, start + Self.sector)
          image.write(UnsafeRawBufferPointer(rebasing: bytes[start..<end]), at: offset + start)
        }
      }
    }
    return SimulatedPageStore(
      visible: image.copy(size: Int(newSize), edge: Int(newSize)), durable: image, size: newSize, durableSize: newSize)
  }

  /// Any of the sizes since the last sync may be the one on disk, or a size in the middle of growing; and how many
  /// changes of size led to it.
  private func sizeAfterPowerCut(
    _ survival: Survival, using random: inout some RandomNumberGenerator
  ) -> (size: UInt64, changes: Int) {
    if survival == .none { return (durableSize, 0) }
    var sizes: [(size: UInt64, changes: Int)] = [(durableSize, 0)]
    for change in pending {
      let last = sizes[sizes.count - 1]
      switch change {
      case .grow(let to):
        let part = (to - last.size) * UInt64.random(in: 1...7, using: &random) / 8 & ~4095
        sizes += [(last.size + part, last.changes + 1), (to, last.changes + 1)]
      case .truncate(let to): sizes.append((to, last.changes + 1))
      case .write: break
      }
    }
    if survival == .all { return sizes[sizes.count - 1] }
    return sizes.randomElement(using: &random) ?? sizes[0]
  }

  /// The disk after the process was killed now: nothing is lost, but nothing is safer than it was.
  package func processCrash() -> SimulatedPageStore {
    SimulatedPageStore(
      visible: visible.copy(size: Int(size), edge: Int(size)),
      durable: durable.copy(size: durable.capacity, edge: durable.capacity), size: size, durableSize: durableSize,
      pending: pending)
  }

  /// What the file holds.
  package func bytes(at offset: Int, count: Int) -> [UInt8] {
    Array(UnsafeRawBufferPointer(start: visible.memory + offset, count: count))
  }

  /// Overwrites bytes behind the engine's back, on disk and in the cache.
  package func damage(_ bytes: [UInt8], at offset: Int) {
    bytes.withUnsafeBytes {
      visible.write($0, at: offset)
      durable.write($0, at: offset)
    }
  }
}
