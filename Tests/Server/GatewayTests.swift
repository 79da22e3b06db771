// The JSON gateway byte by byte: cuts, pipelining, bad input, streams and their ends.
import Foundation
import Glibc
import NeedletailRPC
import NeedletailServer
import NeedletailSnapshot
import Testing

private func post(_ path: String, _ body: String, _ fields: String = "") -> String {
  "POST /v3/\(path) HTTP/1.1\r\nHost: x\r\n\(fields)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
}

private func chunked(_ path: String, _ parts: [String]) -> String {
  let chunks = parts.map { String($0.utf8.count, radix: 16) + "\r\n\($0)\r\n" }.joined()
  return "POST /v3/\(path) HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\(chunks)0\r\n\r\n"
}

private func base64(_ text: String) -> String { Data(text.utf8).base64EncodedString() }

private func ask(_ server: RunningServer, _ request: String) throws -> String {
  let socket = try PlainSocket(server.port)
  try socket.send(request)
  socket.finishSending()
  return try socket.text()
}

private func codes(_ answers: String) -> [Substring] {
  answers.components(separatedBy: "HTTP/1.1 ").dropFirst().map { $0.prefix(3) }
}

/// What is left when ids and times are taken out.
private func settled(_ answers: String) -> [Substring] {
  answers.split(separator: "\r\n").filter { !$0.hasPrefix("Date: ") }
}

extension PlainSocket {
  /// Everything up to the text's end, or what came before the other side ended.
  func text(upTo end: String) throws -> String {
    var bytes: [UInt8] = []
    while !String(decoding: bytes, as: UTF8.self).hasSuffix(end) {
      let more = try receive(atMost: 1)
      if more.isEmpty { break }
      bytes += more
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

@Suite(.serialized) struct GatewayTests {
  @Test(arguments: [ReactorKind.epoll, .ioUring]) func callsWhateverTheCuts(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    #expect(codes(try ask(server, post("kv/put", #"{"key":"YQ==","value":"MQ=="}"#))) == ["200"])
    // Reads around a write that changes nothing they read: the same whenever it is run.
    let requests =
      post("kv/range", #"{"key":"YQ=="}"#) + chunked("kv/deleterange", [#"{"key":"#, #""Yg=="}"#])
      + post("kv/range", "nonsense") + chunked("kv/range", [#"{"key":"YQ=="}"#])
      + "GET /version HTTP/1.1\r\nConnection: close\r\n\r\n"
    let whole = try ask(server, requests)
    #expect(codes(whole) == ["200", "200", "400", "200", "200"])
    let pair = #"{"key":"YQ==","create_revision":"2","mod_revision":"2","version":"1","value":"MQ=="}"#
    #expect(whole.contains(#""kvs":[\#(pair)],"count":"1""#))
    #expect(whole.contains(#"{"error":"invalid character 'o' in literal null (expecting 'u')","message":"#))
    let bytes = Array(requests.utf8)
    for cut in stride(from: 1, to: bytes.count, by: 7) {
      let socket = try PlainSocket(server.port)
      try socket.send(Array(bytes[..<cut]))
      usleep(300)
      try socket.send(Array(bytes[cut...]))
      #expect(try settled(socket.text()) == settled(whole), "cut at \(cut)")
    }
  }

  /// Line by line, as etcd's messages; what is sent behind it is answered behind it, and one that is given up leaves nothing.
  @Test(arguments: [ReactorKind.epoll, .ioUring]) func aSnapshotIsStreamed(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    for i in 0..<60 {
      let value = Data((0..<20_000).map { _ in UInt8.random(in: 0...255) }).base64EncodedString()
      #expect(codes(try ask(server, post("kv/put", #"{"key":"\#(base64("k\(i)"))","value":"\#(value)"}"#))) == ["200"])
    }
    for request in [post("maintenance/snapshot", "{}"), post("maintenance/snapshot", "")] {
      let answers = try ask(server, request + post("kv/range", #"{"key":"a2V5"}"#))
      #expect(codes(answers) == ["200", "200"])
      var file = Data()
      var left: [Int] = []
      for line in answers.components(separatedBy: #"{"result":"#).dropFirst() {
        let blob = try #require(line.components(separatedBy: #""blob":""#).last?.prefix { $0 != "\"" })
        let bytes = try #require(Data(base64Encoded: String(blob)))
        #expect(!bytes.isEmpty && bytes.count <= 32 << 10)
        file += bytes
        let rest = line.components(separatedBy: #""remaining_bytes":""#).dropFirst().first?.prefix { $0 != "\"" }
        if let rest, let count = Int(rest) { left.append(count + file.count) }
      }
      #expect(file.count > 1_200_000 && left.allSatisfy { $0 == file.count })
      let folder = try TemporaryDirectory()
      try file.write(to: URL(fileURLWithPath: folder.path + "/snapshot"))
      try SnapshotReader(folder.path + "/snapshot").verify()
    }
    let socket = try PlainSocket(server.port)
    try socket.send(post("maintenance/snapshot", "{}"))
    _ = try socket.receive(exactly: 1_000)
    withExtendedLifetime(socket) {}
    let refused = try ask(server, post("maintenance/snapshot", "["))
    #expect(codes(refused) == ["500"])
  }

  @Test func manyPipelinedWritesAreAnsweredInOrder() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    let requests = (1...300).map { post("kv/put", #"{"key":"a2V5","value":"\#(base64("\($0)"))"}"#) }
    let answers = try ask(server, requests.joined() + post("kv/range", #"{"key":"a2V5"}"#))
    #expect(codes(answers).count == 301 && codes(answers).allSatisfy { $0 == "200" })
    let parts = answers.components(separatedBy: #""revision":""#).dropFirst()
    let revisions = parts.compactMap { Int($0.prefix { $0 != "\"" }) }
    #expect(revisions == Array(2...301) + [301])
    #expect(answers.hasSuffix(#""version":"300","value":"MzAw"}],"count":"1"}"#))
  }

  @Test func badRequestsHaveTypedAnswers() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    let head = "POST /v3/kv/range HTTP/1.1\r\n"
    for (request, code) in [
      (post("kv/range", "{"), "400"), (post("kv/range", String(repeating: "[", count: 100_000)), "400"),
      (post("kv/range", #"{"key":"YQ==","limit":"# + String(repeating: "9", count: 50_000) + "}"), "400"),
      (post("kv/range", #"{"key":"!"}"#), "400"), (post("kv/nope", "{}"), "404"),
      (post("auth/enable", "{}"), "501"), (head + "\r\n", "400"),
      (head + "Content-Length: 10\r\n\r\n{", "400"), (head + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "400"),
      (head + "Transfer-Encoding: chunked\r\n\r\n5\r\nab", "400"), (head + "Transfer-Encoding: gzip\r\n\r\n", "501"),
      (head + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400"),
      (head + "Content-Length: 123456789\r\n\r\n", "400"),
      ("GET /v3/kv/range HTTP/1.1\r\n\r\n", "405"), ("PUT /v3/kv/put HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", "405"),
      (post("watch", "["), "500"), (post("lease/keepalive", #"{"ID":{}}"#), "500"),
    ] {
      let answer = try ask(server, request)
      #expect(codes(answer) == [code[...]], "\(request.prefix(80)): \(answer.prefix(80))")
    }
    // Words that wait for the server's.
    let socket = try PlainSocket(server.port)
    try socket.send(head + "Expect: 100-continue\r\nContent-Length: 14\r\n\r\n")
    #expect(try socket.text(upTo: "\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n")
    try socket.send(#"{"key":"YQ=="}"#)
    #expect(try socket.text(upTo: "}").contains("200 OK"))
  }

  @Test func bodiesAreBounded() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    // A body in chunks that never ends is answered all the same.
    let socket = try PlainSocket(server.port)
    try socket.send("POST /v3/kv/put HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    let chunk = "10000\r\n" + String(repeating: " ", count: 1 << 16) + "\r\n"
    var sent = 0
    while sent < 200, (try? socket.send(chunk)) != nil { sent += 1 }
    #expect(codes((try? socket.text()) ?? "") == ["400"] || sent < 200)
    // Many heads whose bodies do not come cost nothing but their connections.
    let idle = try (0..<200).map { _ in try PlainSocket(server.port) }
    for one in idle { try one.send("POST /v3/kv/put HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n{") }
    #expect(codes(try ask(server, post("kv/range", #"{"key":"YQ=="}"#))) == ["200"])
  }

  @Test func stalledBodiesAreGivenUp() throws {
    var limits = ReactorLimits()
    limits.stall_ms = 300
    let server = try RunningServer(.auto, limits: limits)
    defer { server.stop() }
    let socket = try PlainSocket(server.port)
    try socket.send("POST /v3/kv/put HTTP/1.1\r\nContent-Length: 100\r\n\r\n{\"key\":")
    #expect(codes(try socket.text()) == ["408"])
  }

  @Test(arguments: [ReactorKind.epoll, .ioUring]) func watchesStreamAndEndWithTheirClients(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    let watch = try PlainSocket(server.port)
    let create = #"{"create_request":{"key":"YQ==","range_end":"eg==","prev_kv":true}}"#
    try watch.send(post("watch", create))
    let head = try watch.text(upTo: "\r\n\r\n")
    #expect(head.contains("200 OK") && head.contains("Transfer-Encoding: chunked\r\n"))
    #expect(try watch.text(upTo: "\n\r\n").hasSuffix(#""created":true}}"# + "\n\r\n"))
    // Requests behind it are not its own.
    try watch.send(post("kv/range", "{}"))
    for i in 1...3 {
      _ = try ask(server, post("kv/put", #"{"key":"Yg==","value":"\#(base64("\(i)"))"}"#))
      let line = try watch.text(upTo: "\n\r\n")
      #expect(line.contains(#""mod_revision":"\#(i + 1)""#) && line.contains("prev_kv") == (i > 1), "\(line)")
    }
    #expect(server.node.watch.figures.watchers.load(ordering: .relaxed) == 1)
    watch.finishSending()
    let deadline = Date() + 20
    while server.node.watch.figures.streams.load(ordering: .relaxed) > 0, Date() < deadline { usleep(2_000) }
    #expect(server.node.watch.figures.streams.load(ordering: .relaxed) == 0)
  }

  @Test func messagesOfAStreamComeInAnyCut() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    #expect(codes(try ask(server, post("lease/grant", #"{"TTL":100,"ID":7}"#))) == ["200"])
    let request = chunked("lease/keepalive", [#"{"I"#, #"D":7} {"ID":"7"}{"#, #""ID":9}"#]) + post("kv/range", "{}")
    let bytes = Array(request.utf8)
    for cut in stride(from: 1, to: bytes.count, by: 5) {
      let socket = try PlainSocket(server.port)
      try socket.send(Array(bytes[..<cut]))
      usleep(300)
      try socket.send(Array(bytes[cut...]))
      socket.finishSending()
      let answer = try socket.text()
      #expect(codes(answer) == ["200", "400"], "cut at \(cut)")
      #expect(answer.components(separatedBy: #""ID":"7","TTL":"100"}}"#).count == 3, "cut at \(cut): \(answer)")
      #expect(answer.contains(#""ID":"9"}}"#) && answer.contains("\r\n0\r\n\r\nHTTP/1.1 400"), "cut at \(cut)")
    }
    // More of them than may be under way at once.
    let many = try ask(server, post("lease/keepalive", String(repeating: #"{"ID":7}"#, count: 1_000)))
    #expect(many.components(separatedBy: #""TTL":"100""#).count == 1_001 && many.hasSuffix("0\r\n\r\n"))
    // HTTP/1.0 knows no chunks: the answer ends with the connection.
    let old = #"{"ID":7}"#
    let plain = try ask(server, "POST /v3/lease/keepalive HTTP/1.0\r\nContent-Length: \(old.count)\r\n\r\n\(old)")
    #expect(plain.contains("Connection: close") && !plain.contains("chunked"))
    #expect(plain.hasSuffix(#""TTL":"100"}}"# + "\n"))
  }

  @Test func largeRangesComeInPieces() throws {
    let server = try RunningServer(.auto) { $0.inlineAnswerLimit = 64 << 10 }
    defer { server.stop() }
    let value = Data(repeating: 7, count: 10_000).base64EncodedString()
    for i in 0..<60 {
      let put = post("kv/put", #"{"key":"\#(base64("k\(100 + i)"))","value":"\#(value)"}"#)
      #expect(codes(try ask(server, put)) == ["200"])
    }
    let query = post("kv/range", #"{"key":"aw==","range_end":"bA=="}"#)
    let answer = try ask(server, query + post("kv/range", #"{"key":"bg=="}"#))
    #expect(codes(answer) == ["200", "200"] && answer.contains("Transfer-Encoding: chunked"))
    let body = answer.components(separatedBy: "\r\n\r\n")[1]
    var text = ""
    var lines = body.components(separatedBy: "\r\n")[...]
    while let size = lines.popFirst().flatMap({ Int($0, radix: 16) }), size > 0, let data = lines.popFirst() {
      #expect(data.utf8.count == size)
      text += data
    }
    let object = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    #expect((object["kvs"] as? [[String: Any]])?.count == 60 && object["count"] as? String == "60")
    #expect((object["header"] as? [String: Any])?["revision"] as? String == "61" && server.hasReaders(0))
  }

  @Test func originsAndHosts() throws {
    var options = HTTPOptions()
    options.origins = ["http://good"]
    options.hosts = ["localhost"]
    let server = try RunningServer(.auto, http: options)
    defer { server.stop() }
    let good = try ask(server, "GET /health HTTP/1.1\r\nHost: LOCALHOST:2379\r\nOrigin: http://good\r\n\r\n")
    #expect(codes(good) == ["200"] && good.contains("Access-Control-Allow-Origin: http://good\r\n"))
    let other = try ask(server, "GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: http://bad\r\n\r\n")
    #expect(codes(other) == ["200"] && !other.contains("Access-Control"))
    #expect(codes(try ask(server, "GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n")) == ["421"])
    #expect(codes(try ask(server, "OPTIONS /v3/kv/put HTTP/1.1\r\nHost: localhost\r\n\r\n")) == ["200"])
  }
}
