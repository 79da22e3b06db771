// `needletail-sim raft-script FILE…`: replays scripts in etcd-raft's format and prints what actually came out.

import ArgumentParser
import NeedletailRaftScript

struct RaftScriptCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "raft-script",
    abstract: "Replay Raft scripts; print each with the actual output in place of the expected one.")

  @Argument(help: "Scripts: interaction, confchange or quorum, told apart by what they say.")
  var files: [String]

  func run() throws {
    for file in files { print(try ScriptReplay(file: file).actual, terminator: "") }
  }
}
