// member list, add, remove, update, promote; move-leader; defrag.

import NeedletailClient
import NeedletailRPC

extension Command {
  static let memberList = Command(
    words: ["member", "list"], usage: "", summary: "Lists all members in the cluster",
    details: """
      When --write-out is set to simple, this command prints out comma-separated member lists for each endpoint.
      The items in the lists are ID, Status, Name, Peer Addrs, Client Addrs, Is Learner.
      """
  ) { line throws(Failure) in try MemberCommand.list(line) }

  private static let peerURLs = Flag(
    "peer-urls", value: "URLS", "comma separated peer URLs of the member")

  static let memberAdd = Command(
    words: ["member", "add"], usage: "NAME --peer-urls=URLS", summary: "Adds a member into the cluster",
    flags: [peerURLs, Flag("learner", "indicates if the new member is raft learner")]
  ) { line throws(Failure) in try MemberCommand.add(line) }

  static let memberRemove = Command(
    words: ["member", "remove"], usage: "ID", summary: "Removes a member from the cluster"
  ) { line throws(Failure) in try MemberCommand.change(line, .memberRemove) }

  static let memberUpdate = Command(
    words: ["member", "update"], usage: "ID --peer-urls=URLS", summary: "Updates a member in the cluster",
    flags: [peerURLs]
  ) { line throws(Failure) in try MemberCommand.change(line, .memberUpdate) }

  static let memberPromote = Command(
    words: ["member", "promote"], usage: "ID", summary: "Promotes a non-voting member in the cluster"
  ) { line throws(Failure) in try MemberCommand.change(line, .memberPromote) }

  static let moveLeader = Command(
    words: ["move-leader"], usage: "ID", summary: "Transfers leadership to another etcd cluster member."
  ) { line throws(Failure) in try MemberCommand.moveLeader(line) }

  static let defrag = Command(
    words: ["defrag"], usage: "",
    summary: "Has the members with given endpoints give free space back",
    details: "Reads and writes go on meanwhile.",
    flags: [Flag("cluster", "use all endpoints from the cluster member list")]
  ) { line throws(Failure) in try MemberCommand.defrag(line) }
}

enum MemberCommand {
  static func list(_ line: ParsedLine) throws(Failure) {
    let options = try GlobalOptions(line)
    do { MemberOutput(format: options.format).list(try options.makeClient().members()) } catch {
      throw .client(error)
    }
  }

  static func add(_ line: ParsedLine) throws(Failure) {
    guard line.arguments.count == 1 else {
      throw .message(line.arguments.isEmpty ? "member name not provided" : "too many arguments")
    }
    var request = MemberRequest(.urls)
    request.peerURLs = try urls(line)
    request.isLearner = line.isOn("learner")
    let answer = try ask(line, .memberAdd, request)
    let id = String(answer.added?.id ?? 0, radix: 16)
    show(line, answer, "Member \(id) added to cluster")
  }

  static func change(_ line: ParsedLine, _ method: Method) throws(Failure) {
    guard line.arguments.count == 1 else { throw .message("member ID is not provided") }
    var request = MemberRequest(method == .memberUpdate ? .numberAndURLs : .number)
    if method == .memberUpdate { request.peerURLs = try urls(line) }
    request.number = try id(line.arguments[0], "bad member ID arg (", "), expecting ID in Hex")
    let words: [Method: String] = [
      .memberRemove: "removed from cluster", .memberUpdate: "updated in cluster", .memberPromote: "promoted in cluster",
    ]
    let answer = try ask(line, method, request)
    show(line, answer, "Member \(String(request.number, radix: 16)) \(words[method] ?? "")")
  }

  static func moveLeader(_ line: ParsedLine) throws(Failure) {
    guard line.arguments.count == 1 else { throw .message("move-leader command needs 1 argument") }
    let target = try id(line.arguments[0], "", "")
    let client = try GlobalOptions(line).makeClient()
    do {
      let leader = try client.members().header.memberID
      try client.moveLeader(to: target)
      StandardOutput.write(
        "Leadership transferred from \(String(leader, radix: 16)) to \(String(target, radix: 16))\n")
    } catch {
      throw .client(error)
    }
  }

  static func defrag(_ line: ParsedLine) throws(Failure) {
    let options = try GlobalOptions(line)
    var client = options.makeClient()
    if line.isOn("cluster") {
      do {
        let urls = try client.members().members.flatMap(\.clientURLs)
        let all = try Endpoint.list(urls.joined(separator: ","))
        client = options.makeClient(all)
      } catch {
        throw .client(error)
      }
    }
    var failed = false
    for (endpoint, answer) in zip(client.endpoints, client.askAll(.defragment)) {
      switch answer.result {
      case .success: StandardOutput.write("Finished defragmenting etcd member[\(endpoint.text)]\n")
      case .failure(let error):
        StandardError.write("Failed to defragment etcd member[\(endpoint.text)] (\(error))\n")
        failed = true
      }
    }
    if failed { throw .reported }
  }

  // MARK: Parts

  private static func ask(
    _ line: ParsedLine, _ method: Method, _ request: MemberRequest
  ) throws(Failure) -> MemberResponse {
    let client = try GlobalOptions(line).makeClient()
    do { return try client.changeMember(method, request) } catch { throw .client(error) }
  }

  private static func show(_ line: ParsedLine, _ answer: MemberResponse, _ what: String) {
    guard let options = try? GlobalOptions(line), options.format == .json else {
      return StandardOutput.write("\(what) \(String(answer.header.clusterID, radix: 16))\n")
    }
    MemberOutput(format: .json).list(answer)
  }

  private static func urls(_ line: ParsedLine) throws(Failure) -> [String] {
    let urls = (line.text("peer-urls") ?? "").split(separator: ",").map(String.init)
    guard !urls.isEmpty else { throw .message("member peer urls not provided") }
    return urls
  }

  /// As Go reads it, and says so where it can't.
  private static func id(_ argument: [UInt8], _ before: String, _ after: String) throws(Failure) -> UInt64 {
    let text = String(decoding: argument, as: UTF8.self)
    guard let id = UInt64(text, radix: 16), !text.hasPrefix("+") else {
      throw .message("\(before)strconv.ParseUint: parsing \"\(text)\": invalid syntax\(after)")
    }
    return id
  }
}

/// etcdctl 3.4's forms.
struct MemberOutput {
  let format: OutputFormat

  func list(_ answer: MemberResponse) {
    switch format {
    case .simple: for member in answer.members { StandardOutput.write(items(member).joined(separator: ", ") + "\n") }
    case .table:
      var table = Table(headings: ["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"])
      table.rows = answer.members.map(items)
      StandardOutput.write(table.text)
    case .json:
      StandardOutput.write { out in
        json(answer, &out)
        out.append("\n")
      }
    case .fields: fields(answer)
    }
  }

  private func items(_ member: Member) -> [String] {
    [
      String(member.id, radix: 16), member.name.isEmpty ? "unstarted" : "started", member.name,
      member.peerURLs.joined(separator: ","), member.clientURLs.joined(separator: ","), "\(member.isLearner)",
    ]
  }

  private func json(_ answer: MemberResponse, _ out: inout OutBuffer) {
    var object = JSONObject()
    object.member("header", &out) { JSONMessages.header(answer.header, &$0) }
    if let added = answer.added { object.member("member", &out) { json(added, &$0) } }
    if !answer.members.isEmpty {
      object.member("members", &out) { out in array(answer.members, &out, json) }
    }
    object.close(&out)
  }

  private func json(_ member: Member, _ out: inout OutBuffer) {
    var object = JSONObject()
    object.number("ID", member.id, &out)
    object.text("name", member.name, &out)
    for (name, urls) in [("peerURLs", member.peerURLs), ("clientURLs", member.clientURLs)] where !urls.isEmpty {
      object.member(name, &out) { out in
        array(urls, &out) { JSONText.appendString(Array($0.utf8), likeGo: true, to: &$1) }
      }
    }
    object.boolean("isLearner", member.isLearner, &out)
    object.close(&out)
  }

  private func array<Element>(
    _ elements: [Element], _ out: inout OutBuffer, _ append: (Element, inout OutBuffer) -> Void
  ) {
    for (at, element) in elements.enumerated() {
      out.append(at == 0 ? "[" : ",")
      append(element, &out)
    }
    out.append("]")
  }

  private func fields(_ answer: MemberResponse) {
    FieldLines.header(answer.header)
    for member in answer.members {
      StandardOutput.write("\"ID\" : \(member.id)\n\"Name\" : \"\(member.name)\"\n")
      for url in member.peerURLs { StandardOutput.write("\"PeerURL\" : \"\(url)\"\n") }
      for url in member.clientURLs { StandardOutput.write("\"ClientURL\" : \"\(url)\"\n") }
      StandardOutput.write("\"IsLearner\" : \(member.isLearner)\n\n")
    }
  }
}
