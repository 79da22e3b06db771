// version: of this program and of the API it follows.

import NeedletailRPC

extension Command {
  static let version = Command(
    words: ["version"], usage: "", summary: "Prints the version of needletailctl"
  ) { line throws(Failure) in
    guard line.arguments.isEmpty else { throw .message("version command takes no arguments") }
    StandardOutput.write("needletailctl version: \(NeedletailVersion.text)\nAPI version: \(NeedletailVersion.api)\n")
  }
}

enum VersionCommand {
  static var text: String { NeedletailVersion.text }
}
