// The gateway's translation: JSON to wire form and back, and that no input breaks it.
import Foundation
import NeedletailRPC
import Testing

/// The outcome and the wire form, or the error's words.
private struct Converted {
  var wire: [UInt8] = []
  var outcome: JSONToProto.Outcome?
  var error: String?
}

private func converted(_ json: [UInt8], _ message: String) -> Converted {
  guard let shape = MessageTable.services.message(message) else { return Converted(error: "no message \(message)") }
  var out = OutBuffer()
  defer { out.free() }
  return json.withUnsafeBytes { bytes in
    do throws(JSONError) {
      let outcome = try JSONToProto.convert(bytes, shape, into: &out)
      return Converted(wire: Array(out.bytes), outcome: outcome)
    } catch {
      return Converted(wire: Array(out.bytes), error: error.description)
    }
  }
}

private func wire(_ json: String, _ message: String) -> [UInt8]? {
  let result = converted(Array(json.utf8), message)
  return result.error == nil && result.outcome == .message(end: json.utf8.count) ? result.wire : nil
}

private func refusal(_ json: String, _ message: String = "RangeRequest") -> String? {
  let result = converted(Array(json.utf8), message)
  if let error = result.error { return error }
  return result.outcome == .incomplete ? "unexpected EOF" : nil
}

private func json(_ wire: [UInt8], _ message: String) -> String? {
  guard let shape = MessageTable.services.message(message) else { return nil }
  var out = OutBuffer()
  defer { out.free() }
  do { try wire.withUnsafeBytes { try ProtoToJSON.convert($0, shape, into: &out) } } catch { return nil }
  return String(decoding: out.bytes, as: UTF8.self)
}

@Suite struct JSONTests {
  @Test func requestsInEverySpelling() {
    let plain: [UInt8] = [0x0a, 3, 0x66, 0x6f, 0x6f, 0x12, 1, 0, 0x18, 5, 0x28, 2]
    for text in [
      #"{"key":"Zm9v","range_end":"AA==","limit":"5","sort_order":"DESCEND"}"#,
      #"{"sortOrder":2,"limit":5,"rangeEnd":"AA==","key":"Zm9v"}"#,
      #" { "key" : "Zm\n9v" , "range_end":"AA==","limit":" 5 ","unknown":{"a":[1,{"b":"}"}]},"sort_order":"DESCEND"}"#,
      #"{"k\u0065y":"\u005am9v","range_end":"AA==","limit":5,"sort_order":"DESCEND","revision":null,"serializable":false}"#,
      #"{"key":"YQ==","key":"Zm9v","range_end":"YQ==","rangeEnd":"AA==","limit":5,"sort_order":"DESCEND"}"#,
    ] {
      #expect(wire(text, "RangeRequest") == plain, "\(text)")
    }
    #expect(wire("null", "RangeRequest") == [] && wire("{}", "RangeRequest") == [])
    #expect(wire(#"{"revision":-1}"#, "RangeRequest") == [0x20] + [UInt8](repeating: 0xff, count: 9) + [1])
    #expect(converted(Array(" \n".utf8), "RangeRequest").outcome == .nothing)
    #expect(converted(Array(#"{} {"key":5}"#.utf8), "RangeRequest").outcome == .message(end: 2))
    // Zeros of choices go over the wire, elements too.
    #expect(wire(#"{"version":"0"}"#, "Compare") == [0x20, 0])
    #expect(wire(#"{"filters":["NOPUT","NODELETE",0]}"#, "WatchCreateRequest") == [0x28, 0, 0x28, 1, 0x28, 0])
    #expect(
      wire(#"{"success":[{"request_put":{"key":"YQ=="}},{}]}"#, "TxnRequest")
        == [0x12, 5, 0x12, 3, 0x0a, 1, 0x61, 0x12, 0])
  }

  /// What Debian's etcd 3.4.23 says, word for word.
  @Test func refusalsInGoWords() {
    for (text, words) in [
      (#"{"key":"Zm9v""#, "unexpected EOF"), (#"{"key":"Zm9"#, "unexpected EOF"),
      (#"{"key":"Zm9"}"#, "illegal base64 data at input byte 0"),
      (#"{"key":"Zm9v=="}"#, "illegal base64 data at input byte 4"),
      (#"{"key":"Zm_-"}"#, "illegal base64 data at input byte 2"),
      (#"{"key":5}"#, "json: cannot unmarshal number into Go value of type []uint8"),
      (#"{"limit":1.5}"#, "json: cannot unmarshal number 1.5 into Go value of type int64"),
      (#"{"limit":1e2}"#, "json: cannot unmarshal number 1e2 into Go value of type int64"),
      (
        #"{"limit":99999999999999999999}"#,
        "json: cannot unmarshal number 99999999999999999999 into Go value of type int64"
      ),
      (#"{"limit":"x"}"#, "invalid character 'x' looking for beginning of value"),
      (#"{"limit":true}"#, "json: cannot unmarshal bool into Go value of type int64"),
      (#"{"sort_order":"FOO"}"#, #"unknown value "FOO" for enum etcdserverpb.RangeRequest_SortOrder"#),
      (#"{"keys_only":"true"}"#, "json: cannot unmarshal string into Go value of type bool"),
      (#"{"keys_only":1}"#, "json: cannot unmarshal number into Go value of type bool"),
      ("[]", "json: cannot unmarshal array into Go value of type map[string]json.RawMessage"),
      ("5", "json: cannot unmarshal number into Go value of type map[string]json.RawMessage"),
      ("{,}", "invalid character ',' looking for beginning of object key string"),
      (#"{"a" 1}"#, "invalid character '1' after object key"),
      (#"{"a":1 2}"#, "invalid character '2' after object key:value pair"),
      (#"{"a":[1 2]}"#, "invalid character '2' after array element"),
      (#"{"a":"\x"}"#, "invalid character 'x' in string escape code"),
      (#"{"a":"\u12g4"}"#, #"invalid character 'g' in \u hexadecimal character escape"#),
      ("{\"a\":\"\n\"}", #"invalid character '\n' in string literal"#),
      (#"{"a":-}"#, "invalid character '}' in numeric literal"),
      (#"{"a":tru}"#, "invalid character '}' in literal true (expecting 'e')"),
    ] {
      #expect(refusal(text) == words, "\(text)")
    }
    #expect(
      refusal(#"{"success":{}}"#, "TxnRequest")
        == "json: cannot unmarshal object into Go value of type []json.RawMessage")
    #expect(refusal(#"{"success":[null]}"#, "TxnRequest") != nil)
  }

  @Test func nestingIsBoundedAndCostsItsBytes() throws {
    let deep = String(repeating: "[", count: 100_000)
    #expect(refusal(deep) == "exceeded max depth")
    // Transactions in each other with two MiB inside the innermost: time must not grow with depth times size.
    let value = String(repeating: "A", count: 2 << 20)
    var text = #"{"success":[{"request_put":{"key":"YQ==","value":"\#(value)"}}]}"#
    for _ in 0..<300 { text = #"{"success":[{"request_txn":"# + text + "}]}" }
    let begun = Date()
    let out = try #require(wire(text, "TxnRequest"))
    #expect(out.count > 3 << 19 && Date().timeIntervalSince(begun) < 10)
  }

  @Test func answers() {
    #expect(json([], "RangeResponse") == "{}")
    let header: [UInt8] = [0x0a, 4, 0x08, 7, 0x18, 9]
    let pair: [UInt8] = [0x12, 8, 0x0a, 1, 0x61, 0x10, 2, 0x2a, 1, 0xff]
    #expect(
      json(header + pair + pair + [0x18, 1, 0x20, 2], "RangeResponse")
        == #"{"header":{"cluster_id":"7","revision":"9"},"kvs":[{"key":"YQ==","create_revision":"2","value":"/w=="},"#
        + #"{"key":"YQ==","create_revision":"2","value":"/w=="}],"more":true,"count":"2"}"#)
    #expect(json([0x08, 1, 0x12, 0], "Event") == #"{"type":"DELETE","kv":{}}"#)
    #expect(json([0x08, 9], "Event") == #"{"type":9}"#)
    #expect(json([0x12, 3] + Array(#"<"&"#.utf8), "StatusResponse") == #"{"version":"\u003c\"\u0026"}"#)
    #expect(json([0x10] + [UInt8](repeating: 0xff, count: 9) + [1], "KeyValue") == #"{"create_revision":"-1"}"#)
    #expect(json([0x10, 0x96, 0x01], "HashResponse") == #"{"hash":150}"#)
    #expect(json([0x0a, 5, 1], "RangeResponse") == nil)
  }

  @Test func base64BothWays() {
    var seed = UInt64.random(in: .min ... .max)
    print("base64 seed \(seed)")
    for count in 0..<70 {
      var bytes: [UInt8] = []
      for _ in 0..<count {
        seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        bytes.append(UInt8(truncatingIfNeeded: seed >> 33))
      }
      var text = OutBuffer()
      var back = OutBuffer()
      defer {
        text.free()
        back.free()
      }
      bytes.withUnsafeBytes { Base64.encode($0, into: &text) }
      #expect(String(decoding: text.bytes, as: UTF8.self) == Data(bytes).base64EncodedString())
      #expect(throws: Never.self) { try Base64.decode(text.bytes, into: &back) }
      #expect(Array(back.bytes) == bytes)
    }
  }

  /// Random and damaged texts: an error or a message, never a trap, and what is taken ends within the text.
  @Test func garbageIsRefused() {
    var generator = SystemRandomNumberGenerator()
    let seeds = [
      #"{"compare":[{"key":"YQ==","target":"VALUE","value":"Yg=="}],"success":[{"request_range":{"key":"YQ=="}}]}"#,
      #"{"create_request":{"key":"Zm9v","filters":["NOPUT",1],"start_revision":"-12"}} {"progress_request":{}}"#,
    ].map { Array($0.utf8) }
    let alphabet = Array(#"{}[]",:\u0e+-.tfn019 "#.utf8) + [0, 10, 0x7f, 0xc3, 0xff]
    for _ in 0..<20_000 {
      var text = seeds.randomElement(using: &generator) ?? []
      for _ in 0..<Int.random(in: 1...4, using: &generator) {
        let at = Int.random(in: 0..<text.count, using: &generator)
        switch Int.random(in: 0..<4, using: &generator) {
        case 0: text[at] = alphabet.randomElement(using: &generator) ?? 0
        case 1: text.remove(at: at)
        case 2: text.insert(alphabet.randomElement(using: &generator) ?? 0, at: at)
        default: text.removeSubrange(at...)
        }
        if text.isEmpty { text = [0x20] }
      }
      for message in ["TxnRequest", "WatchRequest"] {
        let result = converted(text, message)
        if case .message(let end) = result.outcome { #expect(end <= text.count) }
      }
    }
  }

  /// The table is what proto/*.proto say.
  @Test func tableEqualsTheProtocol() throws {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../proto")
    var fields = 0
    for file in ["rpc.proto", "kv.proto", "v3lock.proto", "v3election.proto"] {
      let text = try String(contentsOf: folder.appendingPathComponent(file), encoding: .utf8)
      for (message, wanted) in ProtoText.messages(text) {
        guard let shape = MessageTable.services.message(message) else {
          #expect(message.hasPrefix("LeaseCheckpoint") || message == "RangeStreamResponse", "\(message) is missing")
          continue
        }
        let found = shape.fields.map { field in
          (field.isRepeated ? "repeated " : field.isChoice ? "oneof " : "") + "\(field.name) \(field.number)"
        }
        #expect(Set(found) == Set(wanted), "\(message)")
        fields += found.count
      }
    }
    #expect(fields > 100)
  }
}

/// As much of a .proto file as the table has: names and numbers of each message's fields.
private enum ProtoText {
  static func messages(_ text: String) -> [(String, [String])] {
    var found: [(String, [String])] = []
    var open: [(kind: String, name: String)] = []
    for raw in text.split(separator: "\n") {
      let line = raw.split(separator: "//", maxSplits: 1, omittingEmptySubsequences: false)[0]
      let words = line.split { " ;{}=".contains($0) }.map(String.init)
      if line.contains("{") {
        let kind = words.first ?? ""
        open.append((kind, words.count > 1 ? words[1] : ""))
        if kind == "message" { found.append((words[1], [])) }
      } else if words.count >= 3, let number = words.last, Int(number) != nil, open.last?.kind != "enum" {
        let isRepeated = words[0] == "repeated"
        let prefix = isRepeated ? "repeated " : open.last?.kind == "oneof" ? "oneof " : ""
        let name = open.last { $0.kind == "message" }?.name ?? ""
        if let place = found.lastIndex(where: { $0.0 == name }) {
          found[place].1.append("\(prefix)\(words[isRepeated ? 2 : 1]) \(number)")
        }
      }
      for _ in 0..<line.filter({ $0 == "}" }).count where !open.isEmpty { open.removeLast() }
    }
    return found
  }
}
