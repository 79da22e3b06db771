// One number for all that happened: two runs of a seed that differ anywhere end with different ones.

package struct TraceHash: Equatable {
  package private(set) var value: UInt64 = 0x9E37_79B9_7F4A_7C15

  package init() {}

  package mutating func add(_ word: UInt64) {
    let product = (value ^ word).multipliedFullWidth(by: 0xD6E8_FEB8_6659_FD93)
    value = (product.high ^ product.low) &+ 0x9E37_79B9_7F4A_7C15
  }

  package mutating func add(_ bytes: [UInt8]) {
    add(UInt64(bytes.count))
    for byte in bytes { add(UInt64(byte)) }
  }

  package mutating func add(_ text: String) { add(Array(text.utf8)) }
}
