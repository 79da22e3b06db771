// The files of a small sound log, and ways to spoil them.

import FuzzInput
import Glibc

@testable import NeedletailWAL

enum Files {
  typealias File = (name: String, bytes: [UInt8])

  static var options: WALOptions {
    var options = WALOptions()
    options.segmentSize = 16 << 10
    options.groupSize = 4 << 10
    options.background = false
    options.spareSegments = 0
    options.storeID = StoreID(high: 1, low: 2)
    return options
  }

  /// Three segments or so of entries, hard states and a snapshot's mark; not closed.
  static let sound: [File] = {
    let device = SimulatedLogDevice()
    do {
      let log = try WAL.open(device: device, options: options) { _ in }
      try log.append(metadata: [7, 7])
      for index in 1...12 as ClosedRange<UInt64> {
        try [UInt8](repeating: UInt8(index), count: 700).withUnsafeBytes { bytes in
          _ = try log.append(index: index, term: 1 + index / 5, payload: bytes)
        }
        if index % 4 == 0 { try log.append(HardState(term: 1 + index / 5, vote: 2, commit: index)) }
        if index == 6 { try log.append(snapshot: LogMark(index: 3, term: 1)) }
        let group = try log.submit()
        while log.durable.group < group { try log.reap(wait: true) }
      }
      return device.fileNames.map { ($0, device.contents($0) ?? []) }
    } catch {
      preconditionFailure("no sound log: \(error)")
    }
  }()

  static func change(_ files: inout [File], _ input: inout Input) {
    let file = Int(input.byte()) % files.count
    let count = files[file].bytes.count
    guard count >= 4096 else { return }
    let block = Int(input.byte()) % (count / 4096) * 4096
    // Fields lie at multiples of four, most of them at the beginning of a block.
    let at = block + Int(input.byte()) * 4
    switch input.byte() % 8 {
    case 0: files[file].bytes[at] = input.byte()
    case 1: put(&files[file].bytes, at, input.number(4), 4)
    case 2: put(&files[file].bytes, at, input.number(8), 8)
    case 3: put(&files[file].bytes, at, UInt64(input.byte()), 8)
    case 4: put(&files[file].bytes, at, UInt64.max - UInt64(input.byte()), 8)
    case 5: files[file].bytes.removeLast(count - block - Int(input.byte()))
    case 6:
      let other = Int(input.byte()) % files.count
      let from = Int(input.byte()) * 4096
      guard from + 4096 <= files[other].bytes.count else { return }
      files[file].bytes.replaceSubrange(block..<block + 4096, with: files[other].bytes[from..<from + 4096])
    default: if files.count > 1 { files.remove(at: file) }
    }
  }

  private static func put(_ bytes: inout [UInt8], _ at: Int, _ value: UInt64, _ count: Int) {
    for i in 0..<count { bytes[at + i] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(i))) }
  }

  /// Makes the checksums of groups and records right, whatever they say, so that what is behind them is reached.
  static func seal(_ bytes: inout [UInt8]) {
    bytes.withUnsafeMutableBytes { buffer in
      guard buffer.count >= 4096, let base = buffer.baseAddress else { return }
      let first = UnsafeRawPointer(base) + SegmentHeader.versionOffset
      let header = SegmentHeader(first)
      var chain: UInt32 = 0
      for block in stride(from: 0, through: buffer.count - 4096, by: 4096) {
        let group = base + block
        let raw = UnsafeRawPointer(group)
        guard raw.u32(4) == GroupHeader.magic else { continue }
        let salt = segmentSalt(header.store, raw.u64(8))
        group.storeBytes(of: chain.littleEndian, toByteOffset: 64, as: UInt32.self)
        var at = block + GroupHeader.size
        for _ in 0..<min(raw.u32(28), 100) {
          guard at + RecordHeader.size <= buffer.count else { break }
          let length = Int(UnsafeRawPointer(base + at).u32(8))
          let payload = at + RecordHeader.size
          if payload + length <= buffer.count {
            let sum = checksum(0, UnsafeRawBufferPointer(start: base + payload, count: length))
            (base + at).storeBytes(of: sum.littleEndian, toByteOffset: 4, as: UInt32.self)
          }
          chain = RecordHeader.seal(base + at, chain: chain, salt: salt)
          at += RecordHeader.recordSize(min(length, 1 << 20))
        }
        let sum = checksum(salt, UnsafeRawBufferPointer(start: raw + 4, count: GroupHeader.size - 4))
        group.storeBytes(of: sum.littleEndian, as: UInt32.self)
      }
    }
  }
}
