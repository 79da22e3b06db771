// The lines of a file, with their numbers from 1, without blank ones.

struct Lines: Sequence, IteratorProtocol {
  private let bytes: [UInt8]
  private var at = 0
  private var number = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  mutating func next() -> (number: Int, text: ArraySlice<UInt8>)? {
    while at < bytes.count {
      let end = bytes[at...].firstIndex(of: 10) ?? bytes.count
      let line = bytes[at..<end]
      at = end + 1
      number += 1
      if !line.allSatisfy({ $0 == 32 || $0 == 9 || $0 == 13 }) { return (number, line) }
    }
    return nil
  }
}
