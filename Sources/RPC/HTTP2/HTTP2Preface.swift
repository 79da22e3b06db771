// The first 24 bytes of a client that speaks HTTP/2 from the start.
package enum HTTP2Preface {
  private static let text: StaticString = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

  package enum Match: Equatable, Sendable {
    case matched
    case incomplete
    case mismatched
  }

  package static func match(_ bytes: UnsafeRawBufferPointer) -> Match {
    let expected = UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
    guard zip(bytes, expected).allSatisfy(==) else { return .mismatched }
    return bytes.count >= expected.count ? .matched : .incomplete
  }
}
