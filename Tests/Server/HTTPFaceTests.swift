// The HTTP/1.1 face over real sockets.
import Foundation
import NeedletailRPC
import NeedletailServer
import Testing

@Suite(.serialized) struct HTTPFaceTests {
  private func ask(_ server: RunningServer, _ request: String) throws -> String {
    let socket = try PlainSocket(server.port)
    try socket.send(request)
    socket.finishSending()
    return try socket.text()
  }

  private func statusLine(_ answer: String) -> Substring { answer.prefix { $0 != "\r\n" } }

  private func undated(_ answer: String) -> [Substring] {
    answer.split(separator: "\r\n").filter { !$0.hasPrefix("Date: ") }
  }

  private func body(_ answer: String) -> String {
    answer.range(of: "\r\n\r\n").map { String(answer[$0.upperBound...]) } ?? ""
  }

  @Test(arguments: [ReactorKind.epoll, .ioUring]) func pagesAreServed(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    let health = try ask(server, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    #expect(health.hasPrefix("HTTP/1.1 200 OK\r\n") && body(health) == "{\"health\":\"true\",\"reason\":\"\"}")
    let version = try ask(server, "GET /version?x=y HTTP/1.0\r\n\r\n")
    #expect(version.contains("Connection: close") && body(version).contains("\"etcdserver\":\"\(Version.compatible)\""))
    let head = try ask(server, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    #expect(statusLine(head).contains("200") && head.contains("Content-Length: ") && body(head) == "")
    #expect(statusLine(try ask(server, "HEAD /health HTTP/1.1\r\n\r\n")).contains("405"))
    #expect(statusLine(try ask(server, "GET /nope HTTP/1.1\r\n\r\n")).contains("404"))
    let post = try ask(server, "POST /health HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
    #expect(statusLine(post).contains("405") && post.contains("Allow: GET\r\n") && post.contains("Connection: close"))
    #expect(statusLine(try ask(server, "GET / HTTP/1.1\r\n folded: x\r\n\r\n")).contains("400"))
    #expect(statusLine(try ask(server, "GET nonsense\r\n\r\n")).contains("400"))
    let long = String(repeating: "a", count: 40_000)
    #expect(statusLine(try ask(server, "GET / HTTP/1.1\r\nX-Long: \(long)\r\n\r\n")).contains("431"))
    #expect(statusLine(try ask(server, "GET /\(long) HTTP/1.1\r\n\r\n")).contains("431"))
    #expect(statusLine(try ask(server, "GET /health HTTP/1.1\r\nHost")).contains("408"))
  }

  @Test func pipelinedRequestsAreAnsweredInOrderWhicheverWayTheyAreCut() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    let requests =
      "GET /health HTTP/1.1\r\nA: b\r\n\r\nGET /nope HTTP/1.1\n\nGET /version HTTP/1.1\r\nConnection: close\r\n\r\n"
    let whole = try ask(server, requests)
    let parts = whole.components(separatedBy: "HTTP/1.1 ").dropFirst().map { $0.prefix(3) }
    #expect(parts == ["200", "404", "200"])
    let bytes = Array(requests.utf8)
    for cut in stride(from: 1, to: bytes.count, by: 3) {
      let socket = try PlainSocket(server.port)
      try socket.send(Array(bytes[..<cut]))
      usleep(300)
      try socket.send(Array(bytes[cut...]))
      #expect(try undated(socket.text()) == undated(whole), "cut at \(cut)")
    }
  }

  @Test func metricsCountWhatWasHandled() throws {
    let server = try RunningServer(.epoll)
    defer { server.stop() }
    let socket = try PlainSocket(server.port)
    try socket.send(preface)
    _ = try socket.frame()
    for i in 1...3 {
      try socket.send(frame(.put, putBody("k\(i)", [1]), stream: UInt32(i)))
      #expect(try socket.frame().header.status == 0)
    }
    try socket.send(frame(.range, rangeBody("k1"), stream: 4) + frame(.range, [], stream: 5))
    _ = try socket.frame()
    _ = try socket.frame()
    let page = body(try ask(server, "GET /metrics HTTP/1.1\r\n\r\n"))
    var samples: [String: Double] = [:]
    for line in page.split(separator: "\n") where !line.hasPrefix("#") {
      let parts = line.split(separator: " ")
      #expect(parts.count == 2, "\(line)")
      samples[String(parts[0])] = Double(parts[1])
    }
    func of(_ name: String, _ method: String, _ more: String = "") -> Double? {
      samples["\(name){grpc_type=\"unary\",grpc_service=\"etcdserverpb.KV\",grpc_method=\"\(method)\"\(more)}"]
    }
    #expect(of("grpc_server_started_total", "Put") == 3)
    #expect(of("grpc_server_handled_total", "Put", ",grpc_code=\"OK\"") == 3)
    #expect(of("grpc_server_handling_seconds_count", "Put") == 3)
    #expect(of("grpc_server_handling_seconds_bucket", "Put", ",le=\"+Inf\"") == 3)
    #expect(of("grpc_server_handled_total", "Range", ",grpc_code=\"OK\"") == 1)
    #expect(of("grpc_server_handled_total", "Range", ",grpc_code=\"InvalidArgument\"") == 1)
    #expect(samples["etcd_mvcc_put_total"] == 3 && samples["etcd_server_proposals_applied_total"] == 3)
    #expect(samples["etcd_server_has_leader"] == 1 && (samples["process_resident_memory_bytes"] ?? 0) > 1e6)
    let written = samples["etcd_disk_wal_fsync_duration_seconds_count"] ?? 0
    #expect(written >= 1 && written <= 3 && (samples["etcd_disk_wal_fsync_duration_seconds_sum"] ?? 0) > 0)
    #expect((samples["etcd_disk_backend_commit_duration_seconds_count"] ?? 0) >= 1)
    #expect((samples["etcd_mvcc_db_total_size_in_bytes"] ?? 0) > 0)
  }

  @Test func latencyBucketsMeetPowersOfTwo() {
    #expect(LatencyHistogram.bucket(0) == 0 && LatencyHistogram.bucket(3) == 3 && LatencyHistogram.bucket(4) == 4)
    var last = -1
    for exponent in 2..<64 {
      for quarter in 0..<4 as Range<UInt64> {
        let low = (UInt64(1) << UInt64(exponent)) + quarter << UInt64(exponent - 2)
        let bucket = LatencyHistogram.bucket(low)
        #expect(bucket > last && bucket < LatencyHistogram.bucketCount)
        if low > 4 { #expect(LatencyHistogram.bucket(low - 1) == bucket - 1) }
        last = bucket
      }
    }
    #expect(LatencyHistogram.bucket(.max) == last)
  }
}
