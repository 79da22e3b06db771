// watch: what happens to keys, as it happens or from a revision on; with a program to run for each event, or interactive.

import Glibc
import NeedletailClient

extension Command {
  static let watch = Command(
    words: ["watch"], usage: "[KEY] [RANGE_END] [--] [PROGRAM ARGUMENT…]",
    summary: "Watches events stream on keys or prefixes",
    details: """
      Shows every change of a key, of the keys in [KEY, RANGE_END), or with --prefix of all that begin with KEY, from
      revision --rev on or from now on. When a server is lost it goes on at another where it was.
      ETCDCTL_WATCH_KEY and ETCDCTL_WATCH_RANGE_END may name the keys instead.

      A program behind -- is run for each event, with ETCD_WATCH_REVISION, ETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY and
      ETCD_WATCH_VALUE in its environment.

      With -i, lines of standard input say what to do:
        watch [OPTIONS] KEY [RANGE_END] [-- PROGRAM …]
        progress
        cancel NUMBER     ends the watch that was begun so manieth, from 1 on
      """,
    flags: WatchCommand.flags + [Flag("interactive", short: "i", "interactive mode")]
  ) { line throws(Failure) in try WatchCommand.run(line) }
}

enum WatchCommand {
  static let flags = [
    Flag("prefix", "watch all keys that begin with KEY"),
    Flag("rev", value: "REVISION", "revision to start watching at (0: now)"),
    Flag("prev-kv", "show the pair as it was before the event"),
    Flag("progress-notify", "have the server tell how far it is when nothing happens"),
  ]

  static func run(_ line: ParsedLine) throws(Failure) {
    let options = try GlobalOptions(line)
    if options.format == .table { throw KeyValueOutput.noTable }
    let environment = try WatchEnvironment()
    let output = WatchOutput(format: options.format, hex: options.hex)
    let loop = WatchLoop(options.makeClient(), output)
    if line.isOn("interactive") {
      try loop.runInteractively(environment)
    } else {
      loop.begin(try WatchLine(line, environment))
      try loop.run()
    }
  }
}

/// Keys that the environment names.
struct WatchEnvironment {
  let key: [UInt8]?
  let rangeEnd: [UInt8]?

  init() throws(Failure) {
    key = WatchEnvironment.bytes("ETCDCTL_WATCH_KEY")
    rangeEnd = WatchEnvironment.bytes("ETCDCTL_WATCH_RANGE_END")
    if key == nil, let rangeEnd {
      throw .message("ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END=\(ChildProcess.quoted(rangeEnd))")
    }
  }

  private static func bytes(_ name: String) -> [UInt8]? {
    guard let value = getenv(name), value.pointee != 0 else { return nil }
    return [UInt8](UnsafeRawBufferPointer(start: value, count: strlen(value)))
  }
}

/// What one watch is to be: its request, and the program to run.
struct WatchLine {
  let request: WatchRequest
  let program: [[UInt8]]

  init(_ line: ParsedLine, _ environment: WatchEnvironment) throws(Failure) {
    var keys = line.arguments
    var program: [[UInt8]] = []
    if let at = line.separatorAt {
      program = Array(keys[at...])
      keys = Array(keys[..<at])
      guard !program.isEmpty else {
        throw .message("bad number of arguments (found separator --, but no commands)")
      }
    }
    if let key = environment.key {
      // The arguments can only be the program.
      program = keys + program
      keys = [key] + (environment.rangeEnd.map { [$0] } ?? [])
    }
    guard let key = keys.first else { throw .message("bad number of arguments") }
    if keys.count > 2 {
      program = keys[2...] + program
      keys = Array(keys[..<2])
    }
    if line.isOn("prefix"), keys.count == 2 {
      throw .message("`range_end` and `--prefix` are mutually exclusive")
    }
    let end = keys.count == 2 ? keys[1] : []
    var request = WatchRequest(line.isOn("prefix") ? .prefix(key) : end.isEmpty ? .key(key) : .range(key, end: end))
    request.startRevision = try line.number("rev") ?? 0
    request.prevKV = line.isOn("prev-kv")
    request.progressNotify = line.isOn("progress-notify")
    self.request = request
    self.program = program
  }
}

/// Turns the client's wheel, shows what comes, and obeys standard input.
private final class WatchLoop {
  private let client: BlockingClient
  private let session: WatchSession
  private let output: WatchOutput
  private var watches: [WatchSession.Watch] = []
  private var failure: Failure?
  private var input: [UInt8] = []
  private var isInteractive = false

  init(_ client: BlockingClient, _ output: WatchOutput) {
    self.client = client
    self.output = output
    session = WatchSession(client.dispatcher)
  }

  func begin(_ line: WatchLine) {
    watches.append(
      session.watch(line.request) { [unowned self] response in
        take(response, line.program)
      } ended: { [unowned self] error in
        end(error)
      })
  }

  private func take(_ response: WatchResponse, _ program: [[UInt8]]) {
    guard failure == nil, !response.created || response.canceled else { return }
    if response.canceled {
      // What was shown before comes first.
      StandardOutput.flush()
      let reason = response.compactRevision != 0 ? ClientError.compacted(0).description : response.cancelReason
      StandardError.write("watch was canceled (\(reason))\n")
    }
    if response.isProgress { StandardOutput.write("progress notify: \(response.header.revision)\n") }
    output.show(response)
    if !StandardOutput.flush() { failure = .reported }
    guard !program.isEmpty else { return }
    for event in response.events where failure == nil { run(program, event, response.header.revision) }
  }

  private func run(_ program: [[UInt8]], _ event: WatchEvent, _ revision: Int64) {
    let variables = [
      "ETCD_WATCH_REVISION=\(revision)", "ETCD_WATCH_EVENT_TYPE=\"\(WatchOutput.name(event.kind))\"",
      "ETCD_WATCH_KEY=" + ChildProcess.quoted(event.kv.key), "ETCD_WATCH_VALUE=" + ChildProcess.quoted(event.kv.value),
    ]
    guard let why = ChildProcess.run(program, variables: variables.map { Array($0.utf8) }) else { return }
    let words = program.map { ChildProcess.quoted($0) }.joined(separator: " ")
    StandardError.write("command [\(words)] error (\(why))\n")
    failure = .reported
  }

  private func end(_ error: ClientError) {
    // Interactively, others may go on.
    if isInteractive, case .server = error { return }
    if isInteractive, case .compacted = error { return }
    switch error {
    case .compacted, .server: failure = failure ?? .message("watch is canceled by the server")
    default: failure = failure ?? .client(error)
    }
  }

  func run() throws(Failure) {
    while failure == nil { client.dispatcher.step(until: .never) }
    if let failure { throw failure }
  }

  // MARK: Interactive

  func runInteractively(_ environment: WatchEnvironment) throws(Failure) {
    isInteractive = true
    while failure == nil {
      client.dispatcher.step(until: .never, wake: STDIN_FILENO)
      try readInput(environment)
    }
    if let failure { throw failure }
  }

  /// Takes in what standard input has, if it has anything.
  private func readInput(_ environment: WatchEnvironment) throws(Failure) {
    var entry = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
    guard poll(&entry, 1, 0) > 0 else { return }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = read(STDIN_FILENO, &bytes, bytes.count)
    if count < 0, errno == EINTR { return }
    guard count > 0 else {
      throw .message("Error reading watch request line: \(count == 0 ? "EOF" : String(cString: strerror(errno)))")
    }
    input += bytes[..<count]
    while let end = input.firstIndex(of: UInt8(ascii: "\n")) {
      let line = Array(input[..<end])
      input.removeFirst(end + 1)
      try obey(line, environment)
    }
  }

  private func obey(_ line: [UInt8], _ environment: WatchEnvironment) throws(Failure) {
    let text = String(decoding: line, as: UTF8.self)
    let words = try TxnScript.words(line)
    switch words.first.map({ String(decoding: $0, as: UTF8.self) }) {
    case nil: StandardError.write("Invalid command: \(text) (watch and progress supported)\n")
    case "watch":
      guard words.count > 1 || environment.key != nil else {
        return StandardError.write("Invalid command \(text) (command type or key is not provided)\n")
      }
      begin(try WatchLine(try Command.watch.parse(Array(words.dropFirst())), environment))
    case "progress": session.requestProgress()
    case "cancel":
      guard words.count == 2, let number = Int(String(decoding: words[1], as: UTF8.self)),
        watches.indices.contains(number - 1)
      else { return StandardError.write("Invalid command \(text) (no such watch)\n") }
      session.cancel(watches[number - 1])
    default: StandardError.write("Invalid command \(text) (only support watch)\n")
    }
  }
}
