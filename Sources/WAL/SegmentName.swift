/// Names in the log's directory:
///   0000000000000007.wal            segment of generation 7
///   spare-000000000000000c          a segment of full size that holds nothing of worth, to be renamed
///   fill-000000000000000d.tmp       a spare being filled; removed on open
///   torn-0000000000000007-8192      what recovery cut from segment 7 at that offset
func segmentName(_ generation: UInt64) -> String { hex(generation) + ".wal" }
func spareName(_ number: UInt64) -> String { "spare-" + hex(number) }
func fillName(_ number: UInt64) -> String { "fill-" + hex(number) + ".tmp" }
func tornName(_ generation: UInt64, _ offset: UInt64) -> String { "torn-\(hex(generation))-\(offset)" }

func segmentGeneration(_ name: String) -> UInt64? {
  name.hasSuffix(".wal") ? number(name.dropLast(4)) : nil
}
func spareNumber(_ name: String) -> UInt64? {
  name.hasPrefix("spare-") ? number(name.dropFirst(6)) : nil
}
func fillNumber(_ name: String) -> UInt64? {
  name.hasPrefix("fill-") && name.hasSuffix(".tmp") ? number(name.dropFirst(5).dropLast(4)) : nil
}

private func hex(_ value: UInt64) -> String {
  let digits = String(value, radix: 16)
  return String(repeating: "0", count: 16 - digits.utf8.count) + digits
}

private func number(_ digits: Substring) -> UInt64? {
  guard digits.utf8.count == 16, digits.allSatisfy({ $0.isHexDigit && !$0.isUppercase }) else { return nil }
  return UInt64(digits, radix: 16)
}
