// lease grant, revoke, timetolive, list, keep-alive.

import Glibc
import NeedletailClient

extension Command {
  static let leaseGrant = Command(
    words: ["lease", "grant"], usage: "TTL", summary: "Creates leases", details: "TTL is in seconds."
  ) { line throws(Failure) in try LeaseCommand.grant(line) }

  static let leaseRevoke = Command(
    words: ["lease", "revoke"], usage: "ID", summary: "Revokes leases", details: "Deletes the keys attached to it, too."
  ) { line throws(Failure) in try LeaseCommand.revoke(line) }

  static let leaseTimeToLive = Command(
    words: ["lease", "timetolive"], usage: "ID", summary: "Get lease information",
    flags: [Flag("keys", "get keys attached to this lease")]
  ) { line throws(Failure) in try LeaseCommand.timeToLive(line) }

  static let leaseList = Command(
    words: ["lease", "list"], usage: "", summary: "List all active leases"
  ) { line throws(Failure) in try LeaseCommand.list(line) }

  static let leaseKeepAlive = Command(
    words: ["lease", "keep-alive"], usage: "ID", summary: "Keeps leases alive (renew)",
    flags: [Flag("once", "resets the keep-alive time to its original value and exits immediately")]
  ) { line throws(Failure) in try LeaseCommand.keepAlive(line) }
}

enum LeaseCommand {
  static func grant(_ line: ParsedLine) throws(Failure) {
    guard let argument = line.arguments.first, line.arguments.count == 1 else {
      throw .message("lease grant command needs TTL argument")
    }
    let text = String(decoding: argument, as: UTF8.self)
    guard let ttl = Int64(text) else {
      throw .message("bad TTL (strconv.ParseInt: parsing \"\(text)\": invalid syntax)")
    }
    let (client, output) = try prepare(line)
    do { output.granted(try client.grantLease(ttl: ttl)) } catch {
      throw .message("failed to grant lease (\(error))")
    }
  }

  static func revoke(_ line: ParsedLine) throws(Failure) {
    let id = try id(line, "lease revoke command needs 1 argument")
    let (client, output) = try prepare(line)
    do { output.revoked(id, try client.revokeLease(id)) } catch { throw .message("failed to revoke lease (\(error))") }
  }

  static func timeToLive(_ line: ParsedLine) throws(Failure) {
    let id = try id(line, "lease timetolive command needs lease ID as argument")
    let (client, output) = try prepare(line)
    let keys = line.isOn("keys")
    do { output.timeToLive(try client.leaseTimeToLive(id, keys: keys), keys: keys) } catch { throw .client(error) }
  }

  static func list(_ line: ParsedLine) throws(Failure) {
    guard line.arguments.isEmpty else { throw .message("lease list command takes no arguments") }
    let (client, output) = try prepare(line)
    do { output.list(try client.listLeases()) } catch { throw .client(error) }
  }

  /// Renews three times a TTL, until the lease is gone.
  static func keepAlive(_ line: ParsedLine) throws(Failure) {
    let id = try id(line, "lease keep-alive command needs lease ID as argument")
    let (client, output) = try prepare(line)
    if line.isOn("once") {
      let answer: LeaseResponse
      do { answer = try client.keepLeaseAlive(id) } catch { throw .client(error) }
      guard answer.ttl > 0 else { throw .message("etcdserver: requested lease not found") }
      return output.keptAlive(answer)
    }
    let keeper = LeaseKeeper(client.dispatcher)
    var end: Result<Void, ClientError>?
    var isRead = true
    _ = keeper.keep(id) { answer in
      output.keptAlive(answer)
      isRead = StandardOutput.flush()
    } ended: { error in
      end = error.map { .failure($0) } ?? .success(())
    }
    while end == nil, isRead {
      let next = keeper.turn()
      client.dispatcher.step(until: next)
    }
    if case .failure(let error) = end { throw .client(error) }
    StandardOutput.write("lease \(LeaseOutput.hex(id)) expired or revoked.\n")
  }

  private static func prepare(_ line: ParsedLine) throws(Failure) -> (BlockingClient, LeaseOutput) {
    let options = try GlobalOptions(line)
    if options.format == .table { throw KeyValueOutput.noTable }
    return (options.makeClient(), LeaseOutput(format: options.format))
  }

  private static func id(_ line: ParsedLine, _ usage: String) throws(Failure) -> Int64 {
    guard let argument = line.arguments.first, line.arguments.count == 1 else { throw .message(usage) }
    let text = String(decoding: argument, as: UTF8.self)
    guard let id = Int64(text, radix: 16) else {
      throw .message("bad lease ID arg (strconv.ParseInt: parsing \"\(text)\": invalid syntax), expecting ID in Hex")
    }
    return id
  }
}
