// needletail-bench: the benchmark suites.
import ArgumentParser

@main
struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "needletail-bench", abstract: "Measures Needletail beside its peers.",
    subcommands: [EngineCommand.self, ServerCommand.self, MVCCCommand.self, WatchCommand.self])
}
