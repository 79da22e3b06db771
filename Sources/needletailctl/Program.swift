// From the process's arguments to its exit status.

import Glibc

enum Program {
  /// The arguments after the program's name, as bytes: keys and values need not be UTF-8.
  static func arguments() -> [[UInt8]] {
    (1..<max(1, Int(CommandLine.argc))).compactMap { at in
      CommandLine.unsafeArgv[at].map { [UInt8](UnsafeRawBufferPointer(start: $0, count: strlen($0))) }
    }
  }

  /// Runs the command that the arguments name; returns the exit status.
  static func run(_ arguments: [[UInt8]]) -> Int32 {
    do {
      guard let (command, rest) = try Command.find(arguments) else {
        StandardOutput.write(Help.overview)
        return StandardOutput.flush() ? 0 : 1
      }
      let line = try command.parse(rest)
      if line.isOn("help") {
        StandardOutput.write(Help.text(for: command))
      } else {
        try command.run(line)
      }
      return StandardOutput.flush() ? 0 : 1
    } catch {
      StandardOutput.flush()
      report(error)
      return 1
    }
  }

  private static func report(_ failure: Failure) {
    switch failure {
    case .usage(let why, let command):
      StandardError.write("Error: \(why)\nRun 'needletailctl \(command.name) --help' for usage.\n")
    case .message(let why): StandardError.write("Error: \(why)\n")
    case .reported: break
    }
  }
}
