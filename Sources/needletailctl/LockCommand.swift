// lock and elect: held as long as this program, or the one that it runs, lives.

import Glibc
import NeedletailClient

extension Command {
  static let lock = Command(
    words: ["lock"], usage: "NAME [PROGRAM ARGUMENT…]", summary: "Acquires a named lock",
    details: """
      Waits for the lock, shows its key and holds it until SIGINT or SIGTERM; or runs the program, with ETCD_LOCK_KEY and
      ETCD_LOCK_REV in its environment, and holds the lock as long as it runs.
      """,
    flags: [Flag("ttl", value: "SECONDS", "how long the lock outlives a holder that vanished (10)")]
  ) { line throws(Failure) in try LockCommand.lock(line) }

  static let elect = Command(
    words: ["elect"], usage: "NAME [PROPOSAL]", summary: "Observes and participates in leader election",
    details: "Waits for leadership, shows its key and the proposal, and leads until SIGINT or SIGTERM.",
    flags: [Flag("listen", short: "l", "observation mode")]
  ) { line throws(Failure) in try LockCommand.elect(line) }
}

enum LockCommand {
  static func lock(_ line: ParsedLine) throws(Failure) {
    guard let name = line.arguments.first else {
      throw .message("lock takes a lock name argument and an optional command to execute")
    }
    let program = Array(line.arguments.dropFirst())
    let ttl = try line.number("ttl") ?? 10
    try perform(line) { (client, output) throws(ClientError) in
      let session = try await Session(client, ttl: ttl)
      let lock = try await Lock.acquire(String(decoding: name, as: UTF8.self), session)
      let held = try await client.range(RangeRequest(.key(lock.key)))
      guard !held.kvs.isEmpty else { return .message("lock lost on init") }
      var failure: Failure?
      if program.isEmpty {
        output.range(held)
        StandardOutput.flush()
        await session.waitUntilOver()
        if !Task.isCancelled { failure = .message("session expired") }
      } else {
        let variables = [Array("ETCD_LOCK_KEY=".utf8) + lock.key, Array("ETCD_LOCK_REV=\(held.header.revision)".utf8)]
        failure = ChildProcess.run(program, variables: variables).map { .message($0) }
      }
      try await finish { () throws(ClientError) in try await lock.release() }
      try await finish { () throws(ClientError) in try await session.close() }
      return failure
    }
  }

  static func elect(_ line: ParsedLine) throws(Failure) {
    guard let first = line.arguments.first, line.arguments.count <= 2 else {
      throw .message("elect takes one election name argument and an optional proposal argument")
    }
    let name = String(decoding: first, as: UTF8.self)
    let proposal = line.arguments.count == 2 ? line.arguments[1] : nil
    if line.isOn("listen") {
      guard proposal == nil else { throw .message("proposal given but -l is set") }
      return try perform(line) { (client, output) throws(ClientError) in
        do {
          for try await leader in Election.observe(name, client) {
            output.range(leader)
            StandardOutput.flush()
          }
        } catch let error as ClientError {
          throw error
        } catch {
          return nil
        }
        return Task.isCancelled ? nil : .message("elect: observer lost")
      }
    }
    guard let proposal else { throw .message("no proposal argument but -l not set") }
    try perform(line) { (client, output) throws(ClientError) in
      let session = try await Session(client)
      let election = try await Election.campaign(name, value: proposal, session)
      output.range(try await client.range(RangeRequest(.key(election.key))))
      StandardOutput.flush()
      await session.waitUntilOver()
      guard Task.isCancelled else { return .message("elect: session expired") }
      try await finish { () throws(ClientError) in try await election.resign() }
      try await finish { () throws(ClientError) in try await session.close() }
      return nil
    }
  }

  /// What must be done though the task is cancelled.
  private static func finish(
    _ body: @escaping @Sendable () async throws(ClientError) -> Void
  ) async throws(ClientError) {
    let outcome = await Task.detached { () -> ClientError? in
      do throws(ClientError) {
        try await body()
        return nil
      } catch {
        return error
      }
    }.value
    if let outcome { throw outcome }
  }

  // MARK: A task that signals cancel

  private typealias Body = @Sendable (Client, KeyValueOutput) async throws(ClientError) -> Failure?

  /// What the task came to. Sendable: written before the signal that is read after.
  private final class Outcome: @unchecked Sendable {
    var failure: Failure?
  }

  /// Runs the body in a task, which SIGINT and SIGTERM cancel, and waits for its end.
  private static func perform(_ line: ParsedLine, _ body: @escaping Body) throws(Failure) {
    let options = try GlobalOptions(line)
    if options.format == .table { throw KeyValueOutput.noTable }
    // Every thread made from here on leaves these signals to this one.
    var signals = sigset_t()
    sigemptyset(&signals)
    for signal in [SIGINT, SIGTERM, SIGUSR1] { sigaddset(&signals, signal) }
    pthread_sigmask(SIG_BLOCK, &signals, nil)
    let client: Client
    do {
      client = try Client(
        endpoints: options.endpoints, timeout: options.commandTimeout, dialTimeout: options.dialTimeout)
    } catch {
      throw .client(error)
    }
    let outcome = Outcome()
    let output = KeyValueOutput(format: options.format, hex: options.hex)
    let task = Task {
      do throws(ClientError) { outcome.failure = try await body(client, output) } catch {
        outcome.failure = .client(error)
      }
      kill(getpid(), SIGUSR1)
    }
    var signal: Int32 = 0
    while sigwait(&signals, &signal) == 0, signal != SIGUSR1 { task.cancel() }
    client.close()
    if let failure = outcome.failure { throw failure }
  }
}
