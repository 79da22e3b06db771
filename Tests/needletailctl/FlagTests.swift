// Command lines as etcdctl takes them.

import NeedletailClient
import Testing

@testable import needletailctl

private func parse(_ words: String...) throws(Failure) -> (Command, ParsedLine) {
  guard let (command, rest) = try Command.find(words.map { Array($0.utf8) }) else { throw .message("help") }
  return (command, try command.parse(rest))
}

private func message(_ body: () throws(Failure) -> Void) -> String? {
  do {
    try body()
    return nil
  } catch {
    switch error {
    case .message(let why), .usage(let why, _): return why
    case .reported: return ""
    }
  }
}

@Suite struct FlagTests {
  @Test func placesAndSpellings() throws {
    for words in [
      ["get", "k", "-w", "json", "--limit", "5", "--prefix"], ["-w", "json", "get", "--limit=5", "k", "--prefix=true"],
      ["--write-out=json", "get", "--prefix", "k", "--limit", "5"], ["get", "-wjson", "--limit=5", "--prefix=1", "k"],
      ["get", "-w=json", "--limit", "7", "--limit", "5", "--prefix", "k"],
    ] {
      let (command, rest) = try #require(try Command.find(words.map { Array($0.utf8) }))
      let line = try command.parse(rest)
      #expect(command.name == "get")
      #expect(line.text("write-out") == "json")
      #expect(try line.number("limit") == 5)
      #expect(line.isOn("prefix") && !line.isOn("from-key"))
      #expect(line.arguments == [Array("k".utf8)])
    }
  }

  @Test func dashesAndBytes() throws {
    let line = try parse("put", "k", "--", "-v", "--prev-kv").1
    #expect(line.arguments == ["k", "-v", "--prev-kv"].map { Array($0.utf8) })
    #expect(try parse("put", "-", "").1.arguments == [[0x2D], []])
    let bytes: [UInt8] = [0xFF, 0x00, 0x80]
    let (command, rest) = try #require(try Command.find([Array("get".utf8), bytes]))
    #expect(try command.parse(rest).arguments == [bytes])
  }

  @Test func twoWordCommands() throws {
    #expect(try parse("endpoint", "status").0.name == "endpoint status")
    #expect(try parse("--endpoints", "a:1", "endpoint", "-w", "json", "health").1.text("endpoints") == "a:1")
    #expect(message { () throws(Failure) in _ = try parse("endpoint") }?.contains("endpoint status") == true)
    #expect(
      message { () throws(Failure) in _ = try parse("bogus") } == "unknown command \"bogus\" for \"needletailctl\"")
  }

  @Test func refusals() {
    func why(_ body: () throws(Failure) -> Void) -> String { message(body) ?? "taken" }
    #expect(why { () throws(Failure) in _ = try parse("get", "--bogus") } == "unknown flag: --bogus")
    #expect(why { () throws(Failure) in _ = try parse("get", "-x") } == "unknown shorthand flag: 'x' in -x")
    #expect(why { () throws(Failure) in _ = try parse("get", "--limit") } == "flag needs an argument: --limit")
    #expect(why { () throws(Failure) in _ = try parse("get", "-w") } == "flag needs an argument: 'w' in -w")
    #expect(why { () throws(Failure) in _ = try parse("get", "--prefix=maybe") }.contains("--prefix"))
    #expect(
      why { () throws(Failure) in _ = try GetCommand.request(try parse("get", "k", "--limit", "x").1) }
        .hasPrefix("invalid argument \"x\" for \"--limit\" flag"))
    #expect(
      why { () throws(Failure) in _ = try GlobalOptions(try parse("get", "--command-timeout", "5").1) }
        .hasPrefix("invalid argument \"5\" for \"--command-timeout\" flag"))
    #expect(
      why { () throws(Failure) in _ = try GlobalOptions(try parse("get", "-w", "bogus").1) }
        == "unsupported output format")
    #expect(
      why { () throws(Failure) in _ = try GlobalOptions(try parse("get", "--endpoints", "a:1,").1) }
        .hasPrefix("invalid endpoint"))
  }

  @Test func getRequests() throws {
    func request(_ words: String...) throws(Failure) -> RangeRequest {
      guard let (command, rest) = try Command.find((["get"] + words).map { Array($0.utf8) }) else {
        throw .message("help")
      }
      return try GetCommand.request(try command.parse(rest))
    }
    func why(_ body: () throws(Failure) -> Void) -> String { message(body) ?? "taken" }
    #expect(try request("a").keys == .key([0x61]))
    #expect(try request("a", "b").keys == .range([0x61], end: [0x62]))
    #expect(try request("", "--prefix").keys.bounds == ([0], [0]))
    #expect(try request("a", "--from-key").keys == .from([0x61]))
    let full = try request(
      "a", "--limit", "3", "--rev", "7", "--keys-only", "--sort-by", "modify", "--order", "descend", "--consistency",
      "s")
    #expect(full.limit == 3 && full.revision == 7 && full.keysOnly && full.serializable)
    #expect(full.sortTarget == .mod && full.sortOrder == .descend)
    #expect(why { () throws(Failure) in _ = try request("a", "--sort-by", "foo") } == "bad sort target foo")
    #expect(why { () throws(Failure) in _ = try request("a", "--order", "foo") } == "bad sort order foo")
    #expect(
      why { () throws(Failure) in _ = try request("a", "--consistency", "x") } == "unknown consistency flag \"x\"")
    #expect(
      why { () throws(Failure) in _ = try request("a", "b", "--prefix") }
        == "too many arguments, only accept one argument when `--prefix` or `--from-key` is set")
    #expect(
      why { () throws(Failure) in _ = try request("a", "--from-key", "--prefix") }
        == "`--prefix` and `--from-key` cannot be set at the same time, choose one")
    #expect(
      why { () throws(Failure) in _ = try request() }
        == "get command needs one argument as key and an optional argument as range_end")
  }

  @Test func everyCommandHasHelp() {
    for command in Command.all {
      let text = Help.text(for: command)
      #expect(text.contains("needletailctl \(command.name)"))
      for flag in command.flags { #expect(text.contains("--\(flag.name)")) }
      #expect(Help.overview.contains(command.summary))
      #expect(text.split(separator: "\n").allSatisfy { $0.count <= 120 })
    }
  }
}
