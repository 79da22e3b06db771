// Bodies of HTTP requests, cut anywhere.
import NeedletailRPC
import Testing

private struct ReadBody {
  let body: String
  let taken: Int
  let isComplete: Bool
  let failure: HTTPBodyReader.Failure?
}

/// Feeds the text in parts of the size given.
private func read(
  _ text: String, _ length: HTTPRequestHead.BodyLength, parts: Int, limit: Int = 1 << 20
) -> ReadBody {
  var reader = HTTPBodyReader(length)
  var out = OutBuffer()
  defer { out.free() }
  let bytes = Array(text.utf8)
  var at = 0
  var failure: HTTPBodyReader.Failure?
  bytes.withUnsafeBytes { bytes in
    while at < bytes.count, !reader.isComplete, failure == nil, out.count <= limit {
      let part = UnsafeRawBufferPointer(rebasing: bytes[at..<min(bytes.count, at + parts)])
      do throws(HTTPBodyReader.Failure) {
        at += try reader.take(part, limit: limit, into: &out)
      } catch { failure = error }
    }
  }
  return ReadBody(
    body: String(decoding: out.bytes, as: UTF8.self), taken: at, isComplete: reader.isComplete, failure: failure)
}

@Suite struct HTTPBodyTests {
  @Test func wholeWhateverTheCuts() {
    let chunked = "4\r\nWiki\r\n6;name=\"x\"\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nX-Field: y\r\n\r\nGET /"
    for parts in 1...chunked.utf8.count {
      let result = read(chunked, .chunked, parts: parts)
      #expect(result.body == "Wikipedia in \r\n\r\nchunks." && result.isComplete && result.failure == nil, "\(parts)")
      #expect(result.taken == chunked.utf8.count - 5)
      let counted = read("abcdefGET", .bytes(6), parts: parts)
      #expect(counted.body == "abcdef" && counted.taken == 6 && counted.isComplete)
    }
    #expect(read("x", .none, parts: 1).taken == 0 && read("x", .bytes(0), parts: 1).isComplete)
    // A line may end without a carriage return.
    #expect(read("3\nabc\n0\n\n", .chunked, parts: 2).body == "abc")
  }

  @Test func brokenChunksAreRefused() {
    for text in ["\r\n", "x\r\n", "-1\r\n", "3\r\nabcd\r\n", "fffffffffffffffff\r\n", "3 x\r\nabcX"] {
      #expect(read(text, .chunked, parts: 3).failure == .malformed, "\(text)")
    }
    #expect(read("1;" + String(repeating: "x", count: 400), .chunked, parts: 7).failure == .tooLarge)
    let fields = String(repeating: "A: b\r\n", count: 3_000)
    #expect(read("0\r\n" + fields, .chunked, parts: 7).failure == .tooLarge)
    // A length that is a lie ends at the limit.
    let long = String(repeating: "a", count: 4_000)
    let result = read(long, .bytes(1 << 50), parts: 100, limit: 1_000)
    #expect(!result.isComplete && result.body.count <= 1_200)
  }

  private func head(_ text: String) -> HTTPRequestHead? {
    var found: HTTPRequestHead?
    var text = text
    text.withUTF8 { bytes in
      if case .head(let head) = HTTPRequestHead.parse(UnsafeRawBufferPointer(bytes), limit: 1 << 14) { found = head }
    }
    return found
  }

  @Test func headsThatTwoReadersCouldReadDifferently() {
    func isRefused(_ fields: String, version: Int = 1) -> Bool {
      head("POST / HTTP/1.\(version)\r\n\(fields)\r\n\r\n") == nil
    }
    #expect(isRefused("Content-Length: 3\r\nTransfer-Encoding: chunked"))
    #expect(isRefused("Transfer-Encoding: chunked\r\nContent-Length: 3"))
    #expect(isRefused("Content-Length: 3\r\nContent-Length: 4"))
    #expect(isRefused("Content-Length: +3") && isRefused("Content-Length: 3, 3") && isRefused("Content-Length: "))
    #expect(isRefused("Content-Length: 99999999999999999999") && isRefused("Transfer-Encoding: chunked", version: 0))
    #expect(head("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n")?.body == .bytes(3))
    #expect(head("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n")?.body == .chunked)
    #expect(head("POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n")?.hasUnknownCoding == true)
    #expect(head("POST / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n")?.expectsContinue == true)
  }
}
