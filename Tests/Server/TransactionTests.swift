// Transactions over a node: what only reads never touches the log, the rest survives like any write; bad bytes are refused.
import Foundation
import NeedletailBackend
import NeedletailBytes
import NeedletailClient
import NeedletailMVCC
import NeedletailRPC
import NeedletailServer
import Testing

extension RunningNode {
  /// The answer, however it comes, and whether it came without the log.
  func txn(_ body: Bytes) throws -> (answer: NodeAnswer, isDirect: Bool) {
    let address = sink.address()
    let reader = try node.server.makeReader()
    defer { reader.free() }
    var out = OutBuffer()
    defer { out.free() }
    do {
      let isDirect = try body.withUnsafeBytes { body in
        defer { reader.unpin() }
        return try node.server.txn(body, pin: { reader.pin() }, reply: address, into: &out)
      }
      if isDirect { return (NodeAnswer(status: 0, body: Bytes(out.bytes)), true) }
    } catch let error as StatusError {
      return (NodeAnswer(status: error.code.rawValue, body: Bytes(error.message.utf8)), true)
    }
    return (try #require(sink.wait(for: address)), false)
  }

  func txn(_ request: TxnRequest) throws -> TxnResponse {
    let answer = try txn(request.encoded()).answer
    try #require(answer.status == 0, "\(answer.text)")
    return try answer.body.withUnsafeBytes { try TxnResponse($0) }
  }
}

@Suite struct TransactionTests {
  private func put(_ key: String, _ value: String) -> TxnOperation {
    .put(PutRequest(key: Bytes(key.utf8), value: Bytes(value.utf8)))
  }

  private func get(_ key: String) -> TxnOperation { .range(RangeRequest(.key(Bytes(key.utf8)))) }

  @Test func compareAndSwapGoesThroughTheLog() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path)
    let swap = TxnRequest(
      if: [Compare(.key([97]), .equal, .version(0))], then: [put("a", "first"), get("a")], else: [get("a")])
    let first = try running.txn(swap)
    #expect(first.succeeded && first.header.revision == 2 && first.header.raftTerm == 1)
    guard case .range(let seen) = first.responses[1] else { throw ServerError.badEntry(index: 0, why: "no range") }
    #expect(seen.kvs.first?.value == Bytes("first".utf8))
    let second = try running.txn(swap)
    #expect(!second.succeeded && second.header.revision == 2)
    let nested = TxnRequest(then: [
      put("b", "1"),
      .txn(TxnRequest(if: [Compare(.prefix([97]), .greater, .value(Bytes("a".utf8)))], then: [put("c", "2")])),
    ])
    #expect(try running.txn(nested).header.revision == 3)
    let applied = running.node.status.applied.load(ordering: .relaxed)
    #expect(applied == 3)
    // Without the log.
    let reads = TxnRequest(then: [get("a"), .txn(TxnRequest(then: [get("b")]))])
    let (answer, isDirect) = try running.txn(reads.encoded())
    #expect(isDirect && answer.status == 0)
    #expect(running.node.status.applied.load(ordering: .relaxed) == applied)
    let before = try running.everything()
    #expect(before.count == 3)
    running.node.stop()
    let again = try RunningNode(directory.path)
    #expect(try again.everything() == before)
    #expect(try again.range([99]).kvs.first?.modRevision == 3)
    again.node.stop()
  }

  @Test func refusalsHaveEtcdsCodesAndTexts() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path) { $0.txnOperationsMax = 4 }
    defer { running.node.stop() }
    func expect(
      _ request: TxnRequest, _ code: UInt32, _ text: String, location: SourceLocation = #_sourceLocation
    ) throws {
      let answer = try running.txn(request.encoded()).answer
      #expect(answer == NodeAnswer(status: code, body: Bytes(text.utf8)), sourceLocation: location)
    }
    let many = (0..<5).map { put("k\($0)", "") }
    try expect(TxnRequest(then: many), 3, "etcdserver: too many operations in txn request")
    try expect(TxnRequest(then: [put("a", "1"), put("a", "2")]), 3, "etcdserver: duplicate key given in txn request")
    try expect(TxnRequest(if: [Compare(.key([]), .equal, .version(0))]), 3, "etcdserver: key is not provided")
    var range = RangeRequest(.key([97]))
    range.revision = 9
    try expect(
      TxnRequest(then: [.range(range)]), 11, "etcdserver: mvcc: required revision is a future revision")
    try expect(
      TxnRequest(then: [.range(range), put("a", "")]), 11,
      "etcdserver: mvcc: required revision is a future revision")
    var leased = PutRequest(key: [97], value: [])
    leased.lease = 5
    try expect(TxnRequest(then: [.put(leased)]), 5, "etcdserver: requested lease not found")
    leased.lease = 0
    leased.ignoreValue = true
    try expect(TxnRequest(then: [.put(leased)]), 3, "etcdserver: key not found")
    #expect(try running.range([97]).header.revision == 1)
    // Sort options that don't exist; an operation that is none; both in a branch that would not run.
    let badSort: Bytes = [0x1a, 7, 0x0a, 5, 0x0a, 1, 97, 0x28, 9]
    #expect(try running.txn(badSort).answer.text == "etcdserver: invalid sort option")
    #expect(try running.txn([0x1a, 0]).answer.text == "etcdserver: key not found")
  }

  /// However deep a request nests, the stack does not follow it.
  @Test func nestingIsBounded() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path)
    defer { running.node.stop() }
    var request = TxnRequest(then: [get("a")])
    for _ in 0..<126 { request = TxnRequest(then: [.txn(request)]) }
    #expect(try running.txn(request).succeeded)
    var body = request.encoded()
    for depth in 0..<20_000 where body.count < 1 << 20 {
      var outer = Bytes()
      for tag in [UInt8(0x22), 0x12] {
        var length = UInt64((outer.isEmpty ? body : outer).count)
        var head: Bytes = [tag]
        while length >= 128 {
          head.append(UInt8(truncatingIfNeeded: length) | 128)
          length >>= 7
        }
        outer = head + [UInt8(length)] + (outer.isEmpty ? body : outer)
      }
      body = outer
      if depth == 200 || depth % 1000 == 999 {
        #expect(try running.txn(body).answer.text == "etcdserver: too many operations in txn request")
      }
    }
  }

  /// Random bytes, and valid transactions with a bit changed, are answered or refused, and the node lives.
  @Test func damagedRequestsAreRefused() throws {
    var generator = SeededGenerator(SeededGenerator.seed("damaged transactions"))
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path)
    let request = TxnRequest(
      if: [Compare(.range([97], end: [99]), .less, .value([1])), Compare(.key([98]), .notEqual, .lease(3))],
      then: [put("a", "1"), .deleteRange(DeleteRangeRequest(.prefix([98]))), .txn(TxnRequest(then: [get("z")]))],
      else: [get("a"), put("q", "2")])
    let valid = request.encoded()
    var (answered, refused) = (0, 0)
    for _ in 0..<3000 {
      var body = valid
      if Int.random(in: 0..<4, using: &generator) == 0 {
        body = (0..<Int.random(in: 0...60, using: &generator)).map { _ in .random(in: 0...255, using: &generator) }
      } else {
        let bit = Int.random(in: 0..<(body.count * 8), using: &generator)
        body[bit / 8] ^= 1 << UInt8(bit % 8)
      }
      let answer = try running.txn(body).answer
      if answer.status == 0 { answered += 1 } else { refused += 1 }
    }
    #expect(answered > 100 && refused > 100)
    #expect(running.failures.all.isEmpty)
    running.node.stop()
    // What was applied can be applied again.
    let again = try RunningNode(directory.path)
    again.node.stop()
  }
}
