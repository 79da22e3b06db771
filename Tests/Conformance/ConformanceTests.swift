import Foundation
import Testing

@testable import NeedletailRaftScript

/// Replays every script of etcd-raft's that is found, also ones nobody here has seen.
@Suite struct ConformanceTests {
  /// NEEDLETAIL_VECTORS, else `shared/vectors` beside the checkout.
  static let folder: URL = {
    if let given = ProcessInfo.processInfo.environment["NEEDLETAIL_VECTORS"] { return URL(fileURLWithPath: given) }
    let package = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    return package.deletingLastPathComponent().appendingPathComponent("shared/vectors")
  }()

  static let scripts: [URL] = ["interaction", "confchange", "quorum"].flatMap { kind in
    [folder.appendingPathComponent("etcd-raft"), folder].flatMap { root in
      let files = try? FileManager.default.contentsOfDirectory(
        at: root.appendingPathComponent(kind), includingPropertiesForKeys: nil)
      return (files ?? []).filter { $0.pathExtension == "txt" }.sorted { $0.path < $1.path }
    }
  }

  @Test(.enabled(if: !scripts.isEmpty, "no scripts at \(folder.path); set NEEDLETAIL_VECTORS"))
  func replay() throws {
    var (commands, verbatim) = (0, 0)
    for file in Self.scripts {
      let replay = try ScriptReplay(file: file.path)
      let score = replay.score
      commands += score.commands
      verbatim += score.verbatim
      print(
        "\(file.lastPathComponent): \(score.commands) commands, structural \(score.structural), verbatim "
          + "\(score.verbatim)")
      #expect(score.commands > 0, "\(file.lastPathComponent) has no commands")
      #expect(score.structural == score.commands, "\(file.lastPathComponent) behaves otherwise")
      if score.verbatim == score.commands {
        #expect(try String(contentsOf: file, encoding: .utf8) == replay.actual, "\(file.lastPathComponent)")
      }
    }
    print("conformance: \(Self.scripts.count) scripts, verbatim \(verbatim) of \(commands)")
    #expect(verbatim == commands, "texts differ; needletail-sim raft-script FILE shows where")
  }
}
