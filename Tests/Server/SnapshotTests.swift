// Snapshots over real sockets: whole, resumed, pulled slowly beside writes, let go when nobody asks; and directories
// restored from them.
import Foundation
import NeedletailBackend
import NeedletailClient
import NeedletailMVCC
import NeedletailRPC
import NeedletailSnapshot
import Testing

@testable import NeedletailServer

@Suite(.serialized) struct SnapshotTests {
  private func fill(_ server: RunningServer, _ count: Int, from first: Int = 0) throws -> Int64 {
    let client = BlockingClient([try Endpoint("127.0.0.1:\(server.port)")], timeout: .seconds(20))
    var random = SystemRandomNumberGenerator()
    var revision: Int64 = 0
    for i in first..<(first + count) {
      // Values that do not compress, so that there are several pieces.
      let value = (0..<20_000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      revision = try client.put(PutRequest(key: Array("key\(i)".utf8), value: value)).header.revision
    }
    return revision
  }

  private func client(_ server: RunningServer) throws -> BlockingClient {
    BlockingClient([try Endpoint("127.0.0.1:\(server.port)")], timeout: .seconds(20))
  }

  private func write(_ bytes: [UInt8], _ path: String) throws { try Data(bytes).write(to: URL(fileURLWithPath: path)) }

  private func pairs(_ server: RunningServer) throws -> [[UInt8]: KeyValue] {
    let answer = try client(server).range(RangeRequest(.all))
    return Dictionary(uniqueKeysWithValues: answer.kvs.map { ($0.key, $0) })
  }

  @Test(arguments: NativeFaceTests.kinds) func readVerifiedRestored(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    let revision = try fill(server, 120)
    let expected = try pairs(server)
    var whole: [UInt8] = []
    var id: UInt64 = 0
    try client(server).readSnapshot { piece in
      #expect(piece.offset == UInt64(whole.count) && piece.revision == revision)
      id = piece.snapshotID
      whole += piece.bytes
      // Later writes are not in it.
      if piece.offset == 0 { #expect((try? fill(server, 3, from: 1000)) == revision + 3) }
      return true
    }
    #expect(id != 0 && whole.count > 2_000_000)
    let directory = try TemporaryDirectory()
    let file = directory.path + "/snapshot"
    try write(whole, file)
    let reader = try SnapshotReader(file)
    try reader.verify()
    #expect(reader.header.snapshotID == id && reader.header.store.revision == UInt64(revision))
    // It said that it has all: the server keeps nothing of it.
    #expect(throws: ClientError.self) { try client(server).readSnapshot(id, from: 0) { _ in true } }
    #expect(server.hasReaders(0))

    let restored = directory.path + "/restored"
    let header = try SnapshotRestore.run(file, to: restored)
    #expect(header == reader.header)
    let again = try RunningServer(kind, directory: restored)
    defer { again.stop() }
    #expect(try pairs(again) == expected)
    #expect(try client(again).range(RangeRequest(.all)).header.revision == revision)
    #expect(again.node.directory.identity != server.node.directory.identity)
    #expect(try fill(again, 1) == revision + 1)
  }

  /// From any byte, over a new connection, as often as one likes.
  @Test func resumed() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    _ = try fill(server, 150)
    var whole: [UInt8] = []
    var id: UInt64 = 0
    var cuts = 0
    while true {
      var left = 1 + cuts % 3
      var isComplete = false
      try client(server).readSnapshot(id, from: UInt64(whole.count)) { piece in
        id = piece.snapshotID
        // A part of what came was not kept.
        whole += piece.isLast ? piece.bytes : Array(piece.bytes.dropLast(cuts * 1000 % 50_000))
        left -= 1
        isComplete = piece.isLast
        return left > 0 && cuts * 1000 % 50_000 == 0 || piece.isLast
      }
      if isComplete { break }
      cuts += 1
      if cuts == 2 { _ = try fill(server, 5, from: 500) }
      if cuts == 3 { whole = Array(whole.dropLast(whole.count / 2)) }
    }
    #expect(cuts >= 4)
    let directory = try TemporaryDirectory()
    try write(whole, directory.path + "/snapshot")
    try SnapshotReader(directory.path + "/snapshot").verify()
  }

  /// A snapshot that nobody asks for is let go, and with it its reader.
  @Test func letGo() throws {
    let server = try RunningServer(.auto) { $0.snapshots.idle_ms = 200 }
    defer { server.stop() }
    _ = try fill(server, 60)
    var id: UInt64 = 0
    try client(server).readSnapshot { piece in
      id = piece.snapshotID
      return false
    }
    #expect(server.hasReaders(1))
    #expect(server.hasReaders(0))
    do {
      try client(server).readSnapshot(id, from: 1) { _ in true }
      Issue.record("a snapshot that was let go answered")
    } catch ClientError.server(let status) {
      #expect(status.code == .notFound)
    }
  }

  @Test func limits() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    _ = try fill(server, 5)
    for _ in 0..<SnapshotOptions().sessionsMax { try client(server).readSnapshot { _ in false } }
    func code(_ body: () throws -> Void) throws -> StatusCode? {
      do { try body() } catch ClientError.server(let status) { return status.code }
      return nil
    }
    #expect(try code { try client(server).readSnapshot { _ in false } } == .resourceExhausted)
    #expect(server.hasReaders(4))
    let crowded = try RunningServer(.auto) { $0.snapshots.crowdedIdle_ms = 0 }
    defer { crowded.stop() }
    for _ in 0..<6 { try client(crowded).readSnapshot { _ in false } }
    #expect(crowded.hasReaders(4))
  }

  /// Requests whose answers nobody takes are held back; nobody else notices.
  @Test func slowClient() throws {
    let server = try RunningServer(.epoll)
    defer { server.stop() }
    _ = try fill(server, 200)
    let socket = try PlainSocket(server.port)
    try socket.send(preface)
    _ = try socket.frame()
    try socket.send(frame(.snapshot, SnapshotRequest().encoded(), stream: 1))
    let first = try socket.frame()
    let id = try first.body.withUnsafeBytes { try SnapshotResponseView($0).snapshotID }
    var requests: [UInt8] = []
    for stream in 2..<200 {
      var request = SnapshotRequest()
      request.snapshotID = id
      requests += frame(.snapshot, request.encoded(), stream: UInt32(stream))
    }
    try socket.send(requests)
    for i in 0..<50 { #expect(try client(server).range(RangeRequest(.key(Array("key\(i)".utf8)))).count == 1) }
    _ = try fill(server, 5)
    // Each is answered, with bytes or with a refusal: 198 answers of 256 KiB would be 50 MB.
    var refused = 0
    for _ in 2..<200 {
      let (header, body) = try socket.frame()
      if header.status != 0 { refused += 1 } else { #expect(body.count >= 256 << 10) }
    }
    #expect(refused < 198)
    try socket.send(frame(.health, [], stream: 500))
    #expect(try socket.frame().header.status == 0)
  }

  @Test func restoringRefuses() throws {
    let directory = try TemporaryDirectory()
    let file = directory.path + "/snapshot"
    let server = try RunningServer(.auto)
    _ = try fill(server, 3)
    var whole: [UInt8] = []
    try client(server).readSnapshot { piece in
      whole += piece.bytes
      return true
    }
    server.stop()
    try write(whole, file)
    func refusal(_ path: String) -> ServerError? {
      do throws(ServerError) { _ = try SnapshotRestore.run(file, to: path) } catch { return error }
      return nil
    }
    // The server's own directory has data in it; a file is no directory.
    #expect(refusal(server.path) == .directoryNotEmpty(path: server.path))
    #expect(refusal(file) == .directoryNotEmpty(path: file))
    let empty = directory.path + "/empty"
    try FileManager.default.createDirectory(atPath: empty, withIntermediateDirectories: false)
    #expect(refusal(empty + "/") == nil)
    #expect(refusal(empty) == .directoryNotEmpty(path: empty))
    // A damaged snapshot leaves nothing.
    try write(Array(whole.dropLast()), file)
    guard case .snapshot(.damaged) = refusal(directory.path + "/new") else {
      Issue.record("a damaged snapshot was restored")
      return
    }
    // An embedded database's snapshot is no server's.
    let other = try Database.open(directory.path + "/db")
    try other.backup(to: file)
    other.close()
    guard case .snapshot = refusal(directory.path + "/new") else {
      Issue.record("a snapshot without a store was restored")
      return
    }
    let names = try FileManager.default.contentsOfDirectory(atPath: directory.path).sorted()
    #expect(names == ["db", "empty", "snapshot"])
  }
}
