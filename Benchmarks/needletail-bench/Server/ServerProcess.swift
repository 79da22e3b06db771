// A server under measurement: started on a free port in a folder of its own, on processors of its own where there are two or
// more, stopped and killed with the benchmark whatever happens.
import CNeedletail
import Foundation
import Glibc

enum ServerName: String, CaseIterable {
  case needletail
  case needletailGRPC = "needletail-grpc"
  case redis, etcd
  /// Another etcd, to be named with `--etcd2`.
  case etcd2

  var face: String {
    switch self {
    case .needletail: "native"
    case .needletailGRPC, .etcd, .etcd2: "grpc"
    case .redis: "resp"
    }
  }

  var configuration: String {
    switch self {
    case .needletail, .needletailGRPC: "defaults but no quota, durable puts"
    case .redis: "appendonly yes, appendfsync always, save none"
    case .etcd, .etcd2: "defaults but a quota of 8 GiB, one member, durable puts, serializable ranges"
    }
  }

  /// Ready later than it listens; its `/health` tells when.
  var answersHealth: Bool { self != .redis }

  fileprivate func command(program: String?, port: UInt16, peerPort: UInt16, folder: String) -> [String] {
    let url = "http://127.0.0.1:\(port)"
    switch self {
    case .needletail, .needletailGRPC:
      return [
        program ?? Self.besideThisProgram("needletail"), "--data-dir", folder + "/data",
        "--listen-client-urls", url, "--advertise-client-urls", url, "--quota-backend-bytes", "-1",
      ]
    case .redis:
      return [
        program ?? "redis-server", "--port", "\(port)", "--bind", "127.0.0.1", "--dir", folder, "--save", "",
        "--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no",
      ]
    case .etcd, .etcd2:
      let peer = "http://127.0.0.1:\(peerPort)"
      return [
        program ?? "etcd", "--data-dir", folder + "/data", "--listen-client-urls", url, "--advertise-client-urls", url,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer,
        "--quota-backend-bytes", "\(8 << 30)",
      ]
    }
  }

  private static func besideThisProgram(_ name: String) -> String {
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? "./needletail-bench"
    return URL(fileURLWithPath: own).deletingLastPathComponent().appendingPathComponent(name).path
  }
}

final class ServerProcess {
  let name: ServerName
  let port: UInt16
  private let process = Process()
  private let log: String

  /// `processors`: a list as taskset's, or nil for no pinning.
  init(_ name: ServerName, program: String?, folder: String, processors: String?) throws {
    self.name = name
    port = try Self.freePort()
    log = folder + "/log"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    guard FileManager.default.createFile(atPath: log, contents: nil), let output = FileHandle(forWritingAtPath: log)
    else {
      throw BenchError("cannot write \(log)")
    }
    var command = ["setpriv", "--pdeathsig", "KILL"]
    if let processors { command += ["taskset", "-c", processors] }
    command += name.command(program: program, port: port, peerPort: try Self.freePort(), folder: folder)
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = command
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = output
    process.standardError = output
    try process.run()
    do { try waitUntilReady() } catch {
      stop()
      throw error
    }
  }

  deinit { stop() }

  private static func freePort() throws -> UInt16 {
    let socket = try openSocket()
    defer { close(socket) }
    var address = loopbackAddress(port: 0)
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let code = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(socket, $0, size) == 0 ? getsockname(socket, $0, &size) : -1
      }
    }
    guard code == 0 else { throw BenchError("no free port: \(String(cString: strerror(errno)))") }
    return UInt16(bigEndian: address.sin_port)
  }

  private func waitUntilReady() throws {
    for _ in 0..<10_000 {
      guard process.isRunning else { throw BenchError("\(name.rawValue) ended at once:\n\(lastWords)") }
      if name.answersHealth ? isHealthy : isListening { return }
      usleep(1_000)
    }
    throw BenchError("\(name.rawValue) was not ready within 10 s:\n\(lastWords)")
  }

  private var isListening: Bool {
    guard let socket = try? connectToLoopback(port: port) else { return false }
    close(socket)
    return true
  }

  private var isHealthy: Bool {
    guard let socket = try? connectToLoopback(port: port) else { return false }
    defer { close(socket) }
    let request = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    guard send(socket, request, request.utf8.count, Int32(MSG_NOSIGNAL)) == request.utf8.count else { return false }
    var answer: [UInt8] = []
    var some = [UInt8](repeating: 0, count: 4096)
    while case let count = recv(socket, &some, some.count, 0), count > 0 { answer += some.prefix(count) }
    return String(decoding: answer, as: UTF8.self).contains("\"health\":\"true\"")
  }

  /// The end of what the server said.
  var lastWords: String {
    let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
    return text.split(separator: "\n").suffix(10).joined(separator: "\n")
  }

  /// User and system time of all the server's threads so far, in ns; the kernel counts it in ticks of 10 ms.
  func processorNanoseconds() throws -> UInt64 {
    let path = "/proc/\(process.processIdentifier)/stat"
    let text = try String(contentsOfFile: path, encoding: .utf8)
    // The name in parentheses may hold anything; the fields after it are numbers, utime and stime the 12th and 13th.
    let fields = text[(text.lastIndex(of: ")") ?? text.startIndex)...].split(separator: " ")
    guard fields.count > 13, let user = UInt64(fields[12]), let system = UInt64(fields[13]) else {
      throw BenchError("cannot read \(path)")
    }
    return (user + system) * 1_000_000_000 / UInt64(sysconf(Int32(_SC_CLK_TCK)))
  }

  var processIdentifier: Int32 { process.processIdentifier }

  /// At once, without a word.
  func kill() {
    guard process.isRunning else { return }
    Glibc.kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
  }

  func stop() {
    guard process.isRunning else { return }
    process.terminate()
    for _ in 0..<100 where process.isRunning { usleep(50_000) }
    kill()
    process.waitUntilExit()
  }
}
