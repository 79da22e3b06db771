// The quota and the alarms over a node: raised through the log, refusing what etcd refuses, kept over crashes.
import Foundation
import NeedletailBackend
import NeedletailBytes
import NeedletailClient
import NeedletailMVCC
import NeedletailRPC
import NeedletailServer
import Testing

extension RunningNode {
  /// The answer, however it comes.
  func alarm(_ action: AlarmRequestView.Action, _ member: AlarmMember = AlarmMember()) throws -> NodeAnswer {
    try alarm(AlarmRequestView(action, member).encoded())
  }

  func alarm(_ body: Bytes) throws -> NodeAnswer {
    let address = sink.address()
    let reader = try node.server.makeReader()
    defer { reader.free() }
    var out = OutBuffer()
    defer { out.free() }
    do {
      let isDirect = try body.withUnsafeBytes { body in
        defer { reader.unpin() }
        return try node.server.alarm(body, pin: { reader.pin() }, reply: address, into: &out)
      }
      if isDirect { return NodeAnswer(status: 0, body: Bytes(out.bytes)) }
    } catch let error as StatusError {
      return NodeAnswer(status: error.code.rawValue, body: Bytes(error.message.utf8))
    }
    return try #require(sink.wait(for: address))
  }

  func alarms() throws -> [AlarmMember] {
    let answer = try alarm(.get)
    try #require(answer.status == 0, "\(answer.text)")
    return try answer.body.withUnsafeBytes { try AlarmResponse($0) }.alarms
  }

  /// A put's answer, refusals of both kinds included.
  func tryPut(_ key: Bytes, _ value: Bytes) throws -> NodeAnswer {
    do {
      return try #require(sink.wait(for: try propose(put: key, value)))
    } catch let error as StatusError {
      return NodeAnswer(status: error.code.rawValue, body: Bytes(error.message.utf8))
    }
  }

  func tryCompact(_ revision: Int64) throws -> NodeAnswer {
    do { return try compact(revision) } catch let error as StatusError {
      return NodeAnswer(status: error.code.rawValue, body: Bytes(error.message.utf8))
    }
  }

  func tryDelete(_ key: Bytes) throws -> NodeAnswer {
    do {
      _ = try delete(key)
      return NodeAnswer(status: 0, body: [])
    } catch let error as StatusError {
      return NodeAnswer(status: error.code.rawValue, body: Bytes(error.message.utf8))
    }
  }
}

@Suite struct AlarmTests {
  static let noSpace = NodeAnswer(status: 8, body: Bytes("etcdserver: mvcc: database space exceeded".utf8))
  static let corrupt = NodeAnswer(status: 15, body: Bytes("etcdserver: corrupt cluster".utf8))

  private func member(_ running: RunningNode, _ alarm: Int32) -> AlarmMember {
    AlarmMember(memberID: running.node.store.identity.memberID, alarm: alarm)
  }

  @Test func requestsAndRefusals() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path)
    let mine = member(running, 1)
    func answer(_ action: AlarmRequestView.Action, _ alarm: AlarmMember = AlarmMember()) throws -> AlarmResponse {
      let answer = try running.alarm(action, alarm)
      try #require(answer.status == 0, "\(answer.text)")
      return try answer.body.withUnsafeBytes { try AlarmResponse($0) }
    }
    let empty = try answer(.get)
    #expect(empty.alarms.isEmpty && empty.header.revision == 1 && empty.header.raftTerm == 1)
    #expect(try answer(.activate, AlarmMember(memberID: 7)).alarms.isEmpty, "no alarm is none")
    #expect(try answer(.activate, mine).alarms == [mine])
    #expect(try answer(.activate, mine).alarms == [mine])
    #expect(try answer(.activate, AlarmMember(memberID: 5, alarm: 2)).alarms == [AlarmMember(memberID: 5, alarm: 2)])
    #expect(try running.alarms() == [mine, AlarmMember(memberID: 5, alarm: 2)])
    #expect(try answer(.get, AlarmMember(alarm: 2)).alarms == [AlarmMember(memberID: 5, alarm: 2)])
    #expect(try answer(.deactivate, AlarmMember(memberID: 6, alarm: 2)).alarms.isEmpty)
    #expect(try answer(.deactivate, AlarmMember(memberID: 5, alarm: 2)).alarms.count == 1)
    #expect(running.node.status.alarms.kinds == .noSpace && running.node.status.alarms.list.count == 1)
    // What etcd leaves undefined.
    #expect(try running.alarm([8, 3]).status == 3 && running.alarm([24, 9]).status == 3)
    #expect(try running.alarm([0xff]).status == 3)
    running.node.stop()
  }

  /// etcd's recipe: too much is put, the alarm is raised, deletes and a compaction make room, the alarm is disarmed.
  @Test func theQuotaRaisesTheAlarmAndRoomComesBack() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path) { $0.quota.configuredBytes = 4 << 20 }
    var count = 0
    var refusal: NodeAnswer?
    while refusal == nil, count < 1_000 {
      let answer = try running.tryPut(Bytes("\(count)".utf8), Bytes(repeating: 7, count: 20_000))
      if answer.status == 0 { count += 1 } else { refusal = answer }
    }
    #expect(refusal == AlarmTests.noSpace && count > 100 && count < 210)
    #expect(try running.alarms() == [member(running, 1)], "raised before the refusal was answered")
    // Small ones too from now on; what gives room, or needs none, goes on.
    #expect(try running.tryPut([1], []) == AlarmTests.noSpace)
    #expect(try running.grant(10) == AlarmTests.noSpace)
    let put = TxnRequest(then: [.put(PutRequest(key: [1], value: []))])
    #expect(try running.txn(put.encoded()).answer == AlarmTests.noSpace)
    #expect(try running.txn(TxnRequest(then: [.range(RangeRequest(.key([1])))])).succeeded)
    #expect(try running.txn(TxnRequest(then: [.deleteRange(DeleteRangeRequest(.key(Bytes("0".utf8))))])).succeeded)
    #expect(try running.tryDelete(Bytes("1".utf8)).status == 0)
    #expect(try running.everything().count == count - 2)
    let revision = try running.delete(Bytes("0".utf8), Bytes("9".utf8)).header.revision
    #expect(try running.compact(revision, physical: true).status == 0)
    #expect(try running.alarms().count == 1, "nothing but a hand takes it back")
    #expect(try running.tryPut([1], []) == AlarmTests.noSpace)
    #expect(try running.alarm(.deactivate, member(running, 1)).status == 0)
    #expect(try running.tryPut([1], [1]).status == 0)
    #expect(try running.alarms().isEmpty)
    running.node.stop()
    #expect(running.sink.duplicateCount == 0)
  }

  /// Disarmed without room: deletes go on in peace, the next put raises it again.
  @Test func disarmingWithoutRoomHelpsDeletesAlone() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path) { $0.quota.configuredBytes = 2 << 20 }
    var count = 0
    while try running.tryPut(Bytes("\(count)".utf8), Bytes(repeating: 7, count: 20_000)).status == 0 { count += 1 }
    #expect(try running.alarm(.deactivate, member(running, 1)).status == 0)
    #expect(try running.tryDelete(Bytes("1".utf8)).status == 0)
    #expect(try running.alarms().isEmpty)
    #expect(try running.tryPut(Bytes("1".utf8), Bytes(repeating: 7, count: 40_000)) == AlarmTests.noSpace)
    #expect(try running.alarms().count == 1)
    running.node.stop()
  }

  /// Many at a time, each admitted for itself: the alarm comes by itself, without one more request.
  @Test func whatGoesBeyondTogetherRaisesItToo() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path) { $0.quota.configuredBytes = 2 << 20 }
    var last: ReplyAddress?
    for i in 0..<400 {
      do { last = try running.propose(put: Bytes("\(i)".utf8), Bytes(repeating: 7, count: 20_000)) } catch { break }
    }
    _ = running.sink.wait(for: try #require(last))
    let deadline = Date().addingTimeInterval(10)
    while try running.alarms().isEmpty, Date() < deadline { usleep(2_000) }
    #expect(try running.alarms() == [member(running, 1)])
    running.node.stop()
  }

  @Test func noQuotaBelowZeroAndEtcdsDefault() {
    var options = QuotaOptions()
    #expect(options.bytes == 2 << 30)
    options.configuredBytes = -1
    #expect(options.bytes == nil && Quota(options, used: .max).admits(.max))
    options.configuredBytes = 1000
    let quota = Quota(options, used: 900)
    #expect(quota.admits(0) && quota.admits(99) && !quota.admits(100))
    #expect(!quota.note(used: 999) && quota.note(used: 1000) && !quota.note(used: 2000) && !quota.admits(1))
    #expect(quota.admits(0), "what needs nothing always goes")
    #expect(!quota.note(used: 10) && quota.note(used: 3000))
  }

  @Test func corruptRefusesEveryChangeAndServesReads() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path)
    _ = try running.put([1], [1])
    _ = try running.grant(100, id: 5)
    #expect(try running.alarm(.activate, AlarmMember(memberID: 9, alarm: 2)).status == 0)
    #expect(try running.tryPut([1], [2]) == AlarmTests.corrupt)
    #expect(try running.tryDelete([1]) == AlarmTests.corrupt)
    #expect(try running.tryCompact(2) == AlarmTests.corrupt)
    #expect(try running.grant(10) == AlarmTests.corrupt && running.revoke(5) == AlarmTests.corrupt)
    let delete = TxnRequest(then: [.deleteRange(DeleteRangeRequest(.key([1])))])
    #expect(try running.txn(delete.encoded()).answer == AlarmTests.corrupt)
    #expect(try running.txn(TxnRequest(then: [.range(RangeRequest(.key([1])))])).succeeded)
    #expect(try running.everything() == [[1]: [1]])
    #expect(try running.leaseIDs() == [5] && running.hash().hash != 0)
    #expect(try running.alarm(.deactivate, AlarmMember(memberID: 9, alarm: 2)).status == 0)
    #expect(try running.tryPut([1], [2]).status == 0)
    running.node.stop()
  }

  /// The files as a killed process leaves them: what was raised and not taken back is raised, whether a checkpoint or the
  /// log alone has it.
  @Test func alarmsSurviveACrash() throws {
    var generator = SeededGenerator(SeededGenerator.seed("alarms over crashes"))
    let directory = try TemporaryDirectory()
    var path = directory.path + "/0"
    var wanted: Set<String> = []
    for round in 1...8 {
      let running = try RunningNode(path) {
        $0.checkpoint.interval_ms = 3_600_000
        $0.checkpoint.bytes = 1 << 40
        $0.checkpoint.afterReplay = round % 2 == 0
      }
      #expect(Set(try running.alarms().map(\.description)) == wanted)
      #expect(try running.tryPut([1], [1]).status == (wanted.contains { $0.contains("NOSPACE") } ? 8 : 0))
      for _ in 0..<20 {
        let alarm = AlarmMember(memberID: UInt64.random(in: 1...3, using: &generator), alarm: 1)
        if Bool.random(using: &generator) {
          #expect(try running.alarm(.activate, alarm).status == 0)
          wanted.insert(alarm.description)
        } else {
          #expect(try running.alarm(.deactivate, alarm).status == 0)
          wanted.remove(alarm.description)
        }
      }
      // Every other round ends with none.
      if round % 3 == 0 {
        for alarm in try running.alarms() { #expect(try running.alarm(.deactivate, alarm).status == 0) }
        wanted = []
      }
      let copy = directory.path + "/\(round)"
      try RunningNode.copyRunning(path, to: copy)
      running.node.stop()
      path = copy
    }
  }

  /// Status, health and metrics, as etcd shows them.
  @Test func alarmsAreShown() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    let client = BlockingClient([try Endpoint("127.0.0.1:\(server.port)")], timeout: .seconds(20))
    func get(_ path: String) throws -> String {
      let socket = try PlainSocket(server.port)
      try socket.send("GET \(path) HTTP/1.1\r\nConnection: close\r\n\r\n")
      return try socket.text()
    }
    func errors() throws -> [String] {
      let answer = try client.askAll(.status)[0].result.get()
      return try answer.withUnsafeBytes { try StatusResponse($0) }.errors
    }
    #expect(try errors().isEmpty && get("/health").contains("200 OK") && client.alarms().alarms.isEmpty)
    let id = server.node.store.identity.memberID
    let socket = try PlainSocket(server.port)
    try socket.send(preface)
    _ = try socket.frame()
    let activation = AlarmRequestView(.activate, AlarmMember(memberID: id, alarm: 1))
    try socket.send(frame(.alarm, activation.encoded(), stream: 1))
    #expect(try socket.frame().header.status == 0)
    #expect(try errors() == ["memberID:\(id) alarm:NOSPACE "])
    #expect(try client.alarms().alarms == [AlarmMember(memberID: id, alarm: 1)])
    let health = try get("/health")
    #expect(health.contains("503 Service Unavailable"))
    #expect(health.contains("{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}"))
    #expect(try get("/health?exclude=NOSPACE").contains("200 OK"))
    #expect(try get("/health?exclude=CORRUPT").contains("503"))
    let metrics = try get("/metrics")
    #expect(
      metrics.contains(
        "etcd_debugging_server_alarms{server_id=\"\(String(id, radix: 16))\",alarm_type=\"NOSPACE\"} 1\n"))
    #expect(metrics.contains("etcd_server_quota_backend_bytes 0\n"))
    #expect(try client.disarm(AlarmMember(memberID: id, alarm: 1)).alarms.count == 1)
    #expect(try errors().isEmpty && get("/health").contains("200 OK"))
    #expect(try !get("/metrics").contains("etcd_debugging_server_alarms{"))
  }
}
