// Leases over a node: deadlines, expiry through the log, restarts; and the table of deadlines by itself.
import Foundation
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC
import NeedletailServer
import Testing

extension RunningNode {
  private func lease(
    _ body: [UInt8], _ run: (UnsafeRawBufferPointer, ReplyAddress) throws(StatusError) -> Void
  ) throws -> NodeAnswer {
    let address = sink.address()
    do {
      try RunningNode.call(body) { (body) throws(StatusError) in try run(body, address) }
    } catch let error as StatusError {
      return NodeAnswer(status: error.code.rawValue, body: Bytes(error.message.utf8))
    }
    return try #require(sink.wait(for: address))
  }

  func grant(_ ttl: Int64, id: Int64 = 0) throws -> NodeAnswer {
    try lease(LeaseRequestView.grant(id: id, ttl: ttl).encoded()) { (body, address) throws(StatusError) in
      try node.server.grantLease(body, reply: address)
    }
  }

  func revoke(_ id: Int64) throws -> NodeAnswer {
    try lease(LeaseRequestView(id).encoded()) { (body, address) throws(StatusError) in
      try node.server.revokeLease(body, reply: address)
    }
  }

  func keepAlive(_ id: Int64) throws -> LeaseResponse {
    try read(
      lease(LeaseRequestView(id).encoded()) { (body, address) throws(StatusError) in
        try node.server.keepLeaseAlive(body, reply: address)
      })
  }

  func timeToLive(_ id: Int64, keys: Bool = false) throws -> LeaseResponse {
    try read(
      lease(LeaseRequestView(id, keys ? 1 : 0).encoded()) { (body, address) throws(StatusError) in
        try node.server.leaseTimeToLive(body, reply: address)
      })
  }

  func leaseIDs() throws -> [Int64] {
    let answer = try lease([]) { (body, address) throws(StatusError) in
      try node.server.listLeases(body, reply: address)
    }
    return try answer.body.withUnsafeBytes { try LeaseListResponse($0) }.ids
  }

  func read(_ answer: NodeAnswer) throws -> LeaseResponse {
    try #require(answer.status == 0, "\(answer.text)")
    return try answer.body.withUnsafeBytes { try LeaseResponse($0) }
  }

  func put(_ key: Bytes, lease: Int64) throws -> NodeAnswer {
    try #require(sink.wait(for: try propose(put: key, [1], lease: lease)))
  }
}

@Suite struct LeaseTests {
  private static func quick(_ options: inout NodeOptions) {
    options.leases.ttlMin = 1
    options.leases.tick_ms = 10
    options.leases.grace_ms = 0
  }

  @Test func grantsRenewalsAndRevocations() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path)
    let granted = try running.read(try running.grant(100))
    #expect(granted.id > 0 && granted.ttl == 100 && granted.header.revision == 1 && granted.header.raftTerm == 1)
    #expect(try running.read(try running.grant(0, id: 5)).ttl == 2, "the least TTL there is")
    #expect(try running.read(try running.grant(-7, id: -5)).ttl == 2)
    #expect(
      try running.grant(10, id: 5)
        == NodeAnswer(
          status: 9, body: Bytes("etcdserver: lease already exists".utf8)))
    #expect(
      try running.grant(9_000_000_001)
        == NodeAnswer(
          status: 11, body: Bytes("etcdserver: too large lease TTL".utf8)))
    #expect(
      try running.put([1], lease: 77)
        == NodeAnswer(
          status: 5, body: Bytes("etcdserver: requested lease not found".utf8)))
    #expect(try running.put([2], lease: granted.id).status == 0)
    #expect(try running.put([1], lease: granted.id).status == 0)
    let left = try running.timeToLive(granted.id, keys: true)
    #expect(left.id == granted.id && left.grantedTTL == 100 && (97...100).contains(left.ttl))
    #expect(left.keys == [[1], [2]] && left.header.revision == 3)
    #expect(try running.timeToLive(granted.id).keys.isEmpty)
    #expect(try running.timeToLive(99).ttl == -1)
    #expect(try running.keepAlive(granted.id).ttl == 100)
    #expect(try running.keepAlive(99).ttl == 0)
    #expect(Set(try running.leaseIDs()) == [granted.id, 5, -5])
    #expect(try running.leaseIDs().last == granted.id, "those that expire first stand in front")
    let revoked = try running.read(try running.revoke(granted.id))
    #expect(revoked.header.revision == 4)
    #expect(try running.everything().isEmpty)
    #expect(
      try running.revoke(granted.id)
        == NodeAnswer(
          status: 5, body: Bytes("etcdserver: requested lease not found".utf8)))
    #expect(try running.keepAlive(granted.id).ttl == 0)
    running.node.stop()
    #expect(running.sink.duplicateCount == 0)
  }

  @Test func expiryGoesThroughTheLog() throws {
    let directory = try TemporaryDirectory()
    var running = try RunningNode(directory.path, LeaseTests.quick)
    _ = try running.grant(1, id: 5)
    _ = try running.grant(1, id: 6)
    #expect(try running.put([1], lease: 5).status == 0 && running.put([2], lease: 6).status == 0)
    let deadline = Date().addingTimeInterval(2.5)
    while Date() < deadline {
      #expect(try running.keepAlive(6).ttl == 1)
      usleep(100_000)
    }
    #expect(try running.everything().keys.sorted { $0[0] < $1[0] } == [[2]])
    #expect(try running.range([1]).header.revision == 4)
    #expect(try running.leaseIDs() == [6])
    running.node.stop()
    // What expired stays expired; what did not has all its time again.
    running = try RunningNode(directory.path)
    #expect(try running.leaseIDs() == [6])
    #expect(try running.keepAlive(5).ttl == 0)
    running.node.stop()
  }

  /// A restart gives a lease all of its time again, unless a checkpoint has noted what was left; a renewal undoes that.
  @Test func restartsGoOnFromCheckpoints() throws {
    let directory = try TemporaryDirectory()
    var running = try RunningNode(directory.path) { $0.leases.checkpoint_ms = 1_200 }
    _ = try running.grant(1_000, id: 5)
    _ = try running.grant(1, id: 6)
    usleep(1_500_000)
    func record(_ id: Int64) throws -> LeaseRecord? { try running.word { try running.node.store.lease($0, id) } }
    let noted = try #require(try record(5)).remaining
    #expect(noted == 999)
    running.node.stop()
    running = try RunningNode(directory.path)
    let left = try running.timeToLive(5)
    #expect(left.grantedTTL == 1_000 && left.ttl <= 1_000 && left.ttl >= 997)
    #expect(try running.keepAlive(5).ttl == 1_000)
    // The checkpoint's removal comes through the log behind the answer.
    _ = try running.put([1], [1])
    let deadline = Date().addingTimeInterval(10)
    while try record(5)?.remaining != 0, Date() < deadline { usleep(5_000) }
    #expect(try record(5)?.remaining == 0)
    running.node.stop()
  }

  /// The files as a killed process leaves them: leases, keys and what was revoked are as they were acknowledged.
  @Test func leasesSurviveACrash() throws {
    var generator = SeededGenerator(SeededGenerator.seed("leases over crashes"))
    let directory = try TemporaryDirectory()
    var path = directory.path + "/0"
    var wanted: [Int64: Set<Bytes>] = [:]
    for round in 1...6 {
      let running = try RunningNode(path) {
        $0.checkpoint.interval_ms = 3_600_000
        $0.checkpoint.bytes = 1 << 40
        $0.checkpoint.afterReplay = false
      }
      #expect(Set(try running.leaseIDs()) == Set(wanted.keys))
      for (id, keys) in wanted { #expect(Set(try running.timeToLive(id, keys: true).keys) == keys) }
      for step in 0..<60 {
        let id = Int64.random(in: 1...6, using: &generator)
        if wanted[id] == nil {
          #expect(try running.grant(1_000, id: id).status == 0)
          wanted[id] = []
        } else if Int.random(in: 0..<6, using: &generator) == 0 {
          #expect(try running.revoke(id).status == 0)
          wanted[id] = nil
        } else {
          let key: Bytes = [UInt8(step % 20)]
          #expect(try running.put(key, lease: id).status == 0)
          for other in Array(wanted.keys) { wanted[other]?.remove(key) }
          wanted[id]?.insert(key)
        }
      }
      let copy = directory.path + "/\(round)"
      try RunningNode.copyRunning(path, to: copy)
      running.node.stop()
      path = copy
    }
    let last = try RunningNode(path)
    let all = wanted.values.reduce(into: Set<Bytes>()) { $0.formUnion($1) }
    #expect(Set(try last.everything().keys) == all)
    last.node.stop()
  }

  @Test func theTableKeepsDeadlines() {
    let second: UInt64 = 1_000_000_000
    var table = LeaseTable()
    for id in Int64(1)...1_000 { table.grant(id, ttl: 1 + id % 50, now_ns: 0) }
    #expect(table.expired(now_ns: second - 1, most: 9_999).isEmpty)
    #expect(table.expired(now_ns: second, most: 5).count == 5, "at most so many at a time")
    #expect(table.expired(now_ns: second, most: 9_999).count == 15)
    #expect(table.expired(now_ns: second, most: 9_999).isEmpty, "each is proposed once")
    #expect(table.renew(50, now_ns: second) == nil, "what is being revoked can't be renewed")
    #expect(table.renew(49, now_ns: second)?.ttl == 50)
    // A renewal moves the deadline, a revocation ends it, and what nothing came of is tried again.
    table.revoked(48)
    let late = table.expired(now_ns: 50 * second, most: 9_999)
    #expect(late.count == 1_000 - 2 && !late.contains(49) && !late.contains(48) && late.contains(50))
    #expect(table.expired(now_ns: 51 * second, most: 9_999) == [49])
    #expect(table.timeToLive(49, now_ns: 51 * second)?.remaining == 0)
    // What a checkpoint left counts after a start, and a grace.
    table = LeaseTable()
    table.grant(1, ttl: 100, remaining: 10, grace_ns: second, now_ns: 0)
    #expect(table.timeToLive(1, now_ns: 0)?.remaining == 11)
    #expect(table.remaining(longerThan: 50, now_ns: second / 2).map(\.remaining) == [11])
    #expect(table.remaining(longerThan: 100, now_ns: 0).isEmpty)
    #expect(table.renew(1, now_ns: second)?.hadCheckpoint == true)
    #expect(table.renew(1, now_ns: second)?.hadCheckpoint == false)
    #expect(table.expired(now_ns: 100 * second, most: 1).isEmpty && table.expired(now_ns: 101 * second, most: 1) == [1])
  }
}
