// The pages of the HTTP face: health in its three forms, versions, metrics.
import NeedletailRPC

extension Faces {
  mutating func page(
    _ connection: ConnectionPointer, _ head: HTTPRequestHead, _ manner: HTTPManner, isMetricsOnly: Bool
  ) {
    let path = String(decoding: head.path, as: UTF8.self)
    if path == "/metrics" {
      let keys = view().tree(server.store.current).count
      let type = "text/plain; version=0.0.4; charset=utf-8"
      return answer(connection, manner, 200, context.metrics.render(keys: keys), type: type)
    }
    let parameters = PageParameters(head.query)
    let isKnown = path == "/health" || HealthCheck.checks(for: path) != nil || (path == "/version" && !isMetricsOnly)
    guard isKnown else { return answer(connection, manner, 404, "404 page not found\n") }
    guard head.method.elementsEqual("GET".utf8) else {
      return answer(connection, manner, 405, "Method Not Allowed\n", fields: "Allow: GET\r\n")
    }
    if path == "/health" {
      health(connection, parameters, manner)
    } else if let checks = HealthCheck.checks(for: path) {
      health(connection, checks, parameters, manner)
    } else {
      let body = "{\"etcdserver\":\"\(Version.compatible)\",\"etcdcluster\":\"\(Version.cluster)\"}"
      answer(connection, manner, 200, body, type: Faces.json)
    }
  }

  /// On one node a serializable read shows what any read shows, so that `?serializable=true` changes nothing.
  private func health(_ connection: ConnectionPointer, _ parameters: PageParameters, _ manner: HTTPManner) {
    let excluded = parameters.values(of: "exclude")
    let alarm = server.status.alarms.list.first { !excluded.contains($0.kind.name) }
    let illness = illness(excludingNoSpace: excluded.contains("NOSPACE")) ?? alarm.map { "ALARM \($0.kind.name)" }
    let body = "{\"health\":\"\(illness == nil)\",\"reason\":\"\(illness.map(jsonEscaped) ?? "")\"}"
    answer(connection, manner, illness == nil ? 200 : 503, body, type: Faces.json)
  }

  /// /livez and /readyz: the failed checks, or "ok", and with `?verbose` every check.
  private func health(
    _ connection: ConnectionPointer, _ checks: [HealthCheck], _ parameters: PageParameters, _ manner: HTTPManner
  ) {
    let excluded = parameters.values(of: "exclude")
    var lines = ""
    var isWell = true
    for check in checks where !excluded.contains(check.rawValue) {
      if let illness = illness(check) {
        isWell = false
        lines += "[-]\(check.rawValue) failed: \(illness)\n"
      } else {
        lines += "[+]\(check.rawValue) ok\n"
      }
    }
    guard isWell else { return answer(connection, manner, 503, lines + "\n") }
    answer(connection, manner, 200, (parameters.has("verbose") ? lines : "") + "ok\n")
  }

  private func illness(_ check: HealthCheck) -> String? {
    switch check {
    case .dataCorruption:
      if let damage = server.status.scrub.illness { return damage }
      return server.status.alarms.list.contains { $0.kind == .corrupt } ? "alarm activated: CORRUPT" : nil
    case .serializableRead, .linearizableRead:
      if let failure = context.latch.failure { return failure }
      return server.status.isStopping.load(ordering: .relaxed) ? "etcdserver: server stopped" : nil
    }
  }

  private func jsonEscaped(_ text: String) -> String {
    var escaped = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": escaped += "\\\""
      case "\\": escaped += "\\\\"
      case _ where scalar.value < 0x20: escaped += " "
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }
}

/// What /livez and /readyz look at, each also a page below them.
enum HealthCheck: String, CaseIterable {
  case dataCorruption = "data_corruption"
  case serializableRead = "serializable_read"
  case linearizableRead = "linearizable_read"

  /// Nil where the path is none of those pages.
  static func checks(for path: String) -> [HealthCheck]? {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
    let all: [HealthCheck]
    switch parts.first {
    case "livez": all = [.serializableRead]
    case "readyz": all = HealthCheck.allCases
    default: return nil
    }
    if parts.count == 1 { return all }
    guard parts.count == 2, let name = parts.last, let check = HealthCheck(rawValue: String(name)), all.contains(check)
    else { return nil }
    return [check]
  }
}

/// The part of a target behind its question mark.
struct PageParameters {
  private let pairs: [(name: Substring, value: Substring)]

  init(_ query: UnsafeRawBufferPointer) {
    let text = String(decoding: query, as: UTF8.self)
    pairs = text.split(separator: "&").map { part in
      let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      return (sides[0], sides.count > 1 ? sides[1] : "")
    }
  }

  func has(_ name: String) -> Bool { pairs.contains { $0.name == name } }

  func values(of name: String) -> Set<String> { Set(pairs.filter { $0.name == name }.map { String($0.value) }) }
}
