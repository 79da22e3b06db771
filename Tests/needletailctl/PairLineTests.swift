// Lines of pairs: what is taken, what is refused, and that what is written is read back.

import NeedletailRPC
import Testing

@testable import needletailctl

private func read(_ line: [UInt8]) throws(PairLineError) -> (key: [UInt8], value: [UInt8]) {
  var reader = PairLineReader()
  // Memory of exactly the line's size, so that a sanitizer sees a read beyond it.
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: line.count, alignment: 1)
  defer { copy.deallocate() }
  copy.copyBytes(from: line)
  try reader.read(UnsafeRawBufferPointer(copy))
  return ([UInt8](reader.key), [UInt8](reader.value))
}

private func read(_ line: String) throws(PairLineError) -> (key: [UInt8], value: [UInt8]) {
  try read(Array(line.utf8))
}

private func write(_ key: [UInt8], _ value: [UInt8]) -> [UInt8] {
  var out = OutBuffer()
  defer { out.free() }
  PairLineReader.append((key, value), to: &out)
  return [UInt8](out.bytes)
}

@Suite struct PairLineTests {
  @Test func taken() throws {
    let lines: [(String, String, String)] = [
      (#"{"key": "a", "value": "b"}"#, "a", "b"),
      (#"{"key":"a","value":"b"}"#, "a", "b"),
      (" \t{ \"value\" : \"b\" , \"key\" : \"a\" } \r", "a", "b"),
      (#"{"key64": "YQ==", "value64": "Yg=="}"#, "a", "b"),
      (#"{"key": "a", "value64": ""}"#, "a", ""),
      (#"{"\u006bey": "a", "value": "\"\\\/\b\f\n\r\t"}"#, "a", "\"\\/\u{8}\u{C}\n\r\t"),
      (#"{"key": "gr\u00fcn €", "value": "\ud83d\ude00😀"}"#, "grün €", "😀😀"),
      (#"{"key": "\u0000", "value": ""}"#, "\0", ""),
    ]
    for (line, key, value) in lines {
      let pair = try read(line)
      #expect(pair.key == Array(key.utf8) && pair.value == Array(value.utf8), "\(line)")
    }
  }

  @Test(arguments: [
    "", " ", "{", "{}", "[]", "null", #"{"key": "a"}"#, #"{"value": "a"}"#, #"{"key": "a", "value": 1}"#,
    #"{"key": "a", "value": null}"#, #"{"key": "a", "value": "b""#, #"{"key": "a", "value": "b"} x"#,
    #"{"key": "a", "value": "b"}{}"#, #"{"key": "a", "value": "b",}"#, #"{"key": "a" "value": "b"}"#,
    #"{"key": "a", "key": "a", "value": "b"}"#, #"{"key": "a", "key64": "YQ==", "value": "b"}"#,
    #"{"key": "a", "value": "b", "more": "c"}"#, #"{"key": "a", "value": "b"#, #"{"key": "a", "value": "\"#,
    #"{"key": "a", "value": "\x"}"#, #"{"key": "a", "value": "\u12"}"#, #"{"key": "a", "value": "\u12g4"}"#,
    #"{"key": "a", "value": "\ud800"}"#, #"{"key": "a", "value": "\udc00"}"#, #"{"key": "a", "value": "\ud800\u0041"}"#,
    #"{"key64": "YQ=", "value": "b"}"#, "{\"key\": \"a\u{1}\", \"value\": \"b\"}", "{'key': 'a'}",
    "\u{FEFF}{\"key\": \"a\", \"value\": \"b\"}",
  ])
  func refused(_ line: String) {
    do {
      let pair = try read(line)
      Issue.record("\(line) was read as \(pair)")
    } catch {
      #expect(error.column >= 1 && error.column <= line.utf8.count + 1)
    }
  }

  @Test func errorsNameTheirPlace() {
    #expect(throws: PairLineError(why: "expected a string", column: 21)) { try read(#"{"key":"a","value": 1}"#) }
    #expect(throws: PairLineError(why: "unknown member \"x\"", column: 2)) { try read(#"{"x":"a"}"#) }
    #expect(throws: PairLineError(why: "line is not UTF-8", column: 1)) {
      try read(Array(#"{"key":""#.utf8) + [0xFF] + Array(#"","value":""}"#.utf8))
    }
  }

  @Test func everyCutIsRefused() {
    let line = Array(#"{"key": "a\u00fcb\n", "value64": "Yg=="}"#.utf8)
    #expect(throws: Never.self) { try read(line) }
    for size in 0..<line.count { #expect(throws: PairLineError.self) { try read(Array(line[..<size])) } }
  }

  @Test func writtenForms() {
    #expect(write(Array("a".utf8), Array("x\ny".utf8)) == Array((#"{"key": "a", "value": "x\ny"}"# + "\n").utf8))
    #expect(write(Array("a".utf8), [0xFF]) == Array((#"{"key64": "YQ==", "value64": "/w=="}"# + "\n").utf8))
  }

  @Test func roundTrips() throws {
    let seed = UInt64.random(in: .min ... .max)
    print("pair lines: seed \(seed)")
    var state = seed
    func next(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    let characters: [Character] = ["a", "\"", "\\", "\n", "\0", "\u{1F}", "é", "€", "😀", "\u{2028}", "<", " "]
    for _ in 0..<2_000 {
      let isText = next(2) == 0
      func sample() -> [UInt8] {
        isText
          ? Array(String((0..<next(12)).map { _ in characters[next(characters.count)] }).utf8)
          : (0..<next(40)).map { _ in UInt8(next(256)) }
      }
      let (key, value) = (sample(), sample())
      let pair = try read(write(key, value).dropLast())
      #expect(pair.key == key && pair.value == value)
    }
  }
}

private func read(_ line: ArraySlice<UInt8>) throws(PairLineError) -> (key: [UInt8], value: [UInt8]) {
  try read(Array(line))
}
