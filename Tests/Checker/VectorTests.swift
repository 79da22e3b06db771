// Published histories with known verdicts: Jepsen's of etcd, and those of a key-value service.
import Foundation
import Testing

@testable import NeedletailChecker

@Suite struct VectorTests {
  static let jepsen = Vectors.files("jepsen-etcd", ".log")
  static let keyValue = Vectors.files("porcupine-kv", ".txt")

  private func expect(_ wanted: String, _ path: String) throws {
    let start = Date()
    let verdict = try HistoryChecker.check(HistoryFile.read(path))
    let seconds = Date().timeIntervalSince(start)
    #expect(verdict.word == wanted, "\(path)")
    #expect(seconds < 5, "\(path) took \(seconds) s")
  }

  @Test(.enabled(if: !jepsen.isEmpty, "no jepsen-etcd in \(Vectors.folder); NEEDLETAIL_VECTORS names the folder"))
  func jepsenVerdicts() throws {
    let table = try String(contentsOfFile: "\(Vectors.folder)/jepsen-etcd/verdicts.tsv", encoding: .utf8)
    var expected: [String: String] = [:]
    for line in table.split(separator: "\n").dropFirst() {
      let fields = line.split(separator: "\t").map(String.init)
      expected[fields[0]] = fields[1] == "true" ? "linearizable" : "not-linearizable"
    }
    var checked = 0
    for path in VectorTests.jepsen {
      let name = (path as NSString).lastPathComponent
      let wanted = try #require(expected[name], "no verdict for \(name)")
      try expect(wanted, path)
      checked += 1
    }
    print("jepsen-etcd: \(checked) histories")
  }

  @Test(.enabled(if: !keyValue.isEmpty, "no porcupine-kv in \(Vectors.folder); NEEDLETAIL_VECTORS names the folder"))
  func keyValueVerdicts() throws {
    for path in VectorTests.keyValue {
      try expect(path.hasSuffix("-ok.txt") ? "linearizable" : "not-linearizable", path)
    }
    print("porcupine-kv: \(VectorTests.keyValue.count) histories")
  }
}
