// The language of transactions on standard input.
import NeedletailClient
import Testing

@testable import needletailctl

@Suite struct TxnScriptTests {
  private func comparison(_ text: String) throws -> Compare { try TxnScript.comparison(Array(text.utf8)) }

  private func failure(_ body: () throws -> Void) -> String {
    do { try body() } catch Failure.message(let text) { return text } catch { return "\(error)" }
    return "no failure"
  }

  @Test func comparisons() throws {
    let key = KeyRange.key(Array("a b".utf8))
    #expect(try comparison(#"ver("a b") = "3""#) == Compare(key, .equal, .version(3)))
    #expect(try comparison(#"version("a b")!= "3""#) == Compare(key, .notEqual, .version(3)))
    #expect(try comparison(#"c( "a b") < "-1""#) == Compare(key, .less, .createRevision(-1)))
    #expect(try comparison(#"mod(`a b`)  >   "7" and more"#) == Compare(key, .greater, .modRevision(7)))
    #expect(
      try comparison(#"val("a b") = "x\ty\x01\u00e9\101\"""#)
        == Compare(
          key, .equal, .value(Array("x\ty\u{1}éA\"".utf8))))
    #expect(try comparison(#"lease("a b") = "1f""#) == Compare(key, .equal, .lease(31)))
    #expect(
      failure { _ = try comparison(#"vrsion("a") > "0""#) }
        == #"malformed comparison: vrsion("a") > "0" (unknown target vrsion)"#)
    #expect(
      failure { _ = try comparison(#"version(a) > "0""#) }
        == #"malformed comparison: version(a) > "0"; got version("")  """#)
    #expect(
      failure { _ = try comparison(#"version("a") > "x""#) }
        == #"invalid txn compare request: version("a") > "x""#)
    #expect(failure { _ = try comparison("nothing") } == "malformed comparison: nothing")
    #expect(failure { _ = try comparison(#"mod("a") ~ "1""#) }.hasPrefix("malformed comparison: "))
    #expect(failure { _ = try comparison(#"mod("a") ="#) }.hasPrefix("malformed comparison: "))
    #expect(failure { _ = try comparison(#"mod("a\q") = "1""#) }.hasPrefix("malformed comparison: "))
  }

  @Test func requests() throws {
    func operation(_ text: String) throws -> TxnOperation { try TxnScript.operation(Array(text.utf8)) }
    #expect(
      try operation(#"put "k 1" 'v "2"'"#) == .put(PutRequest(key: Array("k 1".utf8), value: Array(#"v "2""#.utf8))))
    var get = RangeRequest(.prefix(Array("k".utf8)))
    get.limit = 3
    #expect(try operation("get k --prefix   --limit=3") == .range(get))
    var del = DeleteRangeRequest(.range([97], end: [99]))
    del.prevKV = true
    #expect(try operation("del a c --prev-kv") == .deleteRange(del))
    #expect(failure { _ = try operation("gt a") } == "invalid txn request: gt a")
    #expect(failure { _ = try operation("put") } == "invalid txn compare request: put")
    #expect(failure { _ = try operation("get a --nothing") } == "invalid txn request: get a --nothing")
    #expect(failure { _ = try operation("put a") } != "no failure")
    #expect(
      try TxnScript.words(Array(#"a"b "un 'closed c"#.utf8)).map { String(decoding: $0, as: UTF8.self) }
        == [#"a"b"#, "un", "closed", "c"])
  }
}
