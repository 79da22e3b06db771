// check perf, check datascale: whether the servers keep up with a workload, and what memory data takes. etcdctl's
// workloads, criteria and words.

import NeedletailClient

extension Command {
  private static let loads = "s(small), m(medium), l(large), xl(xLarge)"
  private static let compact = Flag("auto-compact", "compact storage with last revision after test is finished")
  private static let afterwards = Flag("auto-defrag", "give free space back to the file system after test is finished")

  static let checkPerf = Command(
    words: ["check", "perf"], usage: "", summary: "Check the performance of the etcd cluster",
    details: "Puts at a set rate from many clients for a minute, then deletes what it has put.",
    flags: [
      compact, afterwards,
      Flag("load", value: "LOAD", "the performance check's workload model: \(loads) (s)"),
      Flag("prefix", value: "PREFIX", "the prefix for writing the performance check's keys (/etcdctl-check-perf/)"),
    ]
  ) { line throws(Failure) in try CheckCommand.perf(line) }

  static let checkDatascale = Command(
    words: ["check", "datascale"], usage: "",
    summary: "Check the memory usage of holding data for different workloads on a given server endpoint",
    details: "If multiple endpoints are provided, first endpoint will be used.",
    flags: [
      compact, afterwards,
      Flag("load", value: "LOAD", "the datascale check's workload model: \(loads) (s)"),
      Flag("prefix", value: "PREFIX", "the prefix for writing the datascale check's keys (/etcdctl-check-datascale/)"),
    ]
  ) { line throws(Failure) in try CheckCommand.datascale(line) }
}

enum CheckCommand {
  private struct Options {
    let global: GlobalOptions
    let model: WorkloadModel
    let prefix: [UInt8]
    let compacts: Bool
    let defragments: Bool

    init(_ line: ParsedLine, prefix standard: String) throws(Failure) {
      guard line.arguments.isEmpty else { throw .message("unexpected arguments") }
      global = try GlobalOptions(line)
      let load = line.text("load") ?? "s"
      guard let model = WorkloadModel(load) else { throw .message("unknown load option \(load)") }
      self.model = model
      prefix = line.bytes("prefix") ?? Array(standard.utf8)
      compacts = line.isOn("auto-compact")
      defragments = line.isOn("auto-defrag")
    }
  }

  static func perf(_ line: ParsedLine) throws(Failure) {
    let options = try Options(line, prefix: "/etcdctl-check-perf/")
    let client = options.global.makeClient()
    try refuseUsedPrefix(options.prefix, client)
    let workload = PerformanceWorkload(options.model)
    let driver = CheckDriver(options.global, clients: workload.clients)
    let report = try driver.run(
      .rate(perSecond: workload.rate, seconds: workload.seconds), prefix: options.prefix, keyBytes: 256,
      valueBytes: 1_024)
    try cleanUp(options, client)
    if !report.show(rate: workload.rate) { throw .reported }
  }

  static func datascale(_ line: ParsedLine) throws(Failure) {
    let options = try Options(line, prefix: "/etcdctl-check-datascale/")
    let first = options.global.endpoints[0]
    let client = BlockingClient([first], timeout: options.global.commandTimeout)
    try refuseUsedPrefix(options.prefix, client)
    let workload = DatascaleWorkload(options.model)
    let before = try memory(of: first, "before")
    StandardOutput.write(
      "Start data scale check for work load [\(workload.pairs) key-value pairs, 1024 bytes per key-value, "
        + "\(workload.clients) concurrent clients].\n")
    StandardOutput.flush()
    let driver = CheckDriver(options.global, clients: workload.clients)
    let report = try driver.run(
      .count(workload.pairs), prefix: options.prefix, keyBytes: 512, valueBytes: 512)
    let after = try memory(of: first, "after")
    try cleanUp(options, client)
    guard report.showErrors() else { throw .reported }
    let megabytes = (Double(after) - Double(before)) / (1024 * 1024)
    StandardOutput.write("PASS: Approximate system memory used : \(CheckReport.fixed(megabytes, 2)) MB.\n")
  }

  private static func refuseUsedPrefix(_ prefix: [UInt8], _ client: BlockingClient) throws(Failure) {
    var request = RangeRequest(.prefix(prefix))
    request.limit = 1
    do {
      guard try !client.range(request).kvs.isEmpty else { return }
    } catch { throw .client(error) }
    let text = String(decoding: prefix, as: UTF8.self)
    throw .message(
      "prefix \"\(text)\" has keys. Delete with `needletailctl del --prefix \(text)` first")
  }

  private static func cleanUp(_ options: Options, _ client: BlockingClient) throws(Failure) {
    do {
      client.timeout = .seconds(30)
      let revision = try client.deleteRange(DeleteRangeRequest(.prefix(options.prefix))).header.revision
      if options.compacts {
        StandardOutput.write("Compacting with revision \(revision)\n")
        _ = try client.compact(revision, physical: true)
        StandardOutput.write("Compacted with revision \(revision)\n")
      }
      guard options.defragments else { return }
      for (endpoint, answer) in zip(client.endpoints, client.askAll(.defragment)) {
        StandardOutput.write("Defragmenting \"\(endpoint.text)\"\n")
        _ = try answer.result.get()
        StandardOutput.write("Defragmented \"\(endpoint.text)\"\n")
      }
    } catch { throw .client(error) }
  }

  private static func memory(of endpoint: Endpoint, _ when: String) throws(Failure) -> UInt64 {
    let name = "process_resident_memory_bytes"
    var page = ""
    do { page = try MetricsDownload.page(of: endpoint) } catch { page = "" }
    for line in page.split(separator: "\n") where line.hasPrefix(name + " ") {
      if let bytes = UInt64(line.dropFirst(name.count + 1)), bytes > 0 { return bytes }
    }
    StandardOutput.write("FAIL: Could not read \(name) \(when) the put operations.\n")
    throw .reported
  }
}

enum WorkloadModel {
  case small, medium, large, xLarge

  init?(_ text: String) {
    switch text {
    case "s", "small": self = .small
    case "m", "medium": self = .medium
    case "l", "large": self = .large
    case "xl", "xLarge": self = .xLarge
    default: return nil
    }
  }
}

/// etcdctl's figures.
struct PerformanceWorkload {
  let rate: Int
  let clients: Int
  let seconds = 60

  init(_ model: WorkloadModel) {
    switch model {
    case .small: (rate, clients) = (150, 50)
    case .medium: (rate, clients) = (1_000, 200)
    case .large: (rate, clients) = (8_000, 500)
    case .xLarge: (rate, clients) = (15_000, 1_000)
    }
  }
}

struct DatascaleWorkload {
  let pairs: Int
  let clients: Int

  init(_ model: WorkloadModel) {
    switch model {
    case .small: (pairs, clients) = (10_000, 50)
    case .medium: (pairs, clients) = (100_000, 200)
    case .large: (pairs, clients) = (1_000_000, 500)
    case .xLarge: (pairs, clients) = (3_000_000, 1_000)
    }
  }
}
