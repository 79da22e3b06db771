// `needletail-sim`: what Needletail's correctness is checked with, by hand. One file per subcommand.

import ArgumentParser

struct NeedletailSim: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "needletail-sim",
    abstract: "Checks Needletail's consensus: replays scripts, judges histories, simulates clusters.",
    subcommands: [
      RaftScriptCommand.self, CheckHistoryCommand.self, RunCommand.self, ReplayCommand.self, ShrinkCommand.self,
    ])
}

NeedletailSim.main()
