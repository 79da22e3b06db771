// load: puts pairs from a file of JSON lines, many at once on one connection.
//
// What counts is what is surely stored: the longest start of the file of which every line was answered. Answers may come
// in any order, so lines answered beyond a gap are remembered until the gap closes. Stopped anywhere, the same file goes
// on with --skip at that count; lines after it that were stored already are simply put again, in order.

import Glibc
import NeedletailClient
import NeedletailRPC

extension Command {
  static let load = Command(
    words: ["load"], usage: "FILE|-", summary: "Puts pairs from a file of JSON lines, pipelined",
    details: """
      Each line is {"key": "...", "value": "..."}, or {"key64": "...", "value64": "..."} with base64.
      The last line of standard output is 'loaded N': the first N lines of the file are stored. It is printed after a
      failure too, with exit status 1; 'load FILE --skip N' then goes on where it ended.
      """,
    flags: [
      Flag("skip", value: "N", "leave out the first N lines, which are stored already"),
      Flag("window", value: "N", "most requests on their way at a time (1024)"),
    ]
  ) { line throws(Failure) in try LoadCommand.run(line) }
}

enum LoadCommand {
  static func run(_ line: ParsedLine) throws(Failure) {
    let options = try GlobalOptions(line)
    guard let path = line.arguments.first, line.arguments.count == 1 else {
      throw .message("load command needs one argument: a file, or - for standard input")
    }
    let skip = try line.number("skip") ?? 0
    let window = try line.number("window") ?? Int64(FrameLimits.streams)
    guard skip >= 0 else { throw .badFlag("skip", line.bytes("skip") ?? [], "it is not negative") }
    guard window > 0, window <= 1 << 20 else {
      throw .badFlag("window", line.bytes("window") ?? [], "it lies between 1 and 1048576")
    }
    let file = try InputFile(path)
    let connection = try connect(options)
    let loader = Loader(file, connection, window: Int(window), timeout: options.commandTimeout)
    var failure: Failure?
    do {
      try loader.skip(UInt64(skip))
      try loader.load()
    } catch { failure = error }
    loader.progress.finish(loader.stored, file)
    StandardOutput.write("loaded \(loader.stored)\n")
    guard let failure else { return }
    if case .message(let why) = failure {
      throw .message("\(why)\n\(loader.stored) lines are surely stored; go on with --skip \(loader.stored)")
    }
    throw failure
  }

  /// The first server that accepts. Goes on asking as long as a server may take to accept.
  private static func connect(_ options: GlobalOptions) throws(Failure) -> ClientConnection {
    let start = Instant.now
    while true {
      var whys: [String] = []
      for endpoint in options.endpoints {
        do {
          return try ClientConnection.connect(to: endpoint, deadline: Instant.now + options.dialTimeout)
        } catch { whys.append(error.description) }
      }
      if Instant.now - start >= options.dialTimeout { throw .message(whys.joined(separator: "; ")) }
      usleep(25_000)
    }
  }
}

/// Invariants: lines [0, stored) are stored; `ahead` holds lines > stored that are too; `linesInFlight` maps streams to
/// the lines sent and not answered, and its bytes are `bytesInFlight`.
final class Loader {
  /// Bytes on their way at a time: enough for any link, little for any memory.
  static let bytesWindow = 16 << 20

  private(set) var stored: UInt64 = 0
  var progress = Progress()

  private let file: InputFile
  private let connection: ClientConnection
  private let window: Int
  private let timeout: Duration
  private var lineNumber: UInt64 = 0
  private var ahead: Set<UInt64> = []
  private var linesInFlight: [UInt32: (line: UInt64, bytes: Int)] = [:]
  private var bytesInFlight = 0

  init(_ file: InputFile, _ connection: ClientConnection, window: Int, timeout: Duration) {
    self.file = file
    self.connection = connection
    self.window = window
    self.timeout = timeout
  }

  /// Steps over the first lines, which are stored already.
  func skip(_ count: UInt64) throws(Failure) {
    while lineNumber < count {
      guard try file.nextLine() != nil else {
        throw .message("\(file.name) has only \(lineNumber) lines, --skip says \(count)")
      }
      lineNumber += 1
      stored += 1
    }
    progress.begin(stored, file)
  }

  func load() throws(Failure) {
    var reader = PairLineReader()
    var inputFailure: Failure?
    do {
      while let line = try file.nextLine() {
        try submit(line, &reader)
        try takeAnswers(downTo: window - 1)
        progress.update(stored, file)
      }
    } catch {
      // A broken line or file does not undo what is on its way: it is waited for, and then reported.
      inputFailure = error
      if case .closed = connection.state { throw error }
    }
    try takeAnswers(downTo: 0)
    if let inputFailure { throw inputFailure }
  }

  private func submit(_ line: UnsafeRawBufferPointer, _ reader: inout PairLineReader) throws(Failure) {
    do { try reader.read(line) } catch { throw .message("\(file.name), line \(lineNumber + 1): \(error)") }
    var request = PutRequestView()
    request.key = reader.key
    request.value = reader.value
    let stream = connection.submit(.put, request)
    linesInFlight[stream] = (lineNumber, line.count)
    bytesInFlight += line.count
    lineNumber += 1
  }

  /// Takes answers until at most `limit` requests and the window of bytes are on their way. Between two answers at most
  /// the timeout passes.
  private func takeAnswers(downTo limit: Int) throws(Failure) {
    do throws(ClientError) {
      while linesInFlight.count > limit || bytesInFlight > Loader.bytesWindow && !linesInFlight.isEmpty {
        try take(try connection.receive(deadline: Instant.now + timeout))
      }
    } catch {
      takeLastAnswers()
      throw .client(error)
    }
  }

  /// Answers that came before the connection broke still count.
  private func takeLastAnswers() {
    do throws(ClientError) {
      while let answer = try connection.next() { try take(answer) }
    } catch {
      // The first error is the one to report.
    }
  }

  private func take(_ answer: Answer) throws(ClientError) {
    guard let (line, bytes) = linesInFlight.removeValue(forKey: answer.stream) else {
      throw .protocolViolation("\(connection.endpoint) answered a request that was not made")
    }
    bytesInFlight -= bytes
    if let error = answer.error {
      throw .server(StatusError(error.code, "\(file.name), line \(line + 1): \(error.message)"))
    }
    guard line == stored else {
      ahead.insert(line)
      return
    }
    stored += 1
    while !ahead.isEmpty, ahead.remove(stored) != nil { stored += 1 }
  }
}
