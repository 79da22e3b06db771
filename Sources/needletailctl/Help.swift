// Help texts, from the same tables that the command lines are parsed with.

enum Help {
  static var overview: String {
    var text = """
      NAME:
        needletailctl - A command line client for Needletail. It takes etcdctl's commands and flags.

      USAGE:
        needletailctl <command> [arguments] [flags]

      VERSION:
        \(VersionCommand.text)

      COMMANDS:

      """
    let width = Command.all.map(\.name.count).max() ?? 0
    for command in Command.all {
      text += "  " + pad(command.name, width) + "  " + command.summary + "\n"
    }
    text += "\n" + section("GLOBAL FLAGS:", GlobalOptions.flags)
    text += """

      Every global flag can also be set in the environment: --dial-timeout as ETCDCTL_DIAL_TIMEOUT.
      Run 'needletailctl <command> --help' for a command's own flags.

      """
    return text
  }

  static func text(for command: Command) -> String {
    var text = "NAME:\n  \(command.name) - \(command.summary)\n\n"
    text += "USAGE:\n  needletailctl \(command.name) \(command.usage)"
    text += command.usage.isEmpty ? "[flags]\n" : " [flags]\n"
    if !command.details.isEmpty {
      let lines = command.details.split(separator: "\n", omittingEmptySubsequences: false)
      text += "\nDESCRIPTION:\n" + lines.map { $0.isEmpty ? "\n" : "  \($0)\n" }.joined()
    }
    if !command.flags.isEmpty { text += "\n" + section("FLAGS:", command.flags) }
    return text + "\n" + section("GLOBAL FLAGS:", GlobalOptions.flags)
  }

  private static func section(_ title: String, _ flags: [Flag]) -> String {
    let width = flags.map { spelling($0).count }.max() ?? 0
    return title + "\n" + flags.map { "  " + pad(spelling($0), width) + "  " + $0.help + "\n" }.joined()
  }

  private static func spelling(_ flag: Flag) -> String {
    let short = flag.short.map { "-\($0), " } ?? "    "
    switch flag.kind {
    case .toggle: return short + "--" + flag.name
    case .value(let placeholder): return short + "--" + flag.name + " " + placeholder
    }
  }

  static func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }
}
