// The program as a user runs it, against a small server: standard output, standard error, exit status. Expected texts are
// etcdctl 3.4.23's for the same calls.

import FakeServer
import Foundation
import NeedletailClient
import NeedletailRPC
import Testing

private struct Outcome {
  let status: Int32
  let output: String
  let errors: String
}

/// The program beside the tests' own.
private var programPath: String {
  let folder = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().path
  let candidates = [folder, Bundle.main.bundlePath]
  return candidates.map { $0 + "/needletailctl" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    ?? "needletailctl-is-not-built"
}

private func run(
  _ server: FakeServer?, _ arguments: [String], input: Data = Data(), environment: [String: String] = [:]
) throws -> Outcome {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: programPath)
  process.arguments = arguments + (server.map { ["--endpoints", $0.endpoint.text] } ?? [])
  process.environment = environment
  let (stdin, stdout, stderr) = (Pipe(), Pipe(), Pipe())
  process.standardInput = stdin
  process.standardOutput = stdout
  process.standardError = stderr
  try process.run()
  try stdin.fileHandleForWriting.write(contentsOf: input)
  try stdin.fileHandleForWriting.close()
  let output = stdout.fileHandleForReading.readDataToEndOfFile()
  let errors = stderr.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  return Outcome(
    status: process.terminationStatus, output: String(decoding: output, as: UTF8.self),
    errors: String(decoding: errors, as: UTF8.self))
}

private func run(_ server: FakeServer?, _ arguments: String..., input: String = "") throws -> Outcome {
  try run(server, arguments, input: Data(input.utf8))
}

private let headerJSON = #""header":{"cluster_id":193,"member_id":17,"revision":"#

/// Counts on the server's thread alone.
private final class Counter: @unchecked Sendable {
  private var count = 0

  func next() -> Int {
    count += 1
    return count
  }
}

@Suite(.serialized) struct ProgramTests {
  @Test func putGetDelete() throws {
    let server = try FakeServer()
    defer { server.stop() }
    #expect(try run(server, "put", "foo", "bar").output == "OK\n")
    #expect(try run(server, "put", "foo", "baz", "--prev-kv").output == "OK\nfoo\nbar\n")
    #expect(try run(server, "put", "fromin", input: "stdin value\n").output == "OK\n")
    #expect(try run(server, "get", "foo").output == "foo\nbaz\n")
    #expect(try run(server, "get", "f", "--prefix").output == "foo\nbaz\nfromin\nstdin value\n\n")
    #expect(try run(server, "get", "f", "g", "--limit", "1").output == "foo\nbaz\n")
    #expect(try run(server, "get", "foo", "--hex").output == "\\x66\\x6f\\x6f\n\\x62\\x61\\x7a\n")
    #expect(try run(server, "get", "", "--prefix", "--keys-only").output == "foo\n\nfromin\n\n")
    #expect(try run(server, "get", "", "--from-key", "--print-value-only").output == "baz\nstdin value\n\n")
    #expect(try run(server, "get", "f", "--prefix", "--count-only").output == "2\n")
    #expect(try run(server, "get", "nokey").output == "")
    #expect(try run(server, "del", "foo", "--prev-kv").output == "1\nfoo\nbaz\n")
    #expect(try run(server, "del", "nokey").output == "0\n")
    #expect(try run(server, "del", "", "--prefix").output == "1\n")
  }

  @Test func json() throws {
    let server = try FakeServer()
    defer { server.stop() }
    #expect(
      try run(server, "put", "foo", "bar", "-w", "json").output == "{\(headerJSON)2,\"raft_term\":2}}\n")
    #expect(
      try run(server, "put", "foo", "baz", "-w", "json", "--prev-kv").output
        == "{\(headerJSON)3,\"raft_term\":2},"
        + #""prev_kv":{"key":"Zm9v","create_revision":2,"mod_revision":2,"version":1,"value":"YmFy"}}"# + "\n")
    _ = try run(server, "put", "fop", "")
    #expect(
      try run(server, "get", "f", "g", "--limit", "1", "-w", "json").output
        == "{\(headerJSON)4,\"raft_term\":2},"
        + #""kvs":[{"key":"Zm9v","create_revision":2,"mod_revision":3,"version":2,"value":"YmF6"}],"#
        + "\"more\":true,\"count\":2}\n")
    #expect(
      try run(server, "get", "f", "--prefix", "--keys-only", "-w", "json").output
        == "{\(headerJSON)4,\"raft_term\":2},"
        + #""kvs":[{"key":"Zm9v","create_revision":2,"mod_revision":3,"version":2},"#
        + #"{"key":"Zm9w","create_revision":4,"mod_revision":4,"version":1}],"count":2}"# + "\n")
    #expect(
      try run(server, "get", "f", "--prefix", "--count-only", "-w", "json").output
        == "{\(headerJSON)4,\"raft_term\":2},\"count\":2}\n")
    #expect(try run(server, "get", "nokey", "-w", "json").output == "{\(headerJSON)4,\"raft_term\":2}}\n")
    #expect(
      try run(server, "del", "foo", "-w", "json", "--prev-kv").output
        == "{\(headerJSON)5,\"raft_term\":2},\"deleted\":1,"
        + #""prev_kvs":[{"key":"Zm9v","create_revision":2,"mod_revision":3,"version":2,"value":"YmF6"}]}"# + "\n")
  }

  @Test func fields() throws {
    let server = try FakeServer()
    defer { server.stop() }
    let header = "\"ClusterID\" : 193\n\"MemberID\" : 17\n\"Revision\" : 2\n\"RaftTerm\" : 2\n"
    #expect(try run(server, "put", "foo", "a\nb", "-w", "fields").output == header)
    #expect(
      try run(server, "get", "foo", "-w", "fields").output
        == header + "\"Key\" : \"foo\"\n\"CreateRevision\" : 2\n\"ModRevision\" : 2\n\"Version\" : 1\n"
        + "\"Value\" : \"a\\nb\"\n\"Lease\" : 0\n\"More\" : false\n\"Count\" : 1\n")
    #expect(
      try run(server, "del", "foo", "--prev-kv", "-w", "fields").output
        == header.replacingOccurrences(of: "\"Revision\" : 2", with: "\"Revision\" : 3")
        + "\"Deleted\" : 1\n\"PrevKey\" : \"foo\"\n\"PrevCreateRevision\" : 2\n\"PrevModRevision\" : 2\n"
        + "\"PrevVersion\" : 1\n\"PrevValue\" : \"a\\nb\"\n\"PrevLease\" : 0\n")
  }

  @Test func table() throws {
    let server = try FakeServer()
    defer { server.stop() }
    _ = try run(server, "put", "foo", "a\nb")
    #expect(
      try run(server, "get", "foo", "-w", "table").output == """
        +-----+-------+-----------------+--------------+---------+-------+
        | KEY | VALUE | CREATE REVISION | MOD REVISION | VERSION | LEASE |
        +-----+-------+-----------------+--------------+---------+-------+
        | foo |  a\\nb |               2 |            2 |       1 |     0 |
        +-----+-------+-----------------+--------------+---------+-------+

        """)
    let refused = try run(server, "put", "foo", "x", "-w", "table")
    #expect(refused.status == 1 && refused.errors == "Error: table not supported as output format\n")
    #expect(server.contents[Array("foo".utf8)]?.value == Array("a\nb".utf8))
  }

  @Test func endpoints() throws {
    let server = try FakeServer()
    defer { server.stop() }
    let name = server.endpoint.text
    #expect(
      try run(server, "endpoint", "status").output == "\(name), 11, 0.1.0, 20 kB, true, false, 2, 23, 23, \n")
    #expect(
      try run(server, "endpoint", "status", "-w", "json").output
        == "[{\"Endpoint\":\"\(name)\",\"Status\":{\(headerJSON)1,\"raft_term\":2},"
        + #""version":"0.1.0","dbSize":20480,"leader":17,"raftIndex":23,"raftTerm":2,"raftAppliedIndex":23,"#
        + "\"dbSizeInUse\":16384}}]\n")
    let fields = try run(server, "endpoint", "status", "-w", "fields").output
    #expect(fields.hasSuffix("\"RaftAppliedIndex\" : 23\n\"Errors\" : []\n\"Endpoint\" : \"\(name)\"\n\n"))
    let table = try run(server, "endpoint", "status", "-w", "table").output
    #expect(table.contains("|    ENDPOINT     | ID | VERSION | DB SIZE | IS LEADER |"))
    let health = try run(server, "endpoint", "health")
    #expect(health.status == 0)
    #expect(health.output.hasPrefix("\(name) is healthy: successfully committed proposal: took = "))
    #expect(health.output.hasSuffix("s\n"))
    let json = try run(server, "endpoint", "health", "-w", "json").output
    #expect(json.hasPrefix("[{\"endpoint\":\"\(name)\",\"health\":true,\"took\":\"") && json.hasSuffix("s\"}]\n"))
  }

  @Test func hashesOfEndpoints() throws {
    let server = try FakeServer()
    defer { server.stop() }
    let name = server.endpoint.text
    #expect(try run(server, "endpoint", "hashkv").output == "\(name), 3593804405\n")
    #expect(try run(server, "endpoint", "hashkv", "--rev", "1").output == "\(name), 3593804405\n")
    #expect(
      try run(server, "endpoint", "hashkv", "-w", "json").output
        == "[{\"Endpoint\":\"\(name)\",\"HashKV\":{\(headerJSON)1,\"raft_term\":2},\"hash\":3593804405,\"hash_revision\":1}}]\n"
    )
    #expect(
      try run(server, "endpoint", "hashkv", "-w", "fields").output
        == """
        "ClusterID" : 193
        "MemberID" : 17
        "Revision" : 1
        "RaftTerm" : 2
        "Endpoint" : "\(name)"
        "Hash" : 3593804405


        """)
    #expect(
      try run(server, "endpoint", "hashkv", "-w", "table").output.contains("|    ENDPOINT     |    HASH    |\n"))
    let future = "etcdserver: mvcc: required revision is a future revision"
    let refused = try run(server, "endpoint", "hashkv", "--rev=99", "-w", "json")
    #expect(refused.status == 1 && refused.output == "[]\n")
    #expect(refused.errors == "Failed to get the hash of endpoint \(name) (\(future))\nError: \(future)\n")
  }

  @Test func checks() throws {
    let server = try FakeServer()
    defer { server.stop() }
    for word in ["perf", "datascale"] {
      let unknown = try run(server, "check", word, "--load", "zz")
      #expect(unknown.status == 1 && unknown.errors == "Error: unknown load option zz\n")
      _ = try run(server, "put", "/used/key", "x")
      let used = try run(server, "check", word, "--prefix", "/used/")
      let words = "prefix \"/used/\" has keys. Delete with `needletailctl del --prefix /used/` first"
      #expect(used.status == 1 && used.errors == "Error: \(words)\n")
    }
    // It has no metrics.
    let blind = try run(server, "check", "datascale")
    #expect(blind.status == 1)
    #expect(
      blind.output == "FAIL: Could not read process_resident_memory_bytes before the put operations.\n")
  }

  @Test func alarms() throws {
    let server = try FakeServer()
    defer { server.stop() }
    let lines = "memberID:17 alarm:NOSPACE \nmemberID:5 alarm:CORRUPT \n"
    #expect(try run(server, "alarm", "list").output == lines)
    #expect(try run(server, "alarm", "disarm").output == lines)
    let json = #""alarms":[{"memberID":17,"alarm":1},{"memberID":5,"alarm":2}]}"# + "\n"
    #expect(try run(server, "alarm", "list", "-w", "json").output == "{\(headerJSON)1,\"raft_term\":2}," + json)
    #expect(try run(server, "alarm", "disarm", "-w", "json").output == "{" + json)
    #expect(
      try run(server, "alarm", "list", "-w", "fields").output.hasSuffix(
        "\"RaftTerm\" : 2\n\"MemberID\" : 17\n\"AlarmType\" : NOSPACE\n\n\"MemberID\" : 5\n\"AlarmType\" : CORRUPT\n\n")
    )
    for word in ["list", "disarm"] {
      let table = try run(server, "alarm", word, "-w", "table")
      #expect(table.status == 1 && table.errors == "Error: table not supported as output format\n")
      let arguments = try run(server, "alarm", word, "x")
      #expect(arguments.status == 1 && arguments.errors == "Error: alarm \(word) command accepts no arguments\n")
    }
  }

  @Test func deadEndpoints() throws {
    let (alive, dead) = (try FakeServer(), try FakeServer())
    defer { alive.stop() }
    dead.stop()
    let both = ["--endpoints", "\(alive.endpoint),\(dead.endpoint)", "--dial-timeout", "100ms"]
    let health = try run(nil, ["endpoint", "health"] + both)
    #expect(health.status == 1)
    #expect(health.output.hasPrefix("\(alive.endpoint) is healthy"))
    #expect(health.errors.contains("\(dead.endpoint) is unhealthy: failed to commit proposal: "))
    #expect(health.errors.hasSuffix("Error: unhealthy cluster\n"))
    let status = try run(nil, ["endpoint", "status"] + both)
    #expect(status.status == 1 && status.output.hasPrefix("\(alive.endpoint), 11,"))
    #expect(status.errors.hasPrefix("Failed to get the status of endpoint \(dead.endpoint) ("))
    // One that lives is enough for the others.
    #expect(try run(nil, ["put", "a", "b"] + both).output == "OK\n")
    let lost = try run(nil, ["get", "a", "--endpoints", dead.endpoint.text, "--dial-timeout", "100ms"])
    #expect(lost.status == 1 && lost.errors.contains("connection refused") && lost.output.isEmpty)
  }

  @Test func errorsAndEnvironment() throws {
    let server = try FakeServer()
    defer { server.stop() }
    let empty = try run(server, "get", "")
    #expect(empty.status == 1 && empty.errors == "Error: etcdserver: key is not provided\n")
    let future = try run(server, "get", "a", "--rev", "99")
    #expect(future.errors == "Error: etcdserver: mvcc: required revision is a future revision\n")
    let unknown = try run(nil, "bogus")
    #expect(unknown.status == 1)
    #expect(try run(nil, "get", "--help").output.contains("--print-value-only"))
    #expect(try run(nil, [], environment: [:]).output.contains("COMMANDS:"))
    #expect(try run(nil, "version").output == "needletailctl version: 0.1.0\nAPI version: 3.4\n")
    let environment = ["ETCDCTL_ENDPOINTS": "http://\(server.endpoint)", "ETCDCTL_WRITE_OUT": "json"]
    let seen = try run(nil, ["get", "a"], environment: environment)
    #expect(seen.output == "{\(headerJSON)1,\"raft_term\":2}}\n")
    // A flag counts more than the environment.
    #expect(try run(nil, ["get", "a", "-w", "simple"], environment: environment).output == "")
  }

  @Test func loadAndDump() throws {
    let server = try FakeServer()
    defer { server.stop() }
    server.onRequest { $0.method == .put ? .reverse(count: 50) : .serve }
    let lines = (0..<1_000).map { #"{"key": "k/\#(1_000 + $0)", "value": "\#(String(repeating: "é", count: $0))"}"# }
    let binary = #"{"key64": "//4=", "value64": "AAE="}"#
    let input = lines.joined(separator: "\n") + "\n"
    let loaded = try run(server, "load", "-", input: input)
    #expect(loaded.status == 0 && loaded.output == "loaded 1000\n" && loaded.errors.isEmpty)
    server.onRequest { _ in .serve }
    #expect(try run(server, "load", "-", input: binary).output == "loaded 1\n")
    let dump = try run(server, "dump")
    #expect(dump.output == input + binary + "\n")
    // One question for the revision, and one for everything.
    #expect(
      server.received.filter { $0.method == .range || $0.method == .rangeStream }.map(\.method) == [
        .range, .rangeStream,
      ])
    #expect(try run(server, "dump", "--prefix", "k/19").output == lines[900...].joined(separator: "\n") + "\n")
  }

  /// A large get and a dump go on over a lost connection, where they were.
  @Test func readingGoesOnWhereItWas() throws {
    let server = try FakeServer()
    defer { server.stop() }
    for i in 0..<9 { _ = try run(server, "put", "k\(i)", "v\(i)") }
    let asked = Counter()
    server.onRequest { request in
      guard request.method == .rangeStream else { return .serve }
      return asked.next() <= 2 ? .hangUp : .serve
    }
    let wanted = (0..<9).map { "k\($0)\nv\($0)\n" }.joined()
    #expect(try run(server, "get", "k", "--prefix").output == wanted)
    #expect(server.received.filter { $0.method == .rangeStream }.count == 3)
    let refused = try run(server, "get", "k", "--prefix", "--rev", "99")
    #expect(
      refused.status == 1 && refused.errors == "Error: etcdserver: mvcc: required revision is a future revision\n")
    // Down from the end, and one that ends before it begins.
    #expect(try run(server, "get", "k7", "k9", "--order", "DESCEND").output == "k8\nv8\nk7\nv7\n")
    #expect(try run(server, "get", "k9", "k7").output == "")
  }

  @Test func members() throws {
    let server = try FakeServer()
    defer { server.stop() }
    let header = #""header":{"cluster_id":193,"member_id":17,"raft_term":2}"#
    let one =
      #"{"ID":17,"name":"default","peerURLs":["http://127.0.0.1:2380","http://[::1]:2380"],"clientURLs":["http://127.0.0.1:2379"]}"#
    let other = #"{"ID":241,"peerURLs":["http://127.0.0.1:2381"],"isLearner":true}"#
    #expect(
      try run(server, "member", "list").output == """
        11, started, default, http://127.0.0.1:2380,http://[::1]:2380, http://127.0.0.1:2379, false
        f1, unstarted, , http://127.0.0.1:2381, , true

        """)
    let json = "{\(header),\"members\":[\(one),\(other)]}\n"
    #expect(try run(server, "member", "list", "-w", "json").output == json)
    let table = try run(server, "member", "list", "-w", "table").output
    #expect(table.contains("| ID |  STATUS   |  NAME   |") && table.contains("| 11 |   started | default |"))
    #expect(
      try run(server, "member", "list", "-w", "fields").output == """
        "ClusterID" : 193
        "MemberID" : 17
        "Revision" : 0
        "RaftTerm" : 2
        "ID" : 17
        "Name" : "default"
        "PeerURL" : "http://127.0.0.1:2380"
        "PeerURL" : "http://[::1]:2380"
        "ClientURL" : "http://127.0.0.1:2379"
        "IsLearner" : false

        "ID" : 241
        "Name" : ""
        "PeerURL" : "http://127.0.0.1:2381"
        "IsLearner" : true


        """)
    #expect(
      try run(server, "member", "update", "11", "--peer-urls=http://127.0.0.1:2380").output
        == "Member 11 updated in cluster c1\n")
    #expect(try run(server, "member", "update", "11", "--peer-urls=http://a:1", "-w", "json").output == json)
    #expect(try run(server, "move-leader", "11").output == "Leadership transferred from 11 to 11\n")
    let bad = #"strconv.ParseUint: parsing "zz": invalid syntax"#
    for (line, why) in [
      (["member", "add"], "member name not provided"), (["member", "add", "x"], "member peer urls not provided"),
      (["member", "add", "x", "--peer-urls=http://a:1"], "etcdserver: member not found"),
      (["member", "remove"], "member ID is not provided"), (["member", "remove", "5"], "etcdserver: member not found"),
      (["member", "promote", "zz"], "bad member ID arg (\(bad)), expecting ID in Hex"),
      (["member", "update", "5"], "member peer urls not provided"),
      (["move-leader"], "move-leader command needs 1 argument"),
      (["move-leader", "zz"], bad), (["move-leader", "5"], "etcdserver: bad leader transferee"),
    ] {
      let refused = try run(server, line)
      #expect(refused.status == 1 && refused.errors == "Error: \(why)\n", "\(line)")
    }
    #expect(try run(server, "defrag").output == "Finished defragmenting etcd member[\(server.endpoint.text)]\n")
    let gone = try run(server, "defrag", "--cluster", "--dial-timeout=200ms", "--command-timeout=400ms")
    #expect(gone.status == 1 && gone.errors.hasPrefix("Failed to defragment etcd member[http://127.0.0.1:2379] ("))
  }

  @Test func loadThatFails() throws {
    let server = try FakeServer()
    defer { server.stop() }
    let lines = (0..<100).map { #"{"key": "k\#($0)", "value": "v"}"# }
    // A broken line: everything before it is stored.
    let broken = try run(server, "load", "-", input: (lines[..<40] + ["{oops"] + lines[40...]).joined(separator: "\n"))
    #expect(broken.status == 1 && broken.output == "loaded 40\n" && server.contents.count == 40)
    #expect(broken.errors.contains("standard input, line 41: expected a string at byte 2"))
    #expect(broken.errors.contains("go on with --skip 40"))
    // Going on where it ended.
    let rest = try run(server, "load", "-", "--skip", "40", input: lines.joined(separator: "\n"))
    #expect(rest.status == 0 && rest.output == "loaded 100\n" && server.contents.count == 100)
    #expect(server.received.filter { $0.method == .put }.count == 100)
    // The server goes away in the middle.
    server.onRequest { $0.key == Array("k70".utf8) ? .hangUp : .serve }
    let cut = try run(server, "load", "-", input: lines.joined(separator: "\n"))
    #expect(cut.status == 1 && cut.output == "loaded 70\n")
    #expect(cut.errors.contains("go on with --skip 70"))
    // The server refuses one line.
    server.onRequest { $0.key == Array("k7".utf8) ? .fail(.resourceExhausted, "no room") : .serve }
    let refused = try run(server, "load", "-", input: lines.joined(separator: "\n"))
    #expect(refused.status == 1 && refused.output == "loaded 7\n")
    #expect(refused.errors.hasPrefix("Error: standard input, line 8: no room\n"))
    let missing = try run(server, "load", "/nonexistent/file")
    #expect(missing.status == 1 && missing.errors.hasPrefix("Error: can't open /nonexistent/file: "))
    let short = try run(server, "load", "-", "--skip", "5", input: lines[0])
    #expect(short.status == 1 && short.errors.contains("has only 1 lines, --skip says 5"))
  }
}
