import ArgumentParser
struct Get: ParsableCommand {
  @Argument var key: String
  @Flag var prefix = false
  @Option var limit = 0
  func run() { print(key) }
}
struct Ctl: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "needletailctl", subcommands: [Get.self])
}
Ctl.main()
