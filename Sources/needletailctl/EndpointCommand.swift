// endpoint status, health, hashkv: how each of the given servers is. All are asked at once.

import NeedletailClient
import NeedletailRPC

extension Command {
  static let endpointStatus = Command(
    words: ["endpoint", "status"], usage: "",
    summary: "Prints out the status of endpoints specified in `--endpoints` flag",
    details: """
      When --write-out is set to simple, this command prints out comma-separated status lists for each endpoint.
      The items in the lists are endpoint, ID, version, db size, is leader, is learner, raft term, raft index,
      raft applied index, errors.
      """
  ) { line throws(Failure) in try EndpointCommand.status(line) }

  static let endpointHealth = Command(
    words: ["endpoint", "health"], usage: "",
    summary: "Checks the healthiness of endpoints specified in `--endpoints` flag"
  ) { line throws(Failure) in try EndpointCommand.health(line) }

  static let endpointHashKV = Command(
    words: ["endpoint", "hashkv"], usage: "",
    summary: "Prints the KV history hash for each endpoint in --endpoints",
    details: "Hashes of two endpoints can be compared if both have compacted to the same revision.",
    flags: [Flag("rev", value: "REVISION", "maximum revision to hash (default: all revisions)")]
  ) { line throws(Failure) in try EndpointCommand.hashKV(line) }
}

enum EndpointCommand {
  static func status(_ line: ParsedLine) throws(Failure) {
    guard line.arguments.isEmpty else { throw .message("endpoint status command takes no arguments") }
    let options = try GlobalOptions(line)
    let client = options.makeClient()
    var rows: [EndpointStatus] = []
    var failed = false
    for (endpoint, answer) in zip(client.endpoints, client.askAll(.status)) {
      do throws(ClientError) {
        let body = try answer.result.get()
        let status = try decode(body) { bytes throws(ProtoError) in try StatusResponse(bytes) }
        rows.append(EndpointStatus(endpoint: endpoint.text, status: status))
      } catch {
        StandardError.write("Failed to get the status of endpoint \(endpoint) (\(error))\n")
        failed = true
      }
    }
    EndpointOutput(format: options.format).statuses(rows)
    if failed { throw .reported }
  }

  static func hashKV(_ line: ParsedLine) throws(Failure) {
    let options = try GlobalOptions(line)
    let request = HashKVRequestView(try line.number("rev") ?? 0)
    let client = options.makeClient()
    var rows: [EndpointHash] = []
    var failure: ClientError?
    for (endpoint, answer) in zip(client.endpoints, client.askAll(.hashKV, request.encoded())) {
      do throws(ClientError) {
        let hash = try decode(try answer.result.get()) { bytes throws(ProtoError) in try HashResponse(bytes) }
        rows.append(EndpointHash(endpoint: endpoint.text, answer: hash))
      } catch {
        StandardError.write("Failed to get the hash of endpoint \(endpoint) (\(error))\n")
        failure = error
      }
    }
    EndpointOutput(format: options.format).hashes(rows)
    if let failure { throw .client(failure) }
  }

  static func health(_ line: ParsedLine) throws(Failure) {
    guard line.arguments.isEmpty else { throw .message("endpoint health command takes no arguments") }
    let options = try GlobalOptions(line)
    let client = options.makeClient()
    let rows = zip(client.endpoints, client.askAll(.health)).map { endpoint, answer in
      var failure: String?
      if case .failure(let error) = answer.result { failure = error.description }
      return EndpointHealth(endpoint: endpoint.text, took: DurationText.format(answer.took), failure: failure)
    }
    EndpointOutput(format: options.format).healths(rows)
    if rows.contains(where: { $0.failure != nil }) { throw .message("unhealthy cluster") }
  }
}
