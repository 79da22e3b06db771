// The server's command line, variables and configuration file, read as etcd reads them.
import Foundation
import NeedletailRPC
import NeedletailServer
import Testing

@testable import needletail

private func given(
  _ words: String..., environment: [String: String] = [:], files: [String: String] = [:]
) throws -> FlagValues {
  try FlagValues(words, environment: environment, table: .server) { (path) throws(FlagError) in
    guard let text = files[path] else { throw FlagError(description: "no file \(path)") }
    return try ConfigFile(Array(text.utf8))
  }
}

private func refusal(_ words: String..., environment: [String: String] = [:]) -> FlagError? {
  refusal(of: words, environment: environment)
}

private func refusal(of words: [String], environment: [String: String] = [:]) -> FlagError? {
  do {
    let values = try FlagValues(words, environment: environment, table: .server) { (_) throws(FlagError) in
      try ConfigFile([])
    }
    _ = try Configuration(values)
    return nil
  } catch {
    return error
  }
}

@Suite struct ServerFlagTests {
  @Test func spellings() throws {
    for words in [
      ["--name", "x", "--pre-vote"], ["-name=x", "-pre-vote=true"], ["--name=x", "--pre-vote=1"],
      ["--name", "y", "--name", "x", "--pre-vote", "--"],
    ] {
      let values = try FlagValues(words, environment: [:], table: .server) { (_) throws(FlagError) in
        try ConfigFile([])
      }
      #expect(values["name"] == "x" && values.isOn("pre-vote"), "\(words)")
    }
    #expect(try given("--data-dir=")["data-dir"] == "")
    // Names of other releases are the same flag.
    #expect(try given("--experimental-warning-apply-duration", "3ms")["warning-apply-duration"] == "3ms")
  }

  @Test func misuseIsRefusedInGoWords() {
    for (error, text) in [
      (refusal("--bogus-thing-nobody-has"), "flag provided but not defined: -bogus-thing-nobody-has"),
      (refusal("--data-dri", "x"), "flag provided but not defined: -data-dri; did you mean --data-dir?"),
      (
        refusal("-lisen-client-urls=x"),
        "flag provided but not defined: -lisen-client-urls; did you mean --listen-client-urls?"
      ),
      (refusal("--name"), "flag needs an argument: -name"),
      (refusal("--max-txn-ops", "abc"), "invalid value \"abc\" for flag -max-txn-ops: parse error"),
      (refusal("--pre-vote=maybe"), "invalid boolean value \"maybe\" for -pre-vote: parse error"),
      (refusal("---x"), "bad flag syntax: ---x"), (refusal("--=x"), "bad flag syntax: --=x"),
    ] {
      #expect(error?.description == text && error?.status == 2 && error?.showsUsage == true, "\(text)")
    }
    let extra = refusal("--pre-vote", "false")
    #expect(extra?.description.contains("'false' is not a valid flag") == true && extra?.status == 1)
    let variable = refusal(environment: ["ETCD_MAX_TXN_OPS": "abc"])
    #expect(variable?.description.contains("\"abc\" for ETCD_MAX_TXN_OPS") == true && variable?.status == 1)
  }

  @Test func gRPCsLimits() throws {
    func limits(_ words: String...) throws -> HTTP2Limits {
      try Configuration(
        FlagValues(words, environment: [:], table: .server) { (_) throws(FlagError) in try ConfigFile([]) }
      ).http2
    }
    let standard = try limits()
    #expect(standard.messageBytes == 1_572_864 + 524_288 && standard.streams == 256)
    #expect(standard.pingInterval_ms == 5_000 && standard.keepAlive_ms == 7_200_000)
    #expect(standard.keepAliveAnswer_ms == 20_000)
    let given = try limits(
      "--max-request-bytes=1000", "--max-concurrent-streams=7", "--grpc-keepalive-min-time=1s",
      "--grpc-keepalive-interval=2s", "--grpc-keepalive-timeout=3s")
    #expect(given.messageBytes == 1_000 + 524_288 && given.streams == 7 && given.pingInterval_ms == 1_000)
    #expect(given.keepAlive_ms == 2_000 && given.keepAliveAnswer_ms == 3_000)
    #expect(try limits("--grpc-keepalive-interval=0").keepAlive_ms > 1 << 39)
  }

  @Test func whatCannotBeKeptIsRefused() {
    for (words, part) in [
      (["--initial-cluster", "a=http://x:2380,b=http://y:2380"], "names 2 members"),
      (["--listen-client-urls", "https://127.0.0.1:2379"], "TLS"), (["--proxy", "on"], "proxy"),
      (["--discovery-srv", "example.org"], "alone"), (["--enable-v2"], "v2"),
      (["--heartbeat-interval", "300"], "at least as 5 times"), (["--election-timeout", "60000"], "too long"),
      (["--log-level", "loud"], "log-level"), (["--log-format", "xml"], "log-format"),
      (["--auto-compaction-mode", "x"], "periodic"), (["--metrics", "all"], "extensive"),
      (["--listen-metrics-urls", "http://0.0.0.0:2379"], "port or path"),
      (["--warning-apply-duration", "100"], "parse error"), (["--name", "a/b"], "plain word"),
    ] {
      let error = refusal(of: words)
      #expect(error?.description.contains(part) == true, "\(words): \(error?.description ?? "taken")")
    }
  }

  @Test func variablesGiveWayToFlags() throws {
    let values = try given(
      "--name", "flag",
      environment: [
        "ETCD_NAME": "variable", "ETCD_MAX_TXN_OPS": "7", "ETCD_BOGUS": "1", "ETCDCTL_API": "3", "ETCD_DATA_DIR": "",
        "ETCD_EXPERIMENTAL_COMPACTION_BATCH_LIMIT": "5",
      ])
    #expect(values["name"] == "flag" && values["max-txn-ops"] == "7" && values["data-dir"] == nil)
    #expect(values["compaction-batch-limit"] == "5")
    #expect(values.warnings.map(\.name) == ["ETCD_BOGUS", "ETCD_NAME"])
    #expect(values.warnings.last?.message.contains("shadowed by corresponding flag") == true)
  }

  @Test func onlyWhatDiffersFromTheStandardIsWarnedOf() throws {
    let silent = try given(
      "--initial-cluster-state", "new", "--strict-reconfig-check=true", "--max-wals=0x5", "--auth-token=simple")
    #expect(silent.warnings.isEmpty)
    let loud = try given("--initial-cluster-state", "existing", "--unsafe-no-fsync", "--max-wals=6")
    #expect(Set(loud.warnings.map(\.name)) == ["--initial-cluster-state", "--unsafe-no-fsync", "--max-wals"])
  }

  @Test func theFileStandsForAll() throws {
    let file = """
      # etcd's sample, in part
      name: 'from-file'
      data-dir:
      snapshot-count: 10000
      listen-client-urls: http://127.0.0.1:1,http://127.0.0.1:2
      log-outputs: [stderr, /tmp/x]
      client-transport-security:
        cert-file: c.pem
        client-cert-auth: false
      peer-transport-security: {auto-tls: true}
      experimental-watch-progress-notify-interval: 5000000000
      nonsense: 1
      """
    let values = try given(
      "--config-file", "f", "--name", "flag", environment: ["ETCD_MAX_TXN_OPS": "7"], files: ["f": file])
    #expect(values["name"] == "from-file" && values["max-txn-ops"] == nil && values["data-dir"] == nil)
    #expect(values["peer-auto-tls"] == "true" && values["cert-file"] == "c.pem")
    #expect(Set(values.warnings.map(\.name)) == ["nonsense", "--name", "--cert-file", "--peer-auto-tls"])
    let configuration = try Configuration(values)
    #expect(configuration.watchProgress_ms == 5_000 && configuration.checkpointEntries == 10_000)
    #expect(configuration.clientAddresses.count == 2)
    #expect(configuration.log.outputs == [.standardError, .file(path: "/tmp/x")])
    let variable = try given(environment: ["ETCD_CONFIG_FILE": "f"], files: ["f": file])
    #expect(variable["name"] == "from-file" && variable.configFile == "f")
  }

  @Test func brokenFilesAreRefused() {
    for (text, part) in [
      ("a: [1", "yaml: line"), ("- a", "no mapping"), ("a: {b: 1}", "is a mapping"), ("a: [[1]]", "plain values"),
      ("a: &x 1\nb: *x", "aliases"), ("? [a]\n: 1", "a name is expected"), ("\u{1}", "yaml"),
      (String(repeating: "a: {", count: 40), "deeply"), ("a:\n\t- b", "yaml"),
    ] {
      var why = "taken"
      do { _ = try ConfigFile(Array(text.utf8)) } catch { why = "\(error)" }
      #expect(why.contains(part), "\(text): \(why)")
    }
    #expect(throws: Never.self) { try ConfigFile([]) }
    #expect((try? ConfigFile(Array("---\n".utf8)))?.settings.isEmpty == true)
  }

  @Test func durationsAsGoWritesThem() {
    for (text, nanoseconds) in [
      ("0", 0), ("300ms", 300_000_000), ("1h30m", 5_400_000_000_000), ("1.5s", 1_500_000_000), ("-2us", -2_000),
      ("10µs", 10_000), ("1ns", 1), (".5s", 500_000_000),
    ] as [(String, Int64)] { #expect(GoDuration(text)?.nanoseconds == nanoseconds, "\(text)") }
    for text in ["", "5", "s", "1x", "1 s", "99999999999h", ".s", "1h-1m", "+"] {
      #expect(GoDuration(text) == nil, "\(text)")
    }
    #expect(GoDuration("1ns")?.milliseconds == 1)
  }

  @Test func standardsAreWhatTheFlagsTake() {
    for flag in FlagTable.server.flags where flag.kind != .text && !flag.standard.contains(" ") {
      #expect(flag.takes(flag.standard) && flag.isStandard(flag.standard), "\(flag.name)")
    }
    let names = FlagTable.server.flags.flatMap { [$0.name] + $0.aliases }
    #expect(Set(names).count == names.count)
    for flag in FlagTable.server.flags { #expect(FlagTable.server.help.contains("--\(flag.name) '")) }
  }

  @Test func versionsForScripts() {
    let own = Versions.text(startedAs: "/usr/bin/needletail").split(separator: "\n")
    let etcd = Versions.text(startedAs: "/usr/bin/etcd").split(separator: "\n")
    #expect(own.first == "Needletail Version: \(Version.program)")
    #expect(etcd.first == "etcd Version: \(Version.compatible)" && Set(own) == Set(etcd))
  }
}
