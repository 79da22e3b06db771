// Buffers whose memory is refused: what was there stays, what comes goes nowhere, and cutting back makes them whole.
import NeedletailBytes
import Testing

@Suite(.serialized) struct RefusedBufferTests {
  private func refusing<R>(beyond limit: Int, _ body: () throws -> R) rethrows -> R {
    OutBuffer.refusedBeyond.store(limit, ordering: .relaxed)
    defer { OutBuffer.refusedBeyond.store(.max, ordering: .relaxed) }
    return try body()
  }

  private func contents(_ buffer: OutBuffer) -> [UInt8] { Array(buffer.bytes) }

  @Test func whatWasWrittenStays() {
    refusing(beyond: 1 << 10) {
      var buffer = OutBuffer.refusable
      defer { buffer.free() }
      let first = [UInt8](repeating: 7, count: 1_000)
      first.withUnsafeBytes { buffer.append($0) }
      #expect(!buffer.isRefused)
      [UInt8](repeating: 8, count: 100).withUnsafeBytes { buffer.append($0) }
      #expect(buffer.isRefused && buffer.count == 1_100 && buffer.start == nil && buffer.bytes.isEmpty)
      // Every way of writing goes on counting.
      buffer.append(byte: 1)
      buffer.append("text")
      _ = buffer.reserve(1 << 20)
      buffer.reserve(8).storeBytes(of: 9, as: UInt64.self)
      buffer.advance(8)
      #expect(buffer.isRefused && buffer.count == 1_113)
      [UInt8](repeating: 8, count: 40 << 20).withUnsafeBytes { buffer.append($0) }
      #expect(buffer.count == 1_113 + 40 << 20)
      // Not far enough, then far enough.
      buffer.truncate(to: 1_050)
      #expect(buffer.isRefused && buffer.count == 1_050)
      buffer.truncate(to: 1_000)
      #expect(!buffer.isRefused && contents(buffer) == first)
      // A little fits where twice as much does not.
      buffer.append(byte: 5)
      #expect(!buffer.isRefused && contents(buffer) == first + [5])
    }
  }

  @Test func nothingWasWritten() {
    refusing(beyond: 100) {
      var buffer = OutBuffer.refusable
      [UInt8](repeating: 8, count: 101).withUnsafeBytes { buffer.append($0) }
      #expect(buffer.isRefused && buffer.count == 101)
      buffer.removeFirst(50)
      #expect(buffer.isRefused && buffer.count == 51)
      buffer.removeAll()
      #expect(!buffer.isRefused && buffer.isEmpty && buffer.capacity == 0)
      buffer.append(byte: 3)
      #expect(contents(buffer) == [3])
      [UInt8](repeating: 8, count: 101).withUnsafeBytes { buffer.append($0) }
      #expect(buffer.isRefused)
      // Freed as any other, and refusable still.
      buffer.free()
      [UInt8](repeating: 8, count: 101).withUnsafeBytes { buffer.append($0) }
      #expect(buffer.isRefused)
      buffer.free()
    }
  }

  @Test func othersAreNotRefused() {
    refusing(beyond: 100) {
      var buffer = OutBuffer()
      defer { buffer.free() }
      [UInt8](repeating: 8, count: 10_000).withUnsafeBytes { buffer.append($0) }
      #expect(!buffer.isRefused && buffer.count == 10_000)
    }
  }

  /// However the bytes come, and however often somebody asks: heads' room stands where frames are cut, and nothing is lost.
  @Test(arguments: [UInt64(1), 2, 3, 4]) func framesAreCutWhereTheyShall(_ seed: UInt64) {
    var state = seed
    func random(_ count: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % count
    }
    for round in 0..<60 {
      var buffer = OutBuffer()
      defer { buffer.free() }
      for _ in 0..<random(30) { buffer.append(byte: 1) }
      let at = buffer.count
      for _ in 0..<FrameCuts.headSize { buffer.append(byte: 0xee) }
      var cuts = FrameCuts(start: buffer.count)
      var expected: [UInt8] = []
      for _ in 0..<random(40) {
        let piece = (0..<random(round % 3 == 0 ? 60_000 : 900)).map {
          UInt8(truncatingIfNeeded: expected.count &+ $0 &* 7)
        }
        piece.withUnsafeBytes { buffer.append($0) }
        expected += piece
        if round % 2 == 0 { cuts.cut(&buffer) }
      }
      cuts.cut(&buffer)
      let all = Array(buffer.bytes)
      let heads = FrameCuts.headBytes(in: all.count - at)
      #expect(all.count - at - heads == expected.count)
      var found: [UInt8] = []
      var from = at
      while from < all.count {
        let end = min(from + FrameCuts.headSize + FrameCuts.frameSize, all.count)
        found += all[(from + FrameCuts.headSize)..<end]
        from = end
      }
      #expect(found == expected, "seed \(seed), round \(round)")
    }
  }

  @Test func whatIsTakenOutOfTheMiddle() {
    var buffer = OutBuffer.refusable
    defer { buffer.free() }
    buffer.append("abcdef")
    buffer.remove(2, at: 1)
    #expect(contents(buffer) == Array("adef".utf8))
    buffer.remove(0, at: 4)
    buffer.remove(4, at: 0)
    #expect(buffer.isEmpty)
  }
}
