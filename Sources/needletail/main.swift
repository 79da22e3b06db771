// The server executable.
import Glibc
import Logging
import NeedletailServer

func fail(_ message: String) -> Never {
  printError("needletail: \(message)")
  exit(2)
}

func start() throws(FlagError) -> Int32 {
  let first = CommandLine.arguments.dropFirst().first
  if let group = DatabaseCommand.Group.all.first(where: { $0.word == first }) {
    return group.run(Array(CommandLine.arguments.dropFirst(2)))
  }
  let flags = try FlagValues(
    Array(CommandLine.arguments.dropFirst()),
    environment: { name in getenv(name).map { String(cString: $0) } }, table: FlagTable.all)
  if flags.wantsHelp {
    print(FlagTable.help, terminator: "")
    return 0
  }
  if flags.wantsVersion {
    print("needletail Version: \(Version.program)\netcd API Version: \(Version.compatible)")
    return 0
  }
  let configuration = try Configuration(flags)
  LoggingSystem.bootstrap { _ in StandardErrorLog(level: configuration.logLevel) }
  let logger = Logger(label: "needletail")
  for flag in flags.ignored {
    logger.warning("flag has no effect", metadata: ["flag": "--\(flag.name)", "why": "\(flag.why)"])
  }
  return ServerProcess(configuration: configuration, logger: logger).run()
}

do throws(FlagError) {
  exit(try start())
} catch {
  fail(error.description)
}
