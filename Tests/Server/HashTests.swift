// Hashes over a node: asked for on any thread, the same over restarts, crashes and restored snapshots.
import Foundation
import NeedletailBackend
import NeedletailClient
import NeedletailMVCC
import NeedletailRPC
import Testing

@testable import NeedletailServer

extension RunningNode {
  func hashKV(_ revision: Int64 = 0) throws -> NodeAnswer {
    let address = sink.address()
    let body = HashKVRequestView(revision).encoded()
    try RunningNode.call(body) { (body) throws(StatusError) in try node.server.hashKV(body, reply: address) }
    return try #require(sink.wait(for: address))
  }

  func hash(_ revision: Int64 = 0) throws -> HashResponse {
    let answer = try hashKV(revision)
    try #require(answer.status == 0, "\(answer.text)")
    return try answer.body.withUnsafeBytes { try HashResponse($0) }
  }

  func hashOfEverything() throws -> HashResponse {
    let address = sink.address()
    try node.server.hash(reply: address)
    return try #require(sink.wait(for: address)).body.withUnsafeBytes { try HashResponse($0) }
  }
}

@Suite struct HashTests {
  private func fill(_ running: RunningNode, _ count: Int) throws {
    for i in 0..<count { _ = try running.propose(put: [UInt8(i % 50)], Bytes("\(i)".utf8)) }
    _ = try running.put([77], [1])
    _ = try running.delete([3], [9])
  }

  @Test func answersAndRefusals() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path)
    try fill(running, 200)
    let newest = try running.hash()
    #expect(newest.header.revision == 203 && newest.hashRevision == 203 && newest.compactRevision == -1)
    #expect(newest.header.raftTerm == 1 && newest.hash != 0)
    #expect(try running.hash(203) == newest)
    #expect(try running.hash(100).hash != newest.hash)
    #expect(
      try running.hashKV(204)
        == NodeAnswer(status: 11, body: Bytes("etcdserver: mvcc: required revision is a future revision".utf8)))
    _ = try running.compact(150)
    #expect(
      try running.hashKV(149)
        == NodeAnswer(status: 11, body: Bytes("etcdserver: mvcc: required revision has been compacted".utf8)))
    #expect(try running.hash(150).compactRevision == 150)
    let refusal = #expect(throws: StatusError.self) {
      try RunningNode.call([0xff]) { (body) throws(StatusError) in
        try running.node.server.hashKV(body, reply: running.sink.address())
      }
    }
    #expect(refusal?.code == .invalidArgument)
    let everything = try running.hashOfEverything()
    #expect(everything.hash != 0 && everything.compactRevision == 0 && everything.hashRevision == 0)
    running.node.stop()
    #expect(throws: StatusError.stopped) { try running.node.server.hash(reply: running.sink.address()) }
    #expect(running.sink.duplicateCount == 0)
  }

  /// Stopped, killed, with removal under way or done: what a hash covers is what was acknowledged.
  @Test func theSameOverRestartsAndCrashes() throws {
    let directory = try TemporaryDirectory()
    var path = directory.path + "/0"
    var wanted: [Int64: UInt32] = [:]
    for round in 1...4 {
      let running = try RunningNode(path) {
        $0.checkpoint.interval_ms = 3_600_000
        $0.checkpoint.afterReplay = false
      }
      for (revision, hash) in wanted { #expect(try running.hash(revision).hash == hash, "at \(revision)") }
      try fill(running, 3_000)
      let now = try running.hash().header.revision
      _ = try running.compact(now - 100)
      wanted = [:]
      for revision in [now - 100, now - 99, now - 50, now] { wanted[revision] = try running.hash(revision).hash }
      if round % 2 == 0 { #expect(try running.waitForRemoval()) }
      for (revision, hash) in wanted { #expect(try running.hash(revision).hash == hash, "at \(revision)") }
      let copy = directory.path + "/\(round)"
      if round < 3 {
        try RunningNode.copyRunning(path, to: copy)
        running.node.stop()
        path = copy
      } else {
        running.node.stop()
      }
    }
  }

  @Test func theSameInARestoredSnapshot() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    let client = BlockingClient([try Endpoint("127.0.0.1:\(server.port)")], timeout: .seconds(20))
    for i in 0..<300 {
      _ = try client.put(PutRequest(key: Array("key\(i % 40)".utf8), value: Array("\(i)".utf8)))
    }
    _ = try client.deleteRange(DeleteRangeRequest(.prefix(Array("key1".utf8))))
    _ = try client.compact(120, physical: false)
    func hashes(_ client: BlockingClient) throws -> [UInt32] {
      try [Int64(0), 120, 200].map { revision in
        let answer = client.askAll(.hashKV, HashKVRequestView(revision).encoded())[0].result
        return try decode(try answer.get()) { bytes throws(ProtoError) in try HashResponse(bytes) }.hash
      }
    }
    let expected = try hashes(client)
    #expect(Set(expected).count == 3)
    let directory = try TemporaryDirectory()
    var whole: [UInt8] = []
    try client.readSnapshot { piece in
      whole += piece.bytes
      return true
    }
    let file = directory.path + "/snapshot"
    try Data(whole).write(to: URL(fileURLWithPath: file))
    _ = try SnapshotRestore.run(file, to: directory.path + "/restored")
    let restored = try RunningServer(.auto, directory: directory.path + "/restored")
    defer { restored.stop() }
    #expect(try hashes(BlockingClient([try Endpoint("127.0.0.1:\(restored.port)")], timeout: .seconds(20))) == expected)
  }
}
