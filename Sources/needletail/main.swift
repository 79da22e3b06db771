// The server executable. Under the name etcd it is the same program: only its --version begins with etcd's line.
import Glibc
import Logging
import NeedletailServer

func variables() -> [String: String] {
  var found: [String: String] = [:]
  var next = environ
  while let entry = next.pointee {
    next += 1
    let parts = String(cString: entry).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    if parts.count == 2 { found[String(parts[0])] = String(parts[1]) }
  }
  return found
}

func start() throws(FlagError) -> Int32 {
  let arguments = Array(CommandLine.arguments.dropFirst())
  if let group = DatabaseCommand.Group.all.first(where: { $0.word == arguments.first }) {
    return group.run(Array(arguments.dropFirst()))
  }
  if let mode = arguments.first, ["gateway", "grpc-proxy", "proxy"].contains(mode) {
    throw FlagError(description: "\(mode): this program is a server and no proxy")
  }
  let flags = try FlagValues(arguments, environment: variables(), table: .server) {
    (path) throws(FlagError) in try ConfigFile(path: path)
  }
  if flags.wantsHelp {
    print(FlagTable.server.help, terminator: "")
    return 0
  }
  if flags.wantsVersion {
    print(Versions.text(startedAs: CommandLine.arguments.first ?? ""), terminator: "")
    return 0
  }
  let configuration = try Configuration(flags)
  let logger = try configuration.log.start()
  if let path = flags.configFile {
    logger.info(
      """
      loaded server configuration, other configuration command line flags and environment variables will be ignored if \
      provided
      """, metadata: ["path": "\(path)"])
  }
  for warning in flags.warnings {
    logger.warning("\(warning.message)", metadata: ["name": "\(warning.name)", "why": "\(warning.why)"])
  }
  return ServerProcess(configuration: configuration, logger: logger).run()
}

do throws(FlagError) {
  exit(try start())
} catch {
  printError(error.description)
  if error.showsUsage { printError(FlagTable.usage) }
  exit(error.status)
}
