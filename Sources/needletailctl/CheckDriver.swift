// Many clients that put at once, each on a connection of its own with one request at a time, fed from one queue.

import Glibc
import NeedletailClient
import NeedletailServer

/// What the clients are given to do.
enum CheckLoad {
  /// So many puts a second, evenly, for so long. What the clients fall behind is not made up for.
  case rate(perSecond: Int, seconds: Int)
  case count(Int)
}

/// Sendable: the queue and the results are guarded by the monitor.
final class CheckDriver: @unchecked Sendable {
  private let options: GlobalOptions
  private let clients: Int
  private let monitor = Monitor()
  /// Puts that wait for a client: at most as many as there are clients.
  private var queued = 0
  private var isOver = false
  private var latencies: [Double] = []
  private var errors: [String: Int] = [:]

  init(_ options: GlobalOptions, clients: Int) {
    self.options = options
    self.clients = clients
  }

  func run(_ load: CheckLoad, prefix: [UInt8], keyBytes: Int, valueBytes: Int) throws(Failure) -> CheckReport {
    let started = Instant.now
    var threads: [Thread] = []
    for _ in 0..<clients {
      do {
        threads.append(
          try Thread("client") { self.work(prefix, keyBytes: keyBytes, valueBytes: valueBytes) })
      } catch {
        end(threads)
        throw .message("\(error)")
      }
    }
    feed(load, started)
    end(threads)
    let seconds = Double((Instant.now - started).wholeNanoseconds) / 1e9
    return CheckReport(latencies: latencies, errors: errors, seconds: seconds)
  }

  private func end(_ threads: [Thread]) {
    monitor.locked {
      isOver = true
      monitor.signal()
    }
    for thread in threads { thread.join() }
  }

  private func feed(_ load: CheckLoad, _ started: Instant) {
    switch load {
    case .count(let count):
      for at in 0..<count {
        push()
        if at % (max(1, count / 100)) == 0 { StandardError.write("\r\(at) / \(count)") }
      }
      StandardError.write("\r\(count) / \(count)\n")
    case .rate(let rate, let seconds):
      let interval = Duration.nanoseconds(1_000_000_000 / rate)
      let end = started + .seconds(Int64(seconds))
      var due = started
      var shown = 0
      while true {
        let now = Instant.now
        guard now < end else { break }
        if now < due { usleep(UInt32(clamping: (due - now).wholeNanoseconds / 1_000 + 1)) }
        // A put that had to wait for room delays those after it, too.
        due = max(due + interval, now)
        push()
        let passed = Int((now - started).wholeNanoseconds / 1_000_000_000)
        if passed != shown {
          shown = passed
          StandardError.write("\r\(passed) / \(seconds) s")
        }
      }
      StandardError.write("\r\(seconds) / \(seconds) s\n")
    }
  }

  private func push() {
    monitor.locked {
      while queued >= clients { monitor.wait() }
      queued += 1
      monitor.signal()
    }
  }

  private func take() -> Bool {
    monitor.locked {
      while queued == 0, !isOver { monitor.wait() }
      guard queued > 0 else { return false }
      queued -= 1
      monitor.signal()
      return true
    }
  }

  private func work(_ prefix: [UInt8], keyBytes: Int, valueBytes: Int) {
    let client = options.makeClient()
    var key = prefix + [UInt8](repeating: 0, count: keyBytes)
    let value = [UInt8](repeating: 0, count: valueBytes)
    while take() {
      withUnsafeBytes(of: UInt64.random(in: 0...UInt64.max)) { random in
        for (at, byte) in random.enumerated() { key[prefix.count + at] = byte }
      }
      let started = Instant.now
      var failure: String?
      do { _ = try client.put(PutRequest(key: key, value: value)) } catch { failure = error.description }
      let seconds = Double((Instant.now - started).wholeNanoseconds) / 1e9
      monitor.locked {
        if let failure { errors[failure, default: 0] += 1 } else { latencies.append(seconds) }
      }
    }
  }
}

struct CheckReport {
  let latencies: [Double]
  let errors: [String: Int]
  let seconds: Double

  private var rate: Double { Double(latencies.count) / seconds }
  private var slowest: Double { latencies.max() ?? 0 }
  private var deviation: Double {
    guard !latencies.isEmpty else { return 0 }
    let mean = latencies.reduce(0, +) / Double(latencies.count)
    return (latencies.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(latencies.count)).squareRoot()
  }

  func showErrors() -> Bool {
    if errors.isEmpty { return true }
    StandardOutput.write("FAIL: too many errors\n")
    for (text, count) in errors.sorted(by: { $0.key < $1.key }) {
      StandardOutput.write("FAIL: ERROR(\(text)) -> \(count)\n")
    }
    return false
  }

  /// etcdctl's four criteria; true where all are met.
  func show(rate wanted: Int) -> Bool {
    var passes = showErrors()
    let writes = Int(rate) + 1
    if rate / Double(wanted) <= 0.9 {
      StandardOutput.write("FAIL: Throughput too low: \(writes) writes/s\n")
      passes = false
    } else {
      StandardOutput.write("PASS: Throughput is \(writes) writes/s\n")
    }
    if slowest > 0.5 {
      StandardOutput.write("Slowest request took too long: \(CheckReport.fixed(slowest, 6))s\n")
      passes = false
    } else {
      StandardOutput.write("PASS: Slowest request took \(CheckReport.fixed(slowest, 6))s\n")
    }
    if deviation > 0.1 {
      StandardOutput.write("Stddev too high: \(CheckReport.fixed(deviation, 6))s\n")
      passes = false
    } else {
      StandardOutput.write("PASS: Stddev is \(CheckReport.fixed(deviation, 6))s\n")
    }
    StandardOutput.write(passes ? "PASS\n" : "FAIL\n")
    return passes
  }

  /// As C's %.*f.
  static func fixed(_ value: Double, _ digits: Int) -> String {
    let scale = (0..<digits).reduce(1) { scale, _ in scale * 10 }
    let rounded = Int64((abs(value) * Double(scale)).rounded())
    let fraction = String(rounded % Int64(scale))
    let zeros = String(repeating: "0", count: digits - fraction.count)
    return (value < 0 && rounded > 0 ? "-" : "") + "\(rounded / Int64(scale)).\(zeros)\(fraction)"
  }
}
