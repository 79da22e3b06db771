// Locks, elections, members and defragmentation over the native face: what they answer, whom they wake, and what stays
// behind when whoever waited has gone. Codes and texts are those that etcd 3.4.23 and 3.5.1 gave to the same requests.
import Foundation
import Glibc
import NeedletailClient
import NeedletailMVCC
import NeedletailRPC
import NeedletailServer
import Testing

/// A connection that speaks the native protocol, one frame at a time.
private final class Caller {
  typealias Method = NeedletailRPC.Method
  let socket: PlainSocket
  private var lastStream: UInt32 = 0

  init(_ server: RunningServer) throws {
    socket = try PlainSocket(server.port)
    try socket.send(preface)
    _ = try socket.frame()
  }

  /// Sends a request, and gives its stream.
  func send(_ method: Method, _ body: Bytes, deadline_ms: UInt32 = 0) throws -> UInt32 {
    lastStream += 1
    var header = Bytes(repeating: 0, count: FrameHeader.byteCount)
    header.withUnsafeMutableBytes { memory in
      FrameHeader(
        length: UInt32(body.count), rawMethod: method.rawValue,
        flags: method == .observe ? 0 : FrameFlags.endOfStream, stream: lastStream, status: deadline_ms
      ).store(to: memory.baseAddress!)
    }
    try socket.send(header + body)
    return lastStream
  }

  func cancel(_ stream: UInt32) throws { try socket.send(frame(.cancel, [], stream: stream)) }

  func answer(_ stream: UInt32) throws -> NodeAnswer {
    let (header, body) = try socket.frame()
    #expect(header.stream == stream)
    return NodeAnswer(status: header.status, body: body)
  }

  func call(_ method: Method, _ body: Bytes) throws -> NodeAnswer { try answer(send(method, body)) }

  func read<M>(_ answer: NodeAnswer, _ type: (UnsafeRawBufferPointer) throws -> M) throws -> M {
    try #require(answer.status == 0, "\(answer.status): \(answer.text)")
    return try answer.body.withUnsafeBytes(type)
  }

  func grant(_ ttl: Int64 = 600, id: Int64 = 0) throws -> Int64 {
    try read(call(.leaseGrant, LeaseRequestView.grant(id: id, ttl: ttl).encoded())) { try LeaseResponse($0) }.id
  }

  func revoke(_ id: Int64) throws { #expect(try call(.leaseRevoke, LeaseRequestView(id).encoded()).status == 0) }

  func keys(_ prefix: String) throws -> [KeyValue] {
    let body = RangeRequest(.prefix(Bytes(prefix.utf8))).encoded()
    return try read(call(.range, body)) { try RangeResponse($0) }.kvs
  }

  func lock(_ name: String, _ lease: Int64) throws -> LockResponse {
    try read(call(.lock, lockBody(name, lease))) { try LockResponse($0) }
  }

  func unlock(_ key: Bytes) throws -> HeaderResponse {
    try read(call(.unlock, nameBody(key))) { try HeaderResponse($0) }
  }

  func campaign(_ name: String, _ lease: Int64, _ value: String) throws -> CampaignResponse {
    try read(call(.campaign, campaignBody(name, lease, value))) { try CampaignResponse($0) }
  }
}

private func lockBody(_ name: String, _ lease: Int64) -> Bytes {
  Bytes(name.utf8).withUnsafeBytes { name in
    var request = LockRequestView()
    request.name = name
    request.lease = lease
    return request.encoded()
  }
}

private func nameBody(_ name: Bytes) -> Bytes {
  name.withUnsafeBytes { name in
    var request = NameRequestView()
    request.name = name
    return request.encoded()
  }
}

private func nameBody(_ name: String) -> Bytes { nameBody(Bytes(name.utf8)) }

private func campaignBody(_ name: String, _ lease: Int64, _ value: String) -> Bytes {
  Bytes(name.utf8).withUnsafeBytes { name in
    Bytes(value.utf8).withUnsafeBytes { value in
      var request = CampaignRequestView()
      request.name = name
      request.lease = lease
      request.value = value
      return request.encoded()
    }
  }
}

private func hex(_ name: String, _ lease: Int64) -> Bytes { Bytes("\(name)/\(String(lease, radix: 16))".utf8) }

private func eventually(_ condition: () throws -> Bool) rethrows -> Bool {
  for _ in 0..<4_000 {
    if try condition() { return true }
    usleep(5_000)
  }
  return false
}

private func unknown(_ text: String) -> NodeAnswer {
  NodeAnswer(status: StatusCode.unknown.rawValue, body: Bytes(text.utf8))
}

@Suite struct RecipeTests {
  @Test(arguments: [ReactorKind.epoll, .ioUring])
  func aLockGoesFromOneToTheNext(kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    let callers = try (0..<4).map { _ in try Caller(server) }
    let leases = try callers.map { try $0.grant() }
    let first = try callers[0].lock("n", leases[0])
    #expect(first.key == hex("n", leases[0]) && first.header.revision == 2)
    // Again: it is the session's, and nothing changes.
    #expect(try callers[0].lock("n", leases[0]) == first)
    // The others queue up in the order in which they come.
    var waiting: [UInt32] = []
    for at in 1..<4 {
      waiting.append(try callers[at].send(.lock, lockBody("n", leases[at])))
      #expect(try eventually { try callers[0].keys("n/").count == at + 1 })
    }
    for at in 1..<4 {
      let gone = try callers[at - 1].unlock(hex("n", leases[at - 1]))
      let won = try callers[at].read(callers[at].answer(waiting[at - 1])) { try LockResponse($0) }
      #expect(won.key == hex("n", leases[at]) && won.header.revision == gone.header?.revision)
      #expect(try Set(callers[0].keys("n/").map(\.lease)) == Set(leases[at...]))
    }
    // A key that is not there, and another name, are nobody's business.
    #expect(try callers[0].unlock(Bytes("nothing".utf8)).header?.revision == 8)
    #expect(try callers[0].lock("", leases[0]).key == hex("", leases[0]))
    #expect(server.node.watch.figures.watchers.load(ordering: .relaxed) == 0)
    server.stop()
  }

  @Test func aMissingLeaseIsGranted() throws {
    let server = try RunningServer(.auto)
    let caller = try Caller(server)
    let won = try caller.lock("z", 0)
    let pair = try #require(try caller.keys("z/").first)
    #expect(pair.key == won.key && won.key == hex("z", pair.lease) && pair.lease != 0)
    let left = try caller.read(caller.call(.leaseTimeToLive, LeaseRequestView(pair.lease).encoded())) {
      try LeaseResponse($0)
    }
    #expect(left.grantedTTL == 60)
    // A negative id is written as Go writes it.
    #expect(try caller.grant(id: -21) == -21)
    #expect(try caller.lock("m", -21).key == Bytes("m/-15".utf8))
    let shown = try caller.campaign("e", 0, "v")
    #expect(try caller.keys("e/").first?.lease == shown.leader.lease && shown.leader.lease != 0)
    server.stop()
  }

  @Test func everyRefusalHasEtcdsWords() throws {
    let server = try RunningServer(.auto)
    let caller = try Caller(server)
    let missing = unknown("etcdserver: requested lease not found")
    #expect(try caller.call(.lock, lockBody("n", 999)) == missing)
    #expect(try caller.call(.lock, lockBody("n", -1)) == missing)
    #expect(try caller.call(.campaign, campaignBody("n", 999, "v")) == missing)
    #expect(try caller.call(.unlock, nameBody("")) == unknown("etcdserver: key is not provided"))
    #expect(try caller.call(.leader, nameBody("e")) == unknown("election: no leader"))
    let noKey = unknown("\"leader\" field must be provided")
    #expect(try caller.call(.proclaim, LeaderKeyRequest(value: [1]).encoded()) == noKey)
    #expect(try caller.call(.resign, LeaderKeyRequest().encoded()) == noKey)
    let noName = unknown("etcdserver: key is not provided")
    #expect(try caller.call(.proclaim, LeaderKeyRequest(LeaderKey(), value: [1]).encoded()) == noName)
    #expect(try caller.call(.resign, LeaderKeyRequest(LeaderKey()).encoded()) == noName)
    let lease = try caller.grant()
    var leader = try caller.campaign("e", lease, "v").leader
    leader.lease = 999
    #expect(try caller.call(.proclaim, LeaderKeyRequest(leader, value: [1]).encoded()) == missing)
    leader.lease = lease
    leader.revision += 1
    #expect(
      try caller.call(.proclaim, LeaderKeyRequest(leader, value: [1]).encoded()) == unknown("election: not leader"))
    // A resignation of what is no longer there changes nothing, and is fine.
    #expect(try caller.call(.resign, LeaderKeyRequest(leader).encoded()).status == 0)
    #expect(try caller.keys("e/").map(\.value) == [Bytes("v".utf8)])
    for method in [Caller.Method.lock, .unlock, .campaign, .proclaim, .resign, .leader, .memberList, .memberAdd] {
      let answer = try caller.call(method, [0x0a, 0x7f])
      #expect(answer.status == StatusCode.invalidArgument.rawValue && answer.text.contains("malformed"))
    }
    server.stop()
  }

  @Test func anElectionGoesThroughItsLife() throws {
    let server = try RunningServer(.auto)
    let (caller, candidate, watcher) = (try Caller(server), try Caller(server), try Caller(server))
    let leases = [try caller.grant(), try candidate.grant()]
    let observing = try watcher.send(.observe, nameBody("e"))
    let first = try caller.campaign("e", leases[0], "v")
    #expect(first.leader == LeaderKey(name: Bytes("e".utf8), key: hex("e", leases[0]), revision: 2, lease: leases[0]))
    #expect(first.header.revision == 2)
    // The same session with another value shows that; the header is the transaction's that found the place.
    #expect(try caller.campaign("e", leases[0], "v2").header.revision == 2)
    #expect(try caller.campaign("e", leases[0], "v2").header.revision == 3)
    let led = try caller.read(caller.call(.leader, nameBody("e"))) { try LeaderResponse($0) }
    #expect(led.kv.value == Bytes("v2".utf8) && led.kv.createRevision == 2 && led.header.revision == 3)
    let waiting = try candidate.send(.campaign, campaignBody("e", leases[1], "w"))
    #expect(try eventually { try caller.keys("e/").count == 2 })
    let shown = try caller.call(.proclaim, LeaderKeyRequest(first.leader, value: Bytes("v3".utf8)).encoded())
    #expect(try caller.read(shown) { try HeaderResponse($0) }.header?.revision == 5)
    // Lease 0: the value is shown by a lease of its own, as etcd does.
    var anonymous = first.leader
    anonymous.lease = 0
    #expect(try caller.call(.proclaim, LeaderKeyRequest(anonymous, value: Bytes("v4".utf8)).encoded()).status == 0)
    #expect(try caller.keys("e/").first.map { $0.lease != leases[0] && $0.lease != 0 } == true)
    let gone = try caller.call(.resign, LeaderKeyRequest(first.leader).encoded())
    #expect(try caller.read(gone) { try HeaderResponse($0) }.header?.revision == 7)
    let second = try candidate.read(candidate.answer(waiting)) { try CampaignResponse($0) }
    #expect(second.leader.key == hex("e", leases[1]) && second.header.revision == 4 && second.leader.revision == 4)
    #expect(try candidate.call(.resign, LeaderKeyRequest(second.leader).encoded()).status == 0)
    _ = try caller.campaign("e", leases[0], "again")
    var seen: [LeaderResponse] = []
    while seen.last?.kv.value != Bytes("again".utf8) {
      seen.append(try watcher.read(watcher.answer(observing)) { try LeaderResponse($0) })
    }
    #expect(seen.map { String(decoding: $0.kv.value, as: UTF8.self) } == ["v", "v2", "v3", "v4", "w", "again"])
    #expect(seen.map(\.kv.modRevision) == [2, 3, 5, 6, 4, 9])
    #expect(seen[4].header.revision >= 7 && seen[5].header.revision >= 9)
    // The end of the stream is the end of the observer.
    try watcher.socket.send(frame(Caller.Method.observe.rawValue, [], stream: observing, flags: FrameFlags.endOfStream))
    let (header, _) = try watcher.socket.frame()
    #expect(header.flags == FrameFlags.answer | FrameFlags.endOfStream && header.status == 0)
    #expect(eventually { server.node.watch.figures.watchers.load(ordering: .relaxed) == 0 })
    server.stop()
  }

  /// Whoever waits and goes leaves no key behind: by a frame, with its connection, at its half of the connection's end.
  @Test(arguments: [ReactorKind.epoll, .ioUring])
  func whoGoesLeavesTheQueue(kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    let owner = try Caller(server)
    let lease = try owner.grant()
    _ = try owner.lock("n", lease)
    func wait(_ caller: Caller, _ lease: Int64) throws -> UInt32 {
      let stream = try caller.send(.lock, lockBody("n", lease))
      #expect(try eventually { try owner.keys("n/").contains { $0.lease == lease } })
      return stream
    }
    func isAlone() throws -> Bool { try eventually { try owner.keys("n/").map(\.lease) == [lease] } }

    let patient = try Caller(server)
    let stream = try wait(patient, try patient.grant())
    try patient.cancel(stream)
    let cancelled = try patient.answer(stream)
    #expect(cancelled.status == StatusCode.cancelled.rawValue && cancelled.text == "context canceled")
    #expect(try isAlone())
    // A call that is not there can be cancelled, too; the connection lives on.
    try patient.cancel(99)
    #expect(try patient.keys("n/").count == 1)

    var lost: Caller? = try Caller(server)
    if let caller = lost { _ = try wait(caller, try caller.grant()) }
    lost = nil
    #expect(try isAlone())

    let half = try Caller(server)
    _ = try wait(half, try half.grant())
    half.socket.finishSending()
    #expect(try isAlone())
    #expect(try half.socket.isAtEnd())

    // The owner's key is not a waiter's: asking again and going leaves it.
    let again = try owner.send(.lock, lockBody("n", lease))
    #expect(try owner.answer(again).status == 0)
    try owner.cancel(again)
    #expect(try owner.keys("n/").count == 1)
    #expect(eventually { server.node.watch.figures.watchers.load(ordering: .relaxed) == 0 })
    server.stop()
  }

  /// Two calls of one session stand in one place: it stays until the last of them has gone.
  @Test func aPlaceStaysForTheOtherCall() throws {
    let server = try RunningServer(.auto)
    let (owner, first, second) = (try Caller(server), try Caller(server), try Caller(server))
    let (lease, shared) = (try owner.grant(), try owner.grant())
    let held = try owner.lock("n", lease)
    let one = try first.send(.lock, lockBody("n", shared))
    #expect(try eventually { try owner.keys("n/").count == 2 })
    let two = try second.send(.lock, lockBody("n", shared))
    // It has entered once its two watches are there beside the first one's.
    #expect(eventually { server.node.watch.figures.watchers.load(ordering: .relaxed) == 4 })
    try first.cancel(one)
    #expect(try first.answer(one).status == StatusCode.cancelled.rawValue)
    #expect(try owner.keys("n/").count == 2)
    _ = try owner.unlock(held.key)
    #expect(try second.read(second.answer(two)) { try LockResponse($0) }.key == hex("n", shared))
    server.stop()
  }

  /// A session that ends while it waits is told so at once, and those behind it move up.
  @Test func aLeaseEndsWhileItsOwnerWaits() throws {
    let server = try RunningServer(.auto) {
      $0.leases.ttlMin = 1
      $0.leases.tick_ms = 50
    }
    let (owner, second, third) = (try Caller(server), try Caller(server), try Caller(server))
    let lease = try owner.grant()
    let held = try owner.lock("n", lease)
    let short = try owner.grant(1)
    let waiting = try second.send(.lock, lockBody("n", short))
    #expect(try eventually { try owner.keys("n/").count == 2 })
    let behind = try third.send(.lock, lockBody("n", try owner.grant()))
    #expect(try eventually { try owner.keys("n/").count == 3 })
    #expect(try second.answer(waiting) == unknown("mutex: session is expired"))
    #expect(try owner.keys("n/").count == 2)
    _ = try owner.unlock(held.key)
    #expect(try third.answer(behind).status == 0)
    // A candidate, by hand.
    let leader = try owner.campaign("e", lease, "v")
    let brief = try owner.grant()
    let campaign = try second.send(.campaign, campaignBody("e", brief, "w"))
    #expect(try eventually { try owner.keys("e/").count == 2 })
    try owner.revoke(brief)
    #expect(try second.answer(campaign) == unknown("election: not leader"))
    #expect(try owner.keys("e/").map(\.key) == [leader.leader.key])
    server.stop()
  }

  /// Many waiters on one name: each is served once, in order, whoever of them goes in between.
  @Test func aLongQueueKeepsItsOrder() throws {
    let server = try RunningServer(.auto)
    let owner = try Caller(server)
    let held = try owner.lock("n", try owner.grant())
    var generator = SeededGenerator(SeededGenerator.seed("a long queue"))
    var queue: [(caller: Caller, stream: UInt32, lease: Int64)] = []
    for at in 0..<60 {
      let caller = try Caller(server)
      let lease = try caller.grant()
      queue.append((caller, try caller.send(.lock, lockBody("n", lease)), lease))
      #expect(try eventually { try owner.keys("n/").count == at + 2 })
    }
    for at in queue.indices.filter({ _ in Int.random(in: 0..<3, using: &generator) == 0 }).reversed() {
      try queue[at].caller.cancel(queue[at].stream)
      #expect(try queue[at].caller.answer(queue[at].stream).status == StatusCode.cancelled.rawValue)
      queue.remove(at: at)
    }
    #expect(try eventually { try owner.keys("n/").count == queue.count + 1 })
    _ = try owner.unlock(held.key)
    for entry in queue {
      let won = try entry.caller.read(entry.caller.answer(entry.stream)) { try LockResponse($0) }
      #expect(won.key == hex("n", entry.lease))
      #expect(try owner.keys("n/").min { $0.createRevision < $1.createRevision }?.lease == entry.lease)
      _ = try entry.caller.unlock(won.key)
    }
    #expect(try owner.keys("n/").isEmpty)
    server.stop()
  }

  /// An observer that reads nothing is sent its budget, and later the rest: the last value is never missed.
  @Test func anObserverThatDoesNotReadWaits() throws {
    let server = try RunningServer(.auto)
    let (caller, slow) = (try Caller(server), try Caller(server))
    let leader = try caller.campaign("e", try caller.grant(), "v").leader
    let observing = try slow.send(.observe, nameBody("e"))
    #expect(try slow.read(slow.answer(observing)) { try LeaderResponse($0) }.kv.value == Bytes("v".utf8))
    let value = Bytes(repeating: 7, count: 100_000)
    for at in 0..<400 {
      let body = LeaderKeyRequest(leader, value: Bytes("\(at)/".utf8) + value).encoded()
      #expect(try caller.call(.proclaim, body).status == 0)
    }
    let sent = server.group.counters(0).read(.sentBytes) + server.group.counters(1).read(.sentBytes)
    #expect(sent < 20 << 20, "the slow observer was sent too much: \(sent)")
    var last: Int64 = 2
    for at in 0..<400 {
      let seen = try slow.read(slow.answer(observing)) { try LeaderResponse($0) }.kv
      #expect(seen.value.starts(with: "\(at)/".utf8) && seen.modRevision == last + 1)
      last = seen.modRevision
    }
    server.stop()
  }

  /// A connection may have so many calls that wait, and other requests beside them; a stop does not wait for them.
  @Test func waitingCallsAreBounded() throws {
    let server = try RunningServer(.auto)
    let (owner, many) = (try Caller(server), try Caller(server))
    _ = try owner.lock("n", try owner.grant())
    let lease = try owner.grant()
    for _ in 0..<1024 { _ = try many.send(.lock, lockBody("n", lease)) }
    let refused = try many.answer(many.send(.lock, lockBody("n", lease)))
    #expect(refused == unknown("etcdserver: too many requests"))
    #expect(try eventually { try many.keys("n/").count == 2 })
    let begun = Date()
    server.stop()
    #expect(Date().timeIntervalSince(begun) < 1.8, "the stop waited for locks")
  }

  @Test func oneMemberAnswersAsEtcd() throws {
    let server = try RunningServer(.auto) {
      $0.member.name = "solo"
      $0.member.peerURLs = ["http://127.0.0.1:7001"]
      $0.member.clientURLs = ["http://127.0.0.1:7000"]
    }
    let caller = try Caller(server)
    var lists: [MemberResponse] = []
    for linearizable: UInt64 in [0, 1] {
      var request = MemberRequest(.number)
      request.number = linearizable
      lists.append(try caller.read(caller.call(.memberList, request.encoded())) { try MemberResponse($0) })
    }
    let me = try #require(lists[0].members.first)
    #expect(lists[0] == lists[1] && lists[0].members.count == 1 && me.id == server.node.directory.identity.memberID)
    #expect(me.name == "solo" && me.peerURLs == ["http://127.0.0.1:7001"] && me.clientURLs == ["http://127.0.0.1:7000"])
    #expect(!me.isLearner && lists[0].header.revision == 0 && lists[0].header.memberID == me.id)

    func ask(_ method: Caller.Method, _ id: UInt64 = 0, _ urls: [String] = []) throws -> NodeAnswer {
      var request = MemberRequest(method == .memberAdd ? .urls : method == .memberUpdate ? .numberAndURLs : .number)
      request.number = id
      request.peerURLs = urls
      return try caller.call(method, request.encoded())
    }
    func refused(_ code: StatusCode, _ text: String) -> NodeAnswer {
      NodeAnswer(status: code.rawValue, body: Bytes(text.utf8))
    }
    let stranger = refused(.notFound, "etcdserver: member not found")
    for method in [Caller.Method.memberRemove, .memberUpdate, .memberPromote] {
      #expect(try ask(method, 5, ["http://127.0.0.1:9"]) == stranger)
    }
    #expect(
      try ask(.memberRemove, me.id)
        == unknown("etcdserver: re-configuration failed due to not enough started members"))
    #expect(
      try ask(.memberPromote, me.id)
        == refused(.failedPrecondition, "etcdserver: can only promote a learner member"))
    let badURLs = refused(.invalidArgument, "etcdserver: given member URLs are invalid")
    #expect(try ask(.memberAdd) == badURLs)
    for url in ["nonsense", "http://127.0.0.1:77/p", "http://127.0.0.1", "ftp://h:1", "http://:1", "http://h:99999"] {
      #expect(try ask(.memberAdd, 0, [url]) == badURLs, "\(url)")
    }
    #expect(
      try ask(.memberAdd, 0, me.peerURLs) == refused(.failedPrecondition, "etcdserver: Peer URLs already exists"))
    #expect(try ask(.memberAdd, 0, ["http://127.0.0.1:9"]).status == StatusCode.unimplemented.rawValue)
    #expect(try ask(.memberUpdate, me.id, ["http://127.0.0.1:9"]).status == StatusCode.unimplemented.rawValue)
    let same = try caller.read(ask(.memberUpdate, me.id, me.peerURLs)) { try MemberResponse($0) }
    #expect(same.members == [me])
    #expect(try ask(.moveLeader, me.id) == NodeAnswer(status: 0, body: []))
    for id: UInt64 in [0, 5] {
      #expect(try ask(.moveLeader, id) == refused(.failedPrecondition, "etcdserver: bad leader transferee"))
    }
    server.stop()
  }

  /// What was deleted and compacted goes back to the file system when a client asks for it, beside reads and writes.
  @Test func defragmentationGivesSpaceBack() throws {
    let server = try RunningServer(.auto)
    let caller = try Caller(server)
    for at in 0..<300 {
      #expect(try caller.call(.put, putBody("k\(at)", Bytes(repeating: 1, count: 100_000))).status == 0)
    }
    #expect(try caller.call(.defragment, []) == NodeAnswer(status: 0, body: []))
    let full = server.node.database.statistics.fileBytes
    let deletion = DeleteRangeRequest(.prefix(Bytes("k".utf8))).encoded()
    let deleted = try caller.read(caller.call(.deleteRange, deletion)) { try DeleteRangeResponse($0) }
    #expect(deleted.deleted == 300)
    #expect(try caller.call(.put, putBody("x", [1])).status == 0)
    // The rows at the compacted revision stay: the deletion lies before it.
    let compaction = CompactionRequestView(deleted.header.revision + 1, true).encoded()
    #expect(try caller.call(.compact, compaction).status == 0)
    let other = try Caller(server)
    let asked = try caller.send(.defragment, [])
    for _ in 0..<50 { #expect(try other.call(.put, putBody("y", [2])).status == 0) }
    #expect(try caller.answer(asked) == NodeAnswer(status: 0, body: []))
    #expect(server.node.database.statistics.fileBytes < full / 2)
    #expect(try caller.keys("").map(\.key) == [Bytes("x".utf8), Bytes("y".utf8)])
    server.stop()
    // Nobody is there any more who could.
    #expect(throws: StatusError.stopped) { try server.node.server.defragment(reply: AnswerBox().address()) }
  }
}
